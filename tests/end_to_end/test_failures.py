"""What goes wrong around a run: a clear error each time, and nothing lost."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import runs


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
    holder = subprocess.Popen(["flock", copy / ".lock", "sleep", "60"])
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
    path = copy / "student" / "config.json"
    record = json.loads(path.read_text())
    record["config"]["stage"]["optim"]["lr"] = 0.5
    path.write_text(json.dumps(record))
    before = contents(copy / "student" / "checkpoints")
    answer = runs.vsalt("resume", copy)
    assert answer.returncode == 1
    assert "stage.optim.lr: checkpoint 0.0" in answer.stderr
    assert "config.json 0.5" in answer.stderr
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
