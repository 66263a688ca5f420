"""Weights from elsewhere teach a student, are probed and embedded, and go out again."""

import json
from pathlib import Path

import pytest
import torch

from support.runs import TINY_STAGE, vsalt
from vsalt.interop.self_test import their_model

pytestmark = pytest.mark.slow


def done(*words: str | Path) -> str:
    process = vsalt(*words)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_imported_weights_are_taken_by_all_verbs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    their_model().save_pretrained(tmp_path / "theirs")
    done("data", "synth", tmp_path / "made", "--num-clips", "24")
    made = tmp_path / "made" / "labels.csv"
    teacher, run = tmp_path / "teacher", tmp_path / "run"
    done("import", tmp_path / "theirs", teacher, "--frame-step", "2")
    given = ["--data", made, "--workers", "0"]
    assert "24 embeddings" in done("embed", "--encoder", teacher, *given, "--out", tmp_path / "e")
    said = done("viz", teacher, tmp_path / "pictures", "--data", made, "--clips", "1")
    assert said.split() == [str(tmp_path / "pictures" / "tokens.png")]
    method = ["--method", "salt", "--teacher", teacher]
    done("pretrain", *method, "--data", made, "--out", run, *TINY_STAGE, "--steps", "2")
    probe = ["probe", "fit", "--encoder", teacher, "--encoder", run, "--label-column", "motion"]
    said = done(*probe, *given, "--out", tmp_path / "probe")
    assert "imported (" in said
    record = json.loads((tmp_path / "probe" / "probe.json").read_text())
    kinds = [(one["stage"], one["step"], one["exposure"]["kind"]) for one in record["encoders"]]
    assert kinds[:2] == [("imported", None, "unknown"), ("student", 2, "unknown")]
    meta = json.loads((run / "checkpoints" / "step-2" / "meta.json").read_text())
    assert meta["teacher_flops_exact"] is None
    done("report", run, "--probe", tmp_path / "probe")
    page = (run / "report.html").read_text()
    assert "imported" in page
    done("resume", run)
    said = done("export", teacher, tmp_path / "out", "--to", "hf", "--license", "mit")
    assert "1 probe result in its card" in said
    card = (tmp_path / "out" / "README.md").read_text()
    assert "imported from `theirs`" in card
