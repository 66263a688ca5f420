"""A student of each model of transformers that can teach: trained, resumed, looked at, used."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from support.outside import KINDS, layer_tokens, write
from support.runs import TINY_STAGE, stage_fingerprint
from vsalt.cli.main import main
from vsalt.cli.outside import read_outside
from vsalt.config import StageConfig
from vsalt.errors import RunFolderError, WeightsError
from vsalt.interop.extras import quiet_transformers
from vsalt.objectives.config import SaltConfig
from vsalt.report.pictures import stage_pictures
from vsalt.training.locate import load_encoder
from vsalt.training.start import resume_run
from vsalt.training.teachers import load_teacher

VARIANTS = {"dinov2-swiglu", "dinov3-gated"}
"""Of models that are here already; their tokens are tested one by one."""
SALT = ["--method", "salt", *TINY_STAGE]


def train(teacher: str, videos: Path, run: Path, *words: str) -> int:
    given = ["--teacher", teacher, "--data", str(videos), "--out", str(run)]
    return main(["pretrain", *SALT, *given, *words])


@pytest.mark.parametrize("name", [name for name in KINDS if name not in VARIANTS])
def test_a_student_learns_from_each(name: str, videos: Path, tmp_path: Path) -> None:
    model = write(tmp_path / "theirs", name)
    run = tmp_path / "run"
    layer = ["--method.teacher-layer", "-2"] if name == "dinov2" else []
    assert train(f"hf:{tmp_path / 'theirs'}", videos, run, "--steps", "2", *layer) == 0
    kept = run / "teacher" / "transformers"
    with quiet_transformers() as package:
        tower = package.AutoModel.from_pretrained(kept)
    pixels = torch.rand(2, *((4,) if KINDS[name].clips else ()), 3, 32, 32)
    again = layer_tokens(tower, name, pixels, whole=False)[-1]
    torch.testing.assert_close(again, layer_tokens(model, name, pixels)[-1], atol=1e-5, rtol=1e-5)
    meta = json.loads((run / "checkpoints" / "step-2" / "meta.json").read_text())
    assert meta["flops_exact"] > 0
    assert meta["teacher_flops_exact"] is None
    about = json.loads((run / "teacher" / "meta.json").read_text())
    assert about["outside"]["source"] == "theirs"
    assert about["outside"]["layer"] == (1 if layer else 2)
    config = json.loads((run / "config.json").read_text())
    assert config["teacher_sha256"] == about["outside"]["sha256"]
    # The student is an encoder like any other, and what its data was is not known.
    loaded = load_encoder(run)
    assert loaded.seen == ()
    assert torch.isfinite(loaded.encoder(torch.zeros(1, 3, 4, 32, 32))).all()


@pytest.fixture(scope="module")
def student(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of four steps of a student of CLIP."""
    folder = tmp_path_factory.mktemp("clip")
    write(folder / "theirs", "clip")
    words = ["--steps", "4", "--loop.keep-last", "2", "--method.teacher-frames", "mean"]
    assert train(f"hf:{folder / 'theirs'}", videos, folder / "run", *words) == 0
    shutil.rmtree(folder / "theirs")
    return folder / "run"


def test_its_run_goes_on_bit_for_bit_without_the_source(student: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(student, run)
    shutil.rmtree(run / "checkpoints" / "step-4")
    for pointer in ("latest", "best"):
        (run / "checkpoints" / pointer).write_text("step-2")
    with pytest.raises(RunFolderError, match="comes from outside, so read_outside is needed"):
        resume_run(run)
    assert main(["resume", str(run)]) == 0
    assert stage_fingerprint(run) == stage_fingerprint(student)


def test_another_teacher_in_its_place_is_noticed(student: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(student, run)
    shutil.rmtree(run / "checkpoints" / "step-4")
    (run / "checkpoints" / "latest").write_text("step-2")
    path = run / "teacher" / "transformers"
    with quiet_transformers() as package:
        tower = package.AutoModel.from_pretrained(path)
        with torch.no_grad():
            tower.pre_layrnorm.bias.add_(1)
        tower.save_pretrained(path)
    stage = StageConfig(method=SaltConfig())
    with pytest.raises(RunFolderError, match=r"model.safetensors in .* changed since"):
        load_teacher(run, stage, read_outside)
    # Somebody who writes the new hashes, too, is still found out.
    meta = json.loads((run / "teacher" / "meta.json").read_text())
    digest = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    meta["outside"]["files"]["model.safetensors"] = digest
    (run / "teacher" / "meta.json").write_text(json.dumps(meta))
    sha256 = json.loads((run / "config.json").read_text())["teacher_sha256"]
    with pytest.raises(RunFolderError, match="is not the one that this run began with"):
        load_teacher(run, stage, read_outside, sha256=sha256)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("config.json", "quick_gelu", "gelu"), ("preprocessor_config.json", "0.4", "0.41")],
)
def test_other_settings_of_its_teacher_are_noticed(
    student: Path, tmp_path: Path, name: str, old: str, new: str
) -> None:
    shutil.copytree(student, tmp_path / "run")
    path = tmp_path / "run" / "teacher" / "transformers" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    stage = StageConfig(method=SaltConfig())
    with pytest.raises(RunFolderError, match=f"{name} in .* changed since the run began"):
        load_teacher(tmp_path / "run", stage, read_outside)


