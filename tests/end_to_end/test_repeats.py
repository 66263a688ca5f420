"""Runs whose decoded clips are used twice: stopped, resumed, and shared by two processes."""

from pathlib import Path

import pytest

from support import runs

pytestmark = pytest.mark.slow

STAGE = [*runs.TINY_STAGE, "--method", "pixel", "--data.repeats", "2"]


def test_a_resumed_run_and_two_processes_do_the_same(videos: Path, tmp_path: Path) -> None:
    words = [*STAGE, "--device.timeout-s", "30", "--data", videos]
    whole, stopped, shared = (tmp_path / name for name in ("whole", "stopped", "shared"))
    done = runs.vsalt("pretrain", "--out", whole, *words)
    assert done.returncode == 0, done.stderr
    assert "data: every decoded clip is used 2 times" in done.stdout
    done = runs.vsalt(
        *("pretrain", "--out", stopped, *words, "--data.workers", "1"),
        prefix=(runs.FAULT_DRIVER, "term", tmp_path / "marker", "step", "3"),
    )
    assert done.returncode == 143, done.stderr
    assert runs.vsalt("resume", stopped).returncode == 0
    assert runs.stage_fingerprint(stopped) == runs.stage_fingerprint(whole)
    done = runs.torchrun(2, "pretrain", "--out", shared, *words)
    assert done.returncode == 0, done.stderr
    runs.assert_same_numbers(whole, shared)
    assert [record["clips"] for record in runs.records(whole)][-1] == 8 * runs.STUDENT_STEPS


def test_shares_that_would_tear_clips_apart_are_refused(videos: Path, tmp_path: Path) -> None:
    words = [*STAGE, "--device.timeout-s", "30", "--data", videos]
    done = runs.torchrun(8, "pretrain", "--out", tmp_path / "run", *words)
    assert done.returncode != 0
    assert "start a number of processes that leaves each a multiple of 2" in done.stderr
    assert not (tmp_path / "run").exists()
