"""`vsalt linear data` on small made-up sets, and what it refuses."""

import csv
import json
import sys
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vsalt.cli import linear_data as module
from vsalt.cli.linear_data_result import is_predictable_but_weak
from vsalt.cli.linear_data_words import conclusion, limits
from vsalt.cli.main import main
from vsalt.data.synthetic import synthesise
from vsalt.data.synthetic_config import SynthConfig
from vsalt.data.transforms import centre_view

CLIPS = ["--clip.num-frames", "8", "--clip.size", "32", "32", "--clip.frame-step", "1"]
CUT = ["--tubelet", "2", "8", "8", "--max-side", "4", "--read.workers", "0"]


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("still"), SynthConfig(background_speed=0.0))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("noisy"), SynthConfig(background_speed=0.0, noise=60.0))


def make(folder: Path, config: SynthConfig) -> Path:
    return synthesise(
        folder, num_clips=40, seed=0, size=32, num_frames=8, fps=12, test_every=5, config=config
    )


def found(source: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    line = ["linear", "data", "--encoder", "pixels", "--data", str(source), "--json", *CLIPS, *CUT]
    assert main([*line, *words]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_still_background_can_be_predicted_and_noise_cannot(
    still: Path, noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean, noised = found(still, capsys), found(noisy, capsys)
    assert clean["counts"]["features"] == 96
    first = clean["features"][0]
    assert first["rho"] > 0.75
    assert first["change"] < 0.05
    # The same things are seen, with noise above them.
    assert noised["features"][0]["rho"] < first["rho"]
    changing = [own for own in noised["features"] if own["change"] > 0.9]
    assert len(changing) > 10
    # Below 0, as the codec changes frames in turn.
    assert np.mean([own["rho"] for own in changing]) < 0.1
    assert noised["counts"]["predictable"] < clean["counts"]["predictable"]


def test_the_covariances_are_those_of_the_pairs(
    still: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = found(still, capsys)
    rows = [row for row in csv.DictReader(still.read_text().splitlines()) if row["split"] != "test"]
    assert result["settings"]["num_rows"] == len(rows) < 40
    assert result["settings"]["num_pairs"] == len(rows) * 16
    x = np.concatenate([_middle_tubelets(still.parent / row["path"]) for row in rows])
    total = float(x.var(axis=0).sum())
    shown = sum(own["variance"] for own in result["features"])
    assert shown / result["kept_variance"] == pytest.approx(total, rel=1e-3)


def _middle_tubelets(path: Path) -> np.ndarray:
    """Read the second of four time steps, of frames 2 and 3, by PyAV."""
    import av

    with av.open(path) as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    view = centre_view(frames, size=(32, 32))
    small = (
        view.permute(1, 2, 3, 0).numpy()[2:4].reshape(2, 16, 2, 16, 2, 3).mean(axis=(2, 4)) / 255
    )
    tubelets = small.reshape(2, 4, 4, 4, 4, 3).transpose(1, 3, 5, 0, 2, 4)
    return np.asarray(tubelets.reshape(16, -1))


def test_tables_files_and_figure(
    still: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["linear", "data", "--encoder", "pixels", "--data", str(still), *CLIPS, *CUT]
    out = tmp_path / "found"
    assert main([*line, "--out", str(out), "--teacher-stop", "0.3", "1", "--lag", "2"]) == 0
    text = capsys.readouterr().out
    for part in ("features, by variance", "order of learning", "misfit", "held out"):
        assert part in text
    assert "A teacher stopped with 30% of its features learned" in text
    assert "A teacher stopped with 100%" in text
    assert "The order of the MAE is that of JEPA by" in text
    assert "Where the linear model stops being a guide" in text
    result = json.loads((out / "linear_data.json").read_text())
    assert set(result["methods"]) == {"mae", "jepa", "salt", "salt@0.3", "salt@1"}
    assert (out / "linear_data.png").read_bytes().startswith(b"\x89PNG")
    assert main([*line, "--out", str(out)]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_short_videos_are_told(still: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = found(still, capsys, "--clip.frame-step", "2", "--max-rows", "20")
    assert result["settings"]["num_ending_in_equal_frames"] == 20
    assert any("end in equal frames" in line for line in result["limits"])
    (line,) = result["conclusion"]
    assert line.startswith("20 of 20 clips end in equal frames")
    assert line.endswith("Nothing is concluded from so many.")


def test_where_nothing_is_learned_there_is_no_order(
    still: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = found(still, capsys, "--depth", "1", "--eps", "0.99", "--max-rows", "20")
    assert result["methods"]["jepa"]["num_learned"] == 0
    assert result["methods"]["jepa"]["earliness_rho"] is None
    assert result["agreement"]["order"]["jepa"] is None
    assert any("of JEPA by none (all alike)" in line for line in result["conclusion"])


@pytest.mark.parametrize(("held_out", "is_poor"), [(0.09, False), (0.11, True)])
def test_a_basis_is_judged_by_pairs_that_it_was_not_made_of(held_out: float, is_poor: bool) -> None:
    names = ("off_diagonal_xx", "off_diagonal_yx", "scaled_xx", "scaled_yx", "antisymmetric")
    fitted = dict.fromkeys(names, 0.01)
    counts = dict.fromkeys(("lambda_below_zero", "lambda_unclear", "rho_above_one"), 0)
    result = {
        "misfit": fitted,
        "held_out_misfit": fitted | {"scaled_yx": held_out},
        "counts": counts,
        "features": [],
        "settings": {},
    }
    assert ("poor guide" in limits(result)[0]) == is_poor


def test_unreadable_videos(still: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(still.read_text().splitlines()))[:20]
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    lines = ["path", *(str(still.parent / row["path"]) for row in rows), "broken.mp4"]
    source = tmp_path / "some.csv"
    source.write_text("\n".join(lines) + "\n")
    line = ["linear", "data", "--encoder", "pixels", "--data", str(source), *CLIPS, *CUT]
    assert main(line) == 1
    error = capsys.readouterr().err
    assert "1 of 21 videos cannot be read" in error
    assert "--skip-bad" in error
    result = found(source, capsys, "--skip-bad")
    assert result["settings"]["num_unreadable"] == 1
    assert result["settings"]["num_rows"] == 20


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--encoder", "run", "--max-side", "4"], "--max-side is for --encoder pixels"),
        (["--encoder", "pixels", "--layer", "0"], "--layer is for a trained encoder"),
        (["--encoder", "pixels", "--teacher-stop", "0"], "shares are above 0 and at most 1"),
        (["--encoder", "pixels", "--eps", "1"], "--eps is 1.0; it must be between 0 and 1"),
        (["--encoder", "pixels", "--lag", "9"], "--lag is 9; with 8 time steps"),
        (["--encoder", "nowhere"], "there is no encoder at nowhere"),
    ],
)
def test_what_is_refused(
    words: list[str], reason: str, still: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["linear", "data", "--data", str(still), *words]) == 1
    assert reason in capsys.readouterr().err


def test_pictures_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert main(["linear", "data", "--encoder", "pixels", "--data", str(tmp_path)]) == 1
    assert "1 rows are pictures, such as a.png" in capsys.readouterr().err


def test_without_scipy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def absent(name: str) -> object:
        return None if name == "scipy" else util.find_spec(name)

    monkeypatch.setattr(module, "find_spec", absent)
    assert main(["linear", "data", "--encoder", "pixels", "--data", "x"]) == 1
    assert "pip install 'vsalt[linear]'" in capsys.readouterr().err
    assert "vsalt.cli.linear_data" in sys.modules


def test_predictable_but_weak() -> None:
    lambda_, rho = np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.2, 0.9, 0.3, 0.8])
    assert is_predictable_but_weak(lambda_, rho).tolist() == [False, False, False, True]


def test_few_features_have_no_order() -> None:
    settings = {"num_clips": 20, "num_ending_in_equal_frames": 2}
    counts = {"predictable": 2}
    result = {"agreement": None, "methods": {}, "counts": counts, "settings": settings}
    assert conclusion(result) == ["Only 2 features can be predicted: too few to speak of an order."]


def test_nothing_is_concluded_from_padding_alone() -> None:
    settings = {"num_clips": 20, "num_ending_in_equal_frames": 3}
    (line,) = conclusion(
        {"agreement": None, "methods": {}, "counts": {"predictable": 2}, "settings": settings}
    )
    assert line.startswith("3 of 20 clips end in equal frames")
