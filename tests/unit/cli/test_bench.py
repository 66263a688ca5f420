"""`vsalt bench` prints one JSON object, or a table, and refuses what does not fit."""

import json

import pytest

from vsalt.bench import machine
from vsalt.cli.main import main


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products and copies that take no time."""
    monkeypatch.setattr(machine, "MATMUL_SECONDS", 0.0)
    monkeypatch.setitem(machine.MATMUL_SIZE, "cpu", 32)
    monkeypatch.setitem(machine.COPY_BYTES, "cpu", 1 << 16)


STEP = ["bench", "step", "--preset", "demo", "--batch-size", "2", "--rounds", "1"]


def test_a_step_as_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*STEP, "--method", "vjepa", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "step"
    assert (found["settings"]["preset"], found["settings"]["method"]) == ("demo", "vjepa")
    assert {"clips_per_s", "step_s", "flops_per_clip", "mfu", "split", "peak_memory"} <= {*found}


def test_a_step_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(STEP) == 0
    out = capsys.readouterr().out
    assert "MFU" in out
    for part in ("data", "target", "encoder", "predictor", "backward", "optimiser", "other"):
        assert f"│ {part} " in out


def test_masks_and_loader_as_objects(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "masks", "--seconds", "0.001", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["preset"] == "tiny-cpu"
    words = ["bench", "loader", "--preset", "demo", "--batch-size", "2", "--workers", "0"]
    assert main([*words, "--batches", "1", "--processor-time", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["sources"] == ["synthetic"]
    assert found["settings"]["clock"] == "processor"
    assert found["rows"][0]["clips_per_s"] > 0


def test_what_does_not_fit_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", "--preset", "demoo"]) == 1
    assert "preset 'demoo' does not exist; did you mean demo?" in capsys.readouterr().err
    assert main([*STEP, "--method", "pixel", "--teacher-size", "S"]) == 1
    assert "pixel has no frozen teacher" in capsys.readouterr().err
