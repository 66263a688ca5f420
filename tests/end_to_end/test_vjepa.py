"""A run of method vjepa from start to use: killed, resumed, read by all that reads runs."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from support import runs
from vsalt.models.weights import part_of
from vsalt.objectives.config import SaltConfig
from vsalt.report.pictures import _load
from vsalt.report.write import write_report
from vsalt.training.locate import find_checkpoint, load_encoder, stage_of
from vsalt.training.stage_folder import read_stage
from vsalt.training.start import start_stage


@pytest.fixture(scope="module")
def run(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose best checkpoint by val_loss is not its last."""
    folder = tmp_path_factory.mktemp("vjepa") / "run"
    done = runs.vsalt("pretrain", "--out", folder, *words(videos))
    assert done.returncode == 0, done.stderr
    return folder


def words(videos: Path) -> list[str]:
    momenta = ["--method.momentum", "0.9", "--optim.schedule-stretch", "1.25"]
    return [*runs.TINY_STAGE, "--data", str(videos), "--method", "vjepa", *momenta]


def test_killed_and_resumed_equals_undisturbed(run: Path, videos: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    killed = runs.vsalt(
        *("pretrain", "--out", cut, *words(videos)),
        prefix=(runs.FAULT_DRIVER, "kill", tmp_path / "marker", "step", "6"),
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (cut / "checkpoints" / "latest").read_text() == "step-4\n"
    resumed = runs.vsalt("resume", cut)
    assert resumed.returncode == 0, resumed.stderr
    found = runs.stage_fingerprint(cut)
    assert found == runs.stage_fingerprint(run)
    carried = [name for name in found if name.startswith("carried.target.")]
    assert len(carried) == len([name for name in found if name.startswith("encoder.")])


def test_the_kept_encoder_is_the_average_of_the_last_step(run: Path) -> None:
    (run / "checkpoints" / "best").write_text("step-8\n")
    loaded = load_encoder(run)
    assert loaded.checkpoint.step == runs.STUDENT_STEPS
    assert stage_of(loaded.checkpoint) == "vjepa"
    tensors = load_file(loaded.checkpoint.path / "model.safetensors")
    target, student = part_of(tensors, "carried.target"), part_of(tensors, "encoder")
    assert target.keys() == student.keys()
    for name, value in loaded.encoder.state_dict().items():
        assert torch.equal(value, target[name])
        assert not torch.equal(value, student[name]), name


def test_a_student_may_learn_from_the_average(run: Path, videos: Path, tmp_path: Path) -> None:
    config = read_stage(run).config
    loop = replace(config.stage.loop, steps=1)
    optim = replace(config.stage.optim, warmup_steps=0)
    stage = replace(config.stage, method=SaltConfig(), loop=loop, optim=optim)
    student = tmp_path / "student"
    start_stage(student, replace(config, stage=stage), teacher=run)
    copied = load_encoder(student / "teacher")
    assert copied.sha256 == load_encoder(run).sha256 == read_stage(student).teacher_sha256


def test_its_report_shows_the_average(run: Path, tmp_path: Path) -> None:
    checkpoint = find_checkpoint(run)
    objective, encoders = _load(checkpoint, read_stage(run).config, None)
    assert objective is not None
    kept = load_encoder(run).encoder
    assert encoders["encoder"] is objective.encoder
    for name, value in encoders["encoder"].state_dict().items():
        assert torch.equal(value, kept.get_parameter(name))
    page = tmp_path / "report.html"
    write_report([run], [], page)
    text = page.read_text()
    assert "latents of its own moving average" in text
    assert "Tokens, clip 1" in text


def test_its_log_is_that_of_every_method(run: Path) -> None:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [record for record in records if record["kind"] == "train"][-1]
    assert {"rankme", "target_variance", "cosine", "grad_norm_encoder"} <= last.keys()
    assert (run / "warnings.jsonl").read_text() == ""
