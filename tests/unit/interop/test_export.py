"""`vsalt export --to hf`: what goes into the folder, what is left out, what is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import PIL.Image
import pytest
import torch

from support.encoders import CLIP, TINY, write_checkpoint
from vsalt.cli.export import _check, _refuse_probe
from vsalt.cli.main import main
from vsalt.data.config import ClipConfig
from vsalt.errors import ConfigError, InteropError, MissingExtraError, RunFolderError
from vsalt.evaluation.network import SavedNetwork
from vsalt.interop.export_hf import HfClassifier, HfExport, export_hf
from vsalt.interop.extras import require
from vsalt.interop.import_weights import ImportSettings, import_weights
from vsalt.interop.model_card import NO_LICENSE, ProbeLine
from vsalt.interop.self_test import original_state, their_model
from vsalt.models.config import EncoderConfig, PredictorConfig
from vsalt.models.pooler import AttentiveClassifier, AttentivePooler
from vsalt.objectives.config import VjepaConfig
from vsalt.training.locate import load_encoder

PREDICTOR = PredictorConfig(width=24, depth=1, heads=2, mlp_width=48)


def write_run(folder: Path, **settings: Any) -> Path:
    """A stage's run of one checkpoint."""
    settings = {"predictor": PREDICTOR, **settings}
    checkpoint = write_checkpoint(folder / "checkpoints" / "step-7", **settings)
    (folder / "checkpoints" / "latest").write_text("step-7\n")
    meta = json.loads((checkpoint / "meta.json").read_text())
    meta["config"]["data"]["sources"] = ["/secret/me@home/videos.csv@2"]
    meta |= {"clips": 56_000, "flops_exact": 12345678, "flops_six_nd": 11111111}
    meta |= {"teacher_flops_exact": 87654321, "manifest_sha256": "abc", "val_loss": 0.125}
    (checkpoint / "meta.json").write_text(json.dumps(meta))
    data = {"num_train": 4321, "num_holdout": 67}
    (folder / "config.json").write_text(json.dumps({"kind": "stage", "data": data}))
    return folder


def exported(tmp_path: Path, export: HfExport | None = None, **settings: Any) -> tuple[Path, Any]:
    loaded = load_encoder(write_run(tmp_path / "run", **settings))
    notes = export_hf(loaded, tmp_path / "out", export or HfExport())
    return tmp_path / "out", notes


def test_a_folder_has_all_that_is_promised(tmp_path: Path) -> None:
    out, _ = exported(tmp_path)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "video_preprocessor_config.json",
        "vsalt.json",
    ]
    assert len({path.stat().st_mode for path in out.iterdir()}) == 1  # all may be read by others
    processor = json.loads((out / "video_preprocessor_config.json").read_text())
    assert processor["size"] == {"shortest_edge": int(32 * 256 / 224)}
    assert processor["crop_size"] == {"height": 32, "width": 32}
    assert processor["image_mean"] == [0.485, 0.456, 0.406]
    assert processor["image_std"] == [0.229, 0.224, 0.225]
    assert processor["rescale_factor"] == pytest.approx(1 / 255)
    assert processor["resample"] == PIL.Image.Resampling.BILINEAR
    assert all(
        processor[f"do_{what}"] for what in ("resize", "center_crop", "rescale", "normalize")
    )
    assert not processor["do_sample_frames"]
    config = json.loads((out / "config.json").read_text())
    assert (config["crop_size"], config["frames_per_clip"], config["patch_size"]) == (32, 4, 8)
    with pytest.raises(RunFolderError, match="not empty"):
        export_hf(load_encoder(tmp_path / "run"), out, HfExport())


def test_the_card_says_what_is_known_and_no_paths(tmp_path: Path) -> None:
    probe = ProbeLine(
        task="`motion` of `labels.csv`",
        kind="linear",
        accuracy=0.625,
        interval=(0.5, 0.75),
        uniform=0.125,
        num_rows=400,
        exposure="no test rows",
    )
    out, notes = exported(tmp_path, HfExport(probes=(probe,)))
    card = (out / "README.md").read_text()
    for text in (
        "| method | salt |",
        "| data | `videos.csv` |",
        "| clips to train on | 4,321 |",
        "| clips held out | 67 |",
        "| steps | 7 |",
        "| clips seen | 56,000 |",
        "| FLOPs, exact | 1.23e+07 |",
        "| FLOPs, 6ND | 1.11e+07 |",
        "| list of clips (SHA-256) | `abc` |",
        "| FLOPs of its teachers, exact | 8.77e+07 |",
        "| validation loss | 0.1250 |",
        "62.5% (50.0% to 75.0%) | 12.5% | 400 | no test rows",
        f"**{NO_LICENSE}.**",
        "1 block, width 24, 2 heads",
        "every 2 frames",
        load_encoder(tmp_path / "run").sha256,
        *notes,
    ):
        assert text in card, text
    assert "secret" not in card
    assert str(tmp_path) not in card
    assert "\nlicense:" not in card
    assert "guesses of the frozen teacher's tokens" in notes[0]


