"""Killed and resumed while files time out, crash workers and are broken: nothing may differ."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from support import runs
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import DataConfig

# The newest checkpoint before the kill in step 6 is that of step 4.
KILLED_IN_STEP = 6
# By "step,position,attempt", with steps from 0. The broken file is at position 3 of step 5.
FAULTS = {
    "-1,1,0": "hang",
    "1,6,0": "slow",
    "4,1,0": "hang",
    "4,6,0": "slow",
    "4,6,1": "slow",
    "5,5,0": "slow",
    "5,3,1": "crash",
    "6,7,0": "slow",
}
NEVER = 10**6


@pytest.fixture
def broken(videos: Path, tmp_path: Path) -> Path:
    """A copy of the videos in which the file at position 3 of step 5 is broken."""
    folder = tmp_path / "videos"
    subprocess.run(["cp", "-a", videos.parent, folder], check=True)
    manifest = folder / videos.name
    catalogue = Catalogue.load(DataConfig(sources=(str(manifest),), holdout=0.2), seed=3)
    row = catalogue.order(3).row(step=5, position=3, batch_size=8)
    Path(catalogue.rows[row].path).write_bytes(b"not a video")
    return manifest


def start(
    run: Path, videos: Path, kill_in_step: int, monkeypatch: pytest.MonkeyPatch, *words: str
) -> subprocess.CompletedProcess[str]:
    folder = run.with_name(f"{run.name}-faults")
    folder.mkdir(exist_ok=True)
    settings = {"folder": str(folder), "faults": FAULTS, "hard_limit_s": 5.0}
    monkeypatch.setenv("VSALT_READ_FAULTS", json.dumps(settings))
    marker = run.with_name(f"{run.name}-marker")
    driver = (runs.FAULT_DRIVER.with_name("read_fault_driver.py"), "kill", marker, "step")
    return runs.vsalt(*words, prefix=(*driver, str(kill_in_step)))


def test_killed_between_quarantines_and_resumed_equals_undisturbed(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = ["pretrain", *runs.TINY_STAGE, "--data", str(broken), "--method", "pixel"]
    begin += ["--data.workers", "1", "--data.prefetch", "1", "--data.max-bad-share", "0.5"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    done = start(whole, broken, NEVER, monkeypatch, *begin, "--out", str(whole))
    assert done.returncode == 0, done.stderr
    killed = start(run, broken, KILLED_IN_STEP, monkeypatch, *begin, "--out", str(run))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (run / "checkpoints" / "latest").read_text().strip() == "step-4"
    before = time_outs(run)
    # What was read ahead for step 6 happens again, as it was never used.
    (run.with_name("run-faults") / "6,7,0").unlink(missing_ok=True)
    resumed = start(run, broken, NEVER, monkeypatch, "resume", str(run))
    assert resumed.returncode == 0, resumed.stderr

    assert runs.stage_fingerprint(run) == runs.stage_fingerprint(whole)
    assert time_outs(run) == time_outs(whole)
    # Those of steps that were done again were not had again, or they would not be timed out.
    assert [line[:3] for line in before] == sorted(place(name) for name in FAULTS if name[0] < "6")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # All but the held-out one, and the broken file every time.
    assert records[-1]["bad_reads"] >= len(FAULTS) - 1 + 1
    assert "1 held-out clips cannot be read and are left out" in resumed.stdout


def place(name: str) -> list[int]:
    return [int(number) for number in name.split(",")]


def time_outs(run: Path) -> list[list[object]]:
    """What quarantine.jsonl says of time-outs, in the order of the samples."""
    lines = (run / "quarantine.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return sorted(list(record.values()) for record in records if record["timed_out"])
