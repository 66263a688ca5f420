"""`vsalt import`: what it writes is an encoder that all other verbs take, and says what it is."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from support.encoders import write_checkpoint
from vsalt.cli.main import main
from vsalt.config import PretrainConfig, SaltRunConfig, StageConfig
from vsalt.errors import ConfigError, InteropError, RunFolderError
from vsalt.interop.export_hf import HfExport, export_hf
from vsalt.interop.import_weights import ImportSettings, import_weights
from vsalt.interop.self_test import ENCODER, PREDICTOR, original_state, their_model
from vsalt.models.config import PredictorConfig
from vsalt.objectives.config import ImportedConfig
from vsalt.report.probes import _when
from vsalt.training.build import resolve
from vsalt.training.checkpoint import UNKNOWN
from vsalt.training.locate import load_encoder, stage_of

HEADS = ImportSettings(heads=ENCODER.heads, predictor_heads=PREDICTOR.heads)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(2)
    return their_model()


@pytest.fixture
def folder(model: Any, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def test_a_folder_becomes_an_encoder(folder: Path, model: Any, tmp_path: Path) -> None:
    out = tmp_path / "ours"
    imported = import_weights(folder, out, ImportSettings())
    assert any("4 frames of 32 x 32 pixels, 4 per second, shrunk with" in n for n in imported.notes)
    loaded = load_encoder(out)
    assert (loaded.config.clip.fps, loaded.config.data.antialias) == (4.0, True)
    assert stage_of(loaded.checkpoint) == "imported"
    assert (loaded.checkpoint.step, loaded.seen) == (None, ())
    clips = torch.randn(2, 3, 4, 32, 32)
    theirs = model(clips.transpose(1, 2), skip_predictor=True).last_hidden_state
    assert torch.allclose(loaded.encoder(clips), theirs, atol=1e-5)


def test_its_meta_says_what_is_not_known(folder: Path, tmp_path: Path) -> None:
    import_weights(folder, tmp_path / "ours", ImportSettings(frame_step=3, antialias=False))
    meta = json.loads((tmp_path / "ours" / "meta.json").read_text())
    assert {meta[name] for name in UNKNOWN} == {None}
    assert {"step", "flops_exact", "clips", "manifest_sha256"} <= set(UNKNOWN)
    assert (meta["imported"]["format"], meta["imported"]["source"]) == ("transformers", "theirs")
    assert meta["config"]["stage"].keys() == {"method", "encoder", "predictor"}
    assert meta["config"].keys() == {"clip", "data", "stage"}
    clip = meta["config"]["clip"]
    assert (clip["fps"], clip["frame_step"], meta["config"]["data"]) == (
        None,
        3,
        {"antialias": False},
    )


def test_an_original_checkpoint_becomes_an_encoder(model: Any, tmp_path: Path) -> None:
    torch.save(original_state(model), tmp_path / "latest.pt")
    imported = import_weights(tmp_path / "latest.pt", tmp_path / "ours", HEADS)
    assert "taken for granted: its predictor has 2 attention heads" in imported.notes
    loaded = load_encoder(tmp_path / "ours")
    clip = loaded.config.clip
    assert (clip.num_frames, clip.size, clip.fps) == (16, (256, 256), 4.0)
    assert not loaded.config.data.antialias
    meta = json.loads((tmp_path / "ours" / "meta.json").read_text())
    assert (meta["imported"]["format"], meta["imported"]["role"]) == ("vjepa2", "target_encoder")


def test_an_export_comes_back_as_it_was(tmp_path: Path) -> None:
    predictor = PredictorConfig(width=24, depth=1, heads=2, mlp_width=48)
    loaded = load_encoder(write_checkpoint(tmp_path / "own", predictor=predictor))
    export_hf(loaded, tmp_path / "hf", HfExport())
    import_weights(tmp_path / "hf", tmp_path / "back", ImportSettings())
    back = load_encoder(tmp_path / "back")
    assert back.sha256 == loaded.sha256
    assert back.config.clip == loaded.config.clip
    assert back.config.data.antialias == loaded.config.data.antialias
    one, two = (load_tensors(tmp_path / name) for name in ("own", "back"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def load_tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_what_is_no_source_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InteropError, match="there is nothing at"):
        import_weights(tmp_path / "none", out, ImportSettings())
    with pytest.raises(InteropError, match=r"has no config\.json"):
        import_weights(tmp_path, out, ImportSettings())
    with pytest.raises(ConfigError, match=r"heads is 2, but .*config\.json tells the networks"):
        import_weights(folder, out, HEADS)
    with pytest.raises(ConfigError, match=r"2 settings(.|\n)*role is encoder(.|\n)*rotary is True"):
        import_weights(folder, out, ImportSettings(role="encoder", rotary=True))
    with pytest.raises(ConfigError, match="does not divide into tubelets"):
        import_weights(folder, out, ImportSettings(size=33))
    assert not out.exists()
    with pytest.raises(RunFolderError, match="not empty"):
        import_weights(folder, folder, ImportSettings())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size is 0"),
        ({"fps": -1.0}, "fps is -1.0"),
        ({"fps": 2.0, "frame_step": 2}, "exclude each other"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImportSettings(**settings)


def test_imported_is_no_method_to_train_with() -> None:
    stage = StageConfig(method=ImportedConfig())
    with pytest.raises(ConfigError, match="imported, which trains nothing; there are pixel"):
        resolve(PretrainConfig(stage=stage))
    with pytest.raises(ConfigError, match=r"teacher\.method is imported; it must be pixel or"):
        SaltRunConfig(teacher=stage)


def test_a_table_says_imported_in_the_place_of_a_step() -> None:
    assert [_when(None), _when(7)] == ["imported", "of step 7"]


def test_the_verb_says_what_it_took_for_granted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ours"
    assert main(["import", str(folder), str(out), "--fps", "8"]) == 0
    said = capsys.readouterr().out
    assert "an encoder of 2 blocks, width 24, 2 heads" in said
    assert "8 per second" in said
    assert f"--teacher {out}" in said
    assert main(["import", str(folder), str(out)]) == 1
    assert "not empty" in capsys.readouterr().err