def test_the_card_of_imported_weights_says_where_they_came_from(tmp_path: Path) -> None:
    torch.save(original_state(their_model()), tmp_path / "latest.pt")
    settings = ImportSettings(heads=2, predictor_heads=2, num_frames=4, size=32, role="encoder")
    import_weights(tmp_path / "latest.pt", tmp_path / "own", settings)
    export_hf(load_encoder(tmp_path / "own"), tmp_path / "out", HfExport())
    card = (tmp_path / "out" / "README.md").read_text()
    assert "imported from `latest.pt` (vjepa2, encoder)" in card
    assert "steps and FLOPs are not known here." in card
    assert "- taken for granted: its predictor has 2 attention heads\n" in card
    assert "| steps |" not in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize(("teacher", "said"), [(0, "0"), (None, "unknown")])
def test_what_a_teacher_took_may_be_nothing_or_not_known(
    teacher: int | None, said: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run")
    path = run / "checkpoints" / "step-7" / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"teacher_flops_exact": teacher}))
    export_hf(load_encoder(run), tmp_path / "out", HfExport())
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| FLOPs of its teachers, exact | {said} |" in card


@pytest.mark.parametrize(("kept", "said"), [("target", "moving average"), ("student", "")])
def test_a_predictor_beside_a_moving_average_is_told(kept: Any, said: str, tmp_path: Path) -> None:
    loaded = load_encoder(write_run(tmp_path / "run"))
    stage = replace(loaded.config.stage, method=VjepaConfig(kept=kept))
    loaded = replace(loaded, config=replace(loaded.config, stage=stage))
    notes = export_hf(loaded, tmp_path / "out", HfExport())
    assert len(notes) == (1 if said else 0)
    assert all(said in note for note in notes)


def test_a_licence_is_written_down(tmp_path: Path) -> None:
    out, _ = exported(tmp_path, HfExport(license="cc-by-4.0"))
    card = (out / "README.md").read_text()
    assert card.startswith('---\nlicense: "cc-by-4.0"\n')
    assert NO_LICENSE not in card


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"predictor_out": 96}, "it predicts 96 values"), ({"predictor": None}, "there is none")],
)
def test_a_predictor_that_is_left_out_is_told(
    settings: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    out, (note,) = exported(tmp_path, **settings)
    assert reason in note
    assert note in (out / "README.md").read_text()


def test_frames_without_antialias_are_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    path = run / "checkpoints" / "step-7" / "meta.json"
    path.write_text(path.read_text().replace('"antialias": true', '"antialias": false'))
    notes = export_hf(load_encoder(run), tmp_path / "out", HfExport())
    assert "without antialias" in notes[1]
    assert json.loads((tmp_path / "out" / "vsalt.json").read_text())["antialias"] is False


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"clip": ClipConfig(num_frames=4, size=(32, 48))}, "32 x 48 pixels"),
        ({"encoder": EncoderConfig(**{**vars(TINY), "positions": "sincos"})}, "are sincos"),
    ],
)
def test_nothing_is_written_for_what_is_refused(
    settings: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InteropError, match=reason):
        exported(tmp_path, **settings)
    assert not (tmp_path / "out").exists()


def saved(**changes: Any) -> SavedNetwork:
    encoder = load_network()
    classifier = AttentiveClassifier(AttentivePooler(24, 2, 1, eps=1e-6), 3)
    fields = {"classifier": classifier, "clip": CLIP, "antialias": True, "num_windows": 1}
    fields |= {"num_views": 1, "layers": (-1,), "classes": ("a", "b", "c")}
    return SavedNetwork(network=encoder, **{**fields, **changes})


