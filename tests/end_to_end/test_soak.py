"""The soak scripts, on a small scale, so that they still run when somebody needs them.

What they measured in earnest is on docs/results/reliability.md.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak"


def run(script: str, folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Run a script, and return its exit code and what it has found."""
    out = folder / "found.json"
    done = subprocess.run(
        [sys.executable, SOAK / script, folder / "work", *words, "--out", out],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert out.exists(), done.stderr
    return done.returncode, json.loads(out.read_text())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("processes", ["1", "2"])
def test_kills(processes: str, tmp_path: Path) -> None:
    words = ["--kills", "2", "--steps", "10:10", "--processes", processes]
    code, found = run("kills.py", tmp_path, *words)
    assert code == 0
    part = found[f"in {processes}"]
    assert len(part["kills"]) == 2
    for run_found in part["runs"].values():
        # Of two stages: every tensor, the optimiser's, logs.
        assert run_found["compared"] > 100
        assert run_found["different"] == []
    assert part["kills_with_processes_left"] == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mutants(tmp_path: Path) -> None:
    code, found = run("mutants.py", tmp_path, "--count", "23", "--passes", "1")
    assert code == 0
    assert found["alone"]["samples"] == found["loader"]["samples_compared"] >= 69
    assert found["alone"]["bad_files"] > 5
    assert found["loader"]["samples_that_differ"] == []
    assert found["loader"]["not_quarantined"] == []
    assert found["loader"]["children_left"] == 0
    assert found["check"]["exit_code"] == 1
    assert found["check"]["sound_called_bad"] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory(tmp_path: Path) -> None:
    # So soon after the start memory need not be flat, which is the exit code.
    _, found = run("memory.py", tmp_path, "--minutes", "1.5", "--warm-up", "0.75")
    assert found["exit_code"] == 143
    assert found["processes_left"] == []
    assert found["steps"] > 0
    assert {name.split()[0] for name in found["processes"]} >= {"trainer", "worker", "all"}
    for row in found["processes"].values():
        private = row["anonymous_mb"]
        assert private["low"] <= private["per_hour"] <= private["high"]