def test_its_pictures_show_the_teacher(student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = stage_pictures(student, num_clips=1, read_outside=read_outside)
    assert found[-1].rows[1:] == ("encoder", "frozen teacher", "untrained")
    assert main(["report", str(student), "--clips", "1"]) == 0
    assert main(["viz", str(student), str(student / "viz"), "--clips", "1"]) == 0
    page = (student / "report.html").read_text()
    assert "CLIPVisionModel of theirs, block 2; what it has cost is not known" in page
    assert "No pictures" not in page


def test_its_card_names_the_teacher(student: Path, tmp_path: Path) -> None:
    assert main(["export", str(student), str(tmp_path / "out"), "--to", "hf"]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    teacher = "CLIPVisionModel of `theirs`, block 2; what it has seen is not known here"
    assert f"| frozen teacher | {teacher} |" in card
    assert "| FLOPs of its teachers, exact | unknown |" in card
    assert str(student.parent) not in card


def test_it_is_no_encoder_of_ours(student: Path) -> None:
    with pytest.raises(WeightsError, match="comes from outside; vsalt takes its tokens as targets"):
        load_encoder(student / "teacher")
    with pytest.raises(WeightsError) as caught:
        load_encoder(student.parent)
    assert str(student) in str(caught.value)
    assert str(student / "teacher") not in str(caught.value)


def test_a_relative_folder_is_named_and_needed_only_at_the_start(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "their own [1]", "clip")
    monkeypatch.chdir(tmp_path / "their own [1]")
    assert train("hf:.", videos, tmp_path / "run", "--steps", "1") == 0
    about = json.loads((tmp_path / "run" / "teacher" / "meta.json").read_text())
    assert about["outside"]["source"] == "their own [1]"


@pytest.mark.parametrize("name", ["videomae", "vjepa2", "clip"])
def test_images_between_videos(name: str, videos: Path, tmp_path: Path) -> None:
    write(tmp_path / "theirs", name)
    (tmp_path / "images").mkdir()
    generator = np.random.default_rng(0)
    for index in range(12):
        pixels = generator.integers(256, size=(40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
    run, steps = tmp_path / "run", ["--steps", "4", "--data", str(tmp_path / "images")]
    assert train(f"hf:{tmp_path / 'theirs'}", videos, run, *steps) == 0
    lines = (run / "metrics.jsonl").read_text().splitlines()
    found = [entry for entry in map(json.loads, lines) if entry["kind"] == "train"]
    assert {entry["shape"] for entry in found} == {"image", "video"}


def test_a_plan_names_it_and_counts_it(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "theirs", "siglip")
    plans = {}
    for frames in ("first", "mean"):
        words = ["--dry-run", "--method.teacher-frames", frames]
        assert train(f"hf:{tmp_path / 'theirs'}", videos, tmp_path / "run", *words) == 0
        plans[frames] = capsys.readouterr().out
    assert "teacher: SiglipVisionModel of " in plans["first"]
    assert plans["first"].count("FLOPs, exact") == 1
    assert plans["first"] != plans["mean"]
    assert not (tmp_path / "run").exists()


def test_a_folder_at_home_is_found(
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path / "models" / "mine", "siglip")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert train("hf:~/models/mine", videos, tmp_path / "run", "--dry-run") == 0
    assert f"SiglipVisionModel of {tmp_path}" in capsys.readouterr().out.replace("\n", "")
    assert train("hf:~/models/other", videos, tmp_path / "run", "--dry-run") == 1
    assert "there is no folder" in capsys.readouterr().err


def test_salt_says_which_verb_takes_a_teacher(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["salt", "--out", "x", "--teacher", "hf:a b"]) == 1
    assert "give vsalt pretrain --method salt --teacher 'hf:a b'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_name_on_the_hub_is_read_from_its_cache(videos: Path, tmp_path: Path) -> None:
    """As after a download, in a process that may not go online."""
    cached = tmp_path / "hub" / "models--someone--small"
    write(cached / "snapshots" / "0123", "dinov2")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123")
    command = [sys.executable, "-m", "vsalt", "pretrain", *SALT, "--steps", "1"]
    command += ["--teacher", "hf:someone/small", "--data", str(videos), "--out"]
    offline = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    env: dict[str, Any] = {**os.environ, **offline}
    run = tmp_path / "run"
    process = subprocess.run(
        [*command, str(run)], capture_output=True, text=True, timeout=240, env=env, check=False
    )
    assert process.returncode == 0, process.stderr
    about = json.loads((run / "teacher" / "meta.json").read_text())
    assert about["outside"]["source"] == "someone/small"
