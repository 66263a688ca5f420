"""What goes wrong around a run: a clear error each time, and nothing lost."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import runs
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import DataConfig


@pytest.fixture(scope="session")
def finished(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests copy it before they change it."""
    run = tmp_path_factory.mktemp("finished") / "run"
    done = runs.vsalt("salt", "--data", videos, "--out", run, *runs.TINY)
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", finished, tmp_path / "run"], check=True)
    return tmp_path / "run"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def open_to_all(path: Path) -> None:
    """Let every user pass through the folders above a path, and read what lies below it."""
    for parent in path.parents:
        if parent.owner() == path.owner() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    subprocess.run(["chmod", "-R", "a+rX,go-w", path], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
def test_read_only_folder(videos: Path, copy: Path) -> None:
    open_to_all(videos.parent)
    open_to_all(copy)
    before = contents(copy)
    begun = runs.vsalt(
        *("salt", "--data", videos, "--out", copy / "new", *runs.TINY), prefix=(runs.AS_NOBODY,)
    )
    resumed = runs.vsalt("resume", copy, prefix=(runs.AS_NOBODY,))
    for answer in (begun, resumed):
        assert answer.returncode == 1
        assert str(copy) in answer.stderr
        assert "you may not write there" in answer.stderr
        assert "Traceback" not in answer.stderr
    assert contents(copy) == before


def test_full_disk_is_refused_before_the_start(videos: Path, small_disk: Path) -> None:
    answer = runs.vsalt("salt", "--data", videos, "--out", small_disk / "run", "--steps", "2")
    assert answer.returncode == 1
    assert "1.0 MB free" in answer.stderr
    assert "free some space" in answer.stderr
    assert not (small_disk / "run" / "config.json").exists()


def test_disk_that_fills_up_loses_nothing(videos: Path, small_disk: Path) -> None:
    words = [*runs.TINY_STAGE, "--data", videos, "--method", "pixel"]
    undisturbed = small_disk.with_name("undisturbed")
    assert runs.vsalt("pretrain", "--out", undisturbed, *words).returncode == 0
    run = small_disk / "run"
    # The disk fills up in the fifth step, between the second checkpoint and the third.
    failed = runs.vsalt(
        *("pretrain", "--out", run, *words),
        prefix=(runs.FAULT_DRIVER, "fill", small_disk / "marker", "step", "5"),
    )
    assert failed.returncode == 1, failed.stdout
    assert "the disk is full" in failed.stderr
    assert "Traceback" not in failed.stderr
    again = runs.vsalt("resume", run)
    assert again.returncode == 1
    assert "the disk is full" in again.stderr
    (small_disk / "filler").unlink()
    resumed = runs.vsalt("resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert runs.stage_fingerprint(run) == runs.stage_fingerprint(undisturbed)


def test_run_folder_in_use(copy: Path) -> None:
    before = contents(copy)
    # Without --no-fork a child would outlive the holder and keep the lock.
    holder = subprocess.Popen(["flock", "--no-fork", copy / ".lock", "sleep", "60"])
    try:
        while runs.vsalt("resume", copy).returncode == 0:
            assert holder.poll() is None
        answer = runs.vsalt("resume", copy)
    finally:
        holder.kill()
        holder.wait()
    assert answer.returncode == 1
    assert "is in use by process" in answer.stderr
    assert contents(copy).keys() == before.keys()


def test_begun_run_is_not_begun_again(videos: Path, copy: Path) -> None:
    before = contents(copy)
    answer = runs.vsalt("salt", "--data", videos, "--out", copy, *runs.TINY)
    assert answer.returncode == 1
    assert f"vsalt resume {copy}" in answer.stderr
    assert contents(copy) == before


def test_checkpoint_of_another_configuration(copy: Path) -> None:
    for path, section in ((copy / "student", "stage"), (copy, "student")):
        record = json.loads((path / "config.json").read_text())
        record["config"][section]["optim"]["lr"] = 0.5
        (path / "config.json").write_text(json.dumps(record))
    before = contents(copy / "student" / "checkpoints")
    answer = runs.vsalt("resume", copy)
    assert answer.returncode == 1
    assert "stage.optim.lr: 0.0" in answer.stderr
    assert "0.5 in config.json" in answer.stderr
    assert contents(copy / "student" / "checkpoints") == before


def test_changed_data_is_noticed(videos: Path, copy: Path, tmp_path: Path) -> None:
    (copy / "student" / "checkpoints" / "latest").write_text("step-6\n")
    moved = tmp_path / "moved.csv"
    lines = videos.read_text().splitlines(keepends=True)
    moved.write_text("".join([lines[0], *sorted(lines[1:], reverse=True)]))
    original = videos.read_text()
    videos.write_text(moved.read_text())
    try:
        answer = runs.vsalt("resume", copy)
    finally:
        videos.write_text(original)
    assert answer.returncode == 1
    assert "has changed since it began" in answer.stderr


def test_wrong_teacher_is_noticed(copy: Path) -> None:
    teacher = copy / "student" / "teacher" / "model.safetensors"
    other = copy / "teacher" / "checkpoints" / "step-4" / "model.safetensors"
    teacher.write_bytes(other.read_bytes())
    answer = runs.vsalt("resume", copy)
    assert answer.returncode == 1
    assert "teacher" in answer.stderr


def test_disk_that_is_full_at_the_hand_over(videos: Path, small_disk: Path) -> None:
    run = small_disk / "run"
    words = [*runs.TINY_SMALL, "--data", videos]
    failed = runs.vsalt(
        *("salt", "--out", run, *words),
        prefix=(runs.FAULT_DRIVER, "fill", small_disk / "marker", "hand-over", "1"),
    )
    assert failed.returncode == 1, failed.stdout
    assert "the disk is full" in failed.stderr
    assert "Traceback" not in failed.stderr
    (small_disk / "filler").unlink()
    assert runs.vsalt("resume", run).returncode == 0


def test_signal_at_the_hand_over_ends_the_job(videos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # The last pointer of the teacher's last step moves.
    stopped = runs.vsalt(
        *("salt", "--data", videos, "--out", run, *runs.TINY),
        prefix=(runs.FAULT_DRIVER, "term", tmp_path / "marker", "latest", "3"),
    )
    assert stopped.returncode == 143, stopped.stdout
    assert not (run / "student").exists()
    assert runs.vsalt("resume", run).returncode == 0


def test_held_out_clips_that_cannot_be_read_are_left_out(videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    subprocess.run(["cp", "-a", videos.parent, folder], check=True)
    words = [*runs.TINY_STAGE, "--data", folder / videos.name, "--method", "pixel"]
    first = tmp_path / "first"
    assert runs.vsalt("pretrain", "--out", first, *words, "--steps", "2").returncode == 0
    held = held_out(folder / videos.name)
    held[0].write_bytes(b"no video")
    second = runs.vsalt("pretrain", "--out", tmp_path / "second", *words)
    assert second.returncode == 0, second.stderr
    assert "1 held-out clips cannot be read and are left out" in second.stdout
    lines = (tmp_path / "second" / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [str(held[0])]
    for path in held:
        path.write_bytes(b"no video")
    third = runs.vsalt("pretrain", "--out", tmp_path / "third", *words)
    assert third.returncode == 1
    assert f"none of the {len(held)} held-out clips can be read" in third.stderr


def held_out(manifest: Path) -> list[Path]:
    """The clips that the tiny run holds out."""
    config = DataConfig(sources=(str(manifest),), holdout=0.2)
    catalogue = Catalogue.load(config, seed=3)
    return [Path(catalogue.rows[row].path) for row in catalogue.holdout]


def test_what_users_keep_among_the_checkpoints_is_left_alone(copy: Path) -> None:
    checkpoints = copy / "student" / "checkpoints"
    for name in ("backup", "mine-9", "step-best"):
        (checkpoints / name).mkdir()
    (checkpoints / "latest").write_text("step-6\n")
    assert runs.vsalt("resume", copy).returncode == 0
    assert {path.name for path in checkpoints.iterdir()} >= {"backup", "mine-9", "step-best"}


@pytest.mark.slow
def test_a_lost_best_checkpoint_does_not_compete(copy: Path) -> None:
    checkpoints = copy / "student" / "checkpoints"
    shutil.rmtree(checkpoints / "step-8")
    (checkpoints / "latest").write_text("step-6\n")
    path = checkpoints / "step-6" / "meta.json"
    meta = json.loads(path.read_text())
    # Removed long ago, and better than any loss that can come.
    path.write_text(json.dumps({**meta, "best_step": 2, "best_val_loss": 0.0}))
    answer = runs.vsalt("resume", copy)
    assert answer.returncode == 0, answer.stderr
    said = " ".join((answer.stdout + answer.stderr).split())
    assert "student: the best checkpoint at step 6, step-2, is not there any more" in said
    assert (checkpoints / "best").read_text() == "step-8\n"
    meta = json.loads((checkpoints / "step-8" / "meta.json").read_text())
    assert (meta["best_step"], meta["best_val_loss"]) == (8, meta["val_loss"])


def test_job_configuration_that_was_changed_is_noticed(copy: Path) -> None:
    path = copy / "config.json"
    record = json.loads(path.read_text())
    record["config"]["seed"] = 9
    path.write_text(json.dumps(record))
    answer = runs.vsalt("resume", copy)
    assert answer.returncode == 1
    assert "seed: 3 there, 9 in config.json" in answer.stderr


def test_damaged_weights_are_not_used(videos: Path, copy: Path, tmp_path: Path) -> None:
    step = (copy / "student" / "checkpoints" / "best").read_text().strip()
    weights = copy / "student" / "checkpoints" / step / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    answer = runs.vsalt("embed", "--encoder", copy, "--data", videos, "--out", tmp_path / "out")
    assert answer.returncode == 1
    assert "are not those that were written" in answer.stderr