def load_network() -> Any:
    from vsalt.evaluation.network import ProbeNetwork
    from vsalt.models.vit import Encoder

    head = torch.nn.Linear(24, 3)
    return ProbeNetwork(Encoder(TINY), head, layers=(-1,), pooling="mean", num_windows=1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"classifier": None}, "linear map of pooled features"),
        ({"num_windows": 4}, "4 windows"),
        ({"layers": (-1, -2)}, r"blocks \[-1, -2\]"),
    ],
)
def test_probes_of_other_kinds_are_refused_with_a_way_out(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        _refuse_probe(saved(**changes))
    assert "--to onnx" in str(caught.value)
    _refuse_probe(saved(layers=(0,)))


def test_a_classifier_goes_along(tmp_path: Path) -> None:
    from transformers import AutoModelForVideoClassification

    classifier = AttentiveClassifier(AttentivePooler(24, 2, 2, eps=1e-6), 3).eval()
    clip = ClipConfig(num_frames=8, size=(16, 16), frame_step=3)
    head = HfClassifier(
        classifier=classifier, classes=("a", "b", "c"), clip=clip, antialias=True, num_views=3
    )
    out, notes = exported(tmp_path, HfExport(classifier=head))
    assert "averaged over 3 crops" in notes[-1]
    model = AutoModelForVideoClassification.from_pretrained(out)
    assert (model.config.crop_size, model.config.frames_per_clip) == (16, 8)
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    clips = torch.randn(2, 3, 8, 16, 16)
    expected = classifier(load_encoder(tmp_path / "run").encoder(clips))
    assert torch.allclose(model(clips.transpose(1, 2)).logits, expected, atol=1e-5)
    card = (out / "README.md").read_text()
    assert "pipeline_tag: video-classification" in card
    assert "every 3 frames" in card


def words(line: str) -> Any:
    from vsalt.cli.export import ExportArgs
    from vsalt.cli.parse import parse

    return parse(ExportArgs, line.split(), "vsalt export")


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        ("", ["give the run and the folder", "--to is missing"]),
        ("run out --to onnx --license mit", ["--license and --results"]),
        ("run out --to hf --part 2", ["--part names a part of --probe"]),
        ("run out --to hf --json", ["--json is for --self-test"]),
        ("run --self-test --to hf --results p", ["takes no RUN and no --to and no --results"]),
    ],
)
def test_flags_that_do_not_fit_are_refused_together(line: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        _check(words(line))
    assert len(caught.value.problems) == len(problems)
    assert all(text in str(caught.value) for text in problems)


def test_the_verb_finds_no_probe_of_other_encoders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    assert main(["export", str(run), str(tmp_path / "out"), "--to", "hf"]) == 0
    said = capsys.readouterr().out
    assert f"AutoModel.from_pretrained('{tmp_path / 'out'}') loads it; 0 probe results" in said
    assert "--license" in said
    line = ["export", str(run), str(tmp_path / "o"), "--to", "hf", "--results", str(run)]
    assert main(line) == 1
    assert "holds no probe" in capsys.readouterr().err


def test_the_self_test_is_a_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsalt.interop import self_test
    from vsalt.interop.self_test import Row

    rows = [Row(model="a", direction="b", max_error=2e-6)]
    monkeypatch.setattr(self_test, "self_test", lambda: rows)
    assert main(["export", "--self-test", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [vars(rows[0])]
    rows.append(Row(model="a", direction="c", max_error=2e-5))
    assert main(["export", "--self-test"]) == 1
    assert "2.0e-05" in capsys.readouterr().out
    rows[1] = Row(model="a", direction="c", max_error=float("nan"))
    assert main(["export", "--self-test"]) == 1


def test_a_missing_package_is_answered_with_the_line_that_installs_it() -> None:
    needed = r"tests needs no_such \(No module named 'no_such'\): pip install 'vsalt\[hf\]'"
    with pytest.raises(MissingExtraError, match=needed):
        require("no_such.part", extra="hf", what="tests")


def test_a_transformers_that_cannot_load_models_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As beside a torchvision that was built for another torch."""

    class Broken(ModuleType):
        __version__ = "5.0"

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setitem(sys.modules, "transformers", Broken("transformers"))
    assert main(["export", "--self-test"]) == 1
    said = capsys.readouterr().err
    assert "transformers 5.0 is installed and cannot load its models: operator torchvision" in said
    assert "pip uninstall torchvision" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_process_without_vsalt_loads_a_folder_in_silence(tmp_path: Path) -> None:
    out, _ = exported(tmp_path)
    loaded = load_encoder(tmp_path / "run")
    clips = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.save({"clips": clips, "tokens": loaded.encoder(clips).detach()}, tmp_path / "wanted.pt")
    program = f"""
import sys
sys.modules["vsalt"] = None  # an import of it fails
import torch
from transformers import AutoModel
from transformers.utils import logging
logging.disable_progress_bar()
wanted = torch.load({str(tmp_path / "wanted.pt")!r}, weights_only=True)
model = AutoModel.from_pretrained({str(out)!r})
with torch.no_grad():
    tokens = model(wanted["clips"].transpose(1, 2)).last_hidden_state
print(float((tokens - wanted["tokens"]).abs().max()))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) < 1e-5
