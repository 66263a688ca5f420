"""Features without a network: against numpy, and through whole probes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from support.encoders import CLIP
from vsalt.cli import probe as command
from vsalt.data.decode import read_frames
from vsalt.data.manifest import read_source
from vsalt.data.transforms import centre_view
from vsalt.errors import ConfigError, WeightsError
from vsalt.evaluation.floors import FLOORS, floor, frame_difference, raw_pixels, rule_hash, shrink
from vsalt.evaluation.probe import ProbeOptions
from vsalt.evaluation.subjects import extract_all, random_init
from vsalt.training import extract
from vsalt.training.extract import ExtractConfig, WindowConfig
from vsalt.training.locate import load_encoder

READ = ["--workers", "0", "--device", "cpu"]


def area_means(clips: np.ndarray) -> np.ndarray:
    """(B, 3, T, H, W) to (B, T, 3, h, w): each pixel becomes h x w equal ones, and these means."""
    frames = clips.astype(np.float64).transpose(0, 2, 1, 3, 4) / 255
    for axis in (3, 4):
        side = frames.shape[axis]
        new = min(16, side)
        fine = np.repeat(frames, new, axis=axis)
        shape = (*fine.shape[:axis], new, side, *fine.shape[axis + 1 :])
        frames = fine.reshape(shape).mean(axis=axis + 1)
    return frames


@pytest.mark.parametrize("size", [(32, 32), (40, 24), (16, 17), (8, 50), (5, 3)])
def test_shrunk_frames_are_means_over_areas(size: tuple[int, int]) -> None:
    clips = np.random.default_rng(0).integers(0, 256, size=(2, 3, 4, *size), dtype=np.uint8)
    expected = area_means(clips)
    found = shrink(torch.from_numpy(clips))
    assert found.shape == (2, 4, 3, min(16, size[0]), min(16, size[1]))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    pixels, changes = (each(torch.from_numpy(clips)) for each in (raw_pixels, frame_difference))
    np.testing.assert_allclose(pixels, expected.reshape(2, -1), atol=1e-6)
    differences = np.abs(expected[:, 1:] - expected[:, :-1]).reshape(2, -1)
    np.testing.assert_allclose(changes, differences, atol=1e-6)
    assert pixels.dtype == changes.dtype == torch.float32


def test_a_row_is_the_mean_of_its_windows_and_is_decoded_once(
    encoder: Path, table, write, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_source(write(table)).rows[:5]
    views = []

    def spy(*args, **options):
        views.append(centre_view(*args, **options))
        return views[-1]

    monkeypatch.setattr(extract, "centre_view", spy)
    network = random_init(load_encoder(encoder).config, seed=0)
    beside = [floor(name, network.clip, antialias=network.antialias) for name in FLOORS]
    config = ExtractConfig(windows=WindowConfig(per_row=2), batch_size=3, device="cpu")
    found = extract_all([network, *beside], rows, config)
    assert len(views) == 2 * len(rows)
    clips = np.stack([view.numpy() for view in views])
    for features, function in zip(found.features[1:], (raw_pixels, frame_difference), strict=True):
        expected = function(torch.from_numpy(clips)).reshape(len(rows), 2, -1).mean(dim=1)
        torch.testing.assert_close(features, expected)
    assert [part.shape[1] for part in found.features] == [24, 4 * 3 * 256, 3 * 3 * 256]


@pytest.fixture(scope="module")
def words(encoder: Path) -> list[str]:
    return ["--encoder", str(encoder), *READ]


@pytest.mark.parametrize("kind", ["linear", "knn"])
def test_floors_stand_beside_the_encoders(
    kind: str, words, table, write, tmp_path: Path, capsys
) -> None:
    source, out = write(table), tmp_path / "out"
    asked = [*words, "--data", str(source), "--out", str(out), "--kind", kind, "--floors"]
    assert command.fit(asked, "vsalt probe fit") == 0
    text = capsys.readouterr().out
    assert "raw pixels" in text
    assert "frame differences" in text
    record = json.loads((out / "probe.json").read_text())
    roles = [entry["role"] for entry in record["encoders"]]
    assert roles == ["trained", "random-init", "floor", "floor"]
    first, _, pixels, changes = record["encoders"]
    assert (pixels["name"], changes["name"]) == ("raw pixels", "frame differences")
    for name, entry in zip(FLOORS, (pixels, changes), strict=True):
        assert (entry["checkpoint"], entry["step"]) == (None, None)
        assert entry["sha256"] == rule_hash(name)
        assert entry["clip"] == first["clip"]
        assert entry["exposure"]["kind"] == "none"
    assert (pixels["num_features"], changes["num_features"]) == (3072, 2304)
    # Classes are colours: pixels tell them, and changes of grey noise do not.
    assert pixels["metrics"]["accuracy"] > 0.8 > changes["metrics"]["accuracy"]

    scores = tmp_path / "scores"
    ask = ["--probe", str(out), "--data", str(source), "--floor", "raw_pixels", *READ]
    more = ["--split", "test", "--out", str(scores)]
    assert command.evaluate([*ask, *more], "vsalt probe eval") == 0
    again = json.loads((scores / "scores.json").read_text())
    assert again["metrics"]["confusion"] == pixels["metrics"]["confusion"]
    assert again["pretraining"]["kind"] == "none"
    answers = ["--out", str(tmp_path / "answers")]
    assert command.predict([*ask, *answers], "vsalt probe predict") == 0
    assert len((tmp_path / "answers" / "predictions.jsonl").read_text().splitlines()) == len(table)


def test_the_head_on_pixels_is_scikit_learns(words, table, write, tmp_path: Path) -> None:
    source, out = write(table), tmp_path / "out"
    asked = [*words, "--data", str(source), "--out", str(out), "--floors"]
    assert command.fit(asked, "vsalt probe fit") == 0
    entry = json.loads((out / "probe.json").read_text())["encoders"][2]
    l2 = entry["parts"][0]["settings"]["l2"]
    rows = read_source(source).rows
    # The middle of ten frames: four of them, two apart.
    times = (np.arange(1, 9, 2) + 0.5) / 10
    clips = [centre_view(read_frames(row.path, times), size=CLIP.size).numpy() for row in rows]
    x = area_means(np.stack(clips)).reshape(len(rows), -1)
    train = np.array([row.split == "train" for row in rows])
    labels = np.array([row.label for row in rows])
    z = (x - x[train].mean(0)) / x[train].std(0)
    oracle = LogisticRegression(C=1 / (train.sum() * l2), tol=1e-8, max_iter=5000)
    expected = oracle.fit(z[train], labels[train]).predict_proba(z[~train]).max(axis=1)
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    own = {line["path"]: line for line in lines if line["encoder"] == "raw pixels"}
    found = [own[row.relative_path]["probability"] for row in np.array(rows, dtype=object)[~train]]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_what_makes_no_sense_is_refused(words, table, write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="floors have no tokens"):
        ProbeOptions(kind="attentive", floors=True)
    source, out = write(table), tmp_path / "out"
    fit = [*words, "--data", str(source), "--out", str(out), "--kind", "knn"]
    assert command.fit(fit, "vsalt probe fit") == 0
    ask = ["--probe", str(out), "--data", str(source), *READ]
    with pytest.raises(WeightsError, match=r"not fitted to this encoder or floor(.|\n)*step-7"):
        command.evaluate([*ask, "--floor", "raw_pixels"], "vsalt probe eval")
    for given in ([], ["--floor", "raw_pixels", *words[:2]]):
        with pytest.raises(ConfigError, match="one of the two"):
            command.evaluate([*ask, *given], "vsalt probe eval")
