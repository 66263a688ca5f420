"""Several real processes, started by torchrun: the same run, however many there are.

Gloo on one machine. What needs GPUs is in tests/gpu.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import runs

# Micro-batches of two clips, the share of one of four: any number measures the same features.
STAGE = [*runs.TINY_STAGE, "--device.timeout-s", "30", "--loop.micro-batch-size", "2"]
# Groups of two clips with numbers of tokens of their own: no two micro-batches are alike.
GROUPS = ["--masks.policy", "batch_min", "--masks.group-size", "2"]


@pytest.fixture(scope="module")
def in_two(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of two processes."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    done = runs.torchrun(2, "pretrain", "--out", run, *STAGE, "--data", videos, "--method", "pixel")
    assert done.returncode == 0, done.stderr
    return run


def test_two_processes_do_the_run_of_one(videos: Path, tmp_path: Path) -> None:
    words = [*STAGE, *GROUPS, "--data", videos, "--method", "vjepa"]
    one, two = tmp_path / "one", tmp_path / "two"
    done = runs.vsalt("pretrain", "--out", one, *words)
    assert done.returncode == 0, done.stderr
    done = runs.torchrun(2, "pretrain", "--out", two, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"done: {two}") == 1  # one process prints
    runs.assert_same_numbers(one, two)
    start = json.loads((two / "environment.json").read_text())["starts"]
    assert [entry["processes"] for entry in start] == [2]
    assert sorted(path.name for path in two.iterdir()) == sorted(
        path.name for path in one.iterdir()
    )


@pytest.mark.slow
def test_a_signal_to_one_stops_all_and_another_number_goes_on(
    videos: Path, in_two: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    stopped = runs.torchrun(
        *(2, "pretrain", "--out", run, *STAGE, "--data", videos, "--method", "pixel"),
        # After the second step, so it is told in the third, where no checkpoint is due.
        prefix=(runs.FAULT_DRIVER, "term", tmp_path / "marker", "step", "2"),
        fault_rank=1,
    )
    assert stopped.returncode != 0
    assert (tmp_path / "marker").exists()
    told = f"stopped after step 3 of {runs.STUDENT_STEPS}; saved. `vsalt resume {run}` goes on"
    told += "; by torchrun, which may start as many processes as before or others"
    assert stopped.stderr.count(told) == 1
    assert (run / "checkpoints" / "latest").read_text() == "step-3\n"
    assert runs.records(run)[-1]["step"] == 3
    resumed = runs.torchrun(4, "resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert "processes is 4, the run began with 2" in resumed.stdout
    runs.assert_same_numbers(in_two, run)


@pytest.mark.slow
def test_a_lost_process_ends_the_run_which_one_process_goes_on_with(
    videos: Path, in_two: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    begin = time.monotonic()
    lost = runs.torchrun(
        *(2, "pretrain", "--out", run, *STAGE, "--data", videos, "--method", "pixel"),
        prefix=(runs.FAULT_DRIVER, "kill", tmp_path / "marker", "step", "3"),
        fault_rank=1,
    )
    assert lost.returncode != 0
    assert time.monotonic() - begin < 60
    assert "another process of the run has ended" in lost.stderr
    assert f"`vsalt resume {run}` goes on from the last checkpoint" in lost.stderr
    # What was lost was not saved.
    assert (run / "checkpoints" / "latest").read_text() == "step-2\n"
    resumed = runs.vsalt("resume", run)
    assert resumed.returncode == 0, resumed.stderr
    runs.assert_same_numbers(in_two, run)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_starts_again_what_has_lost_a_process(
    rank: int, videos: Path, in_two: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = runs.torchrun(
        *(2, "pretrain", "--out", run, *STAGE, "--data", videos, "--method", "pixel"),
        prefix=(runs.FAULT_DRIVER, "kill", tmp_path / "marker", "step", "5"),
        fault_rank=rank,
        restarts=1,
    )
    assert (tmp_path / "marker").exists()
    assert done.returncode == 0, done.stderr
    assert "goes on after step 4" in done.stdout
    assert runs.stage_fingerprint(run) == runs.stage_fingerprint(in_two)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "rank", "place"),
    [
        # The leader has written config.json, and waits until the others have read the rows.
        ("salt", 1, "catalogue"),
        # The leader itself dies, between config.json and environment.json.
        ("pretrain", 0, "/environment.json"),
    ],
)
def test_torchrun_starts_again_what_dies_before_its_first_step(
    verb: str, rank: int, place: str, videos: Path, in_two: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = runs.TINY_SMALL if verb == "salt" else [*STAGE, "--method", "pixel"]
    done = runs.torchrun(
        *(2, verb, "--out", run, *words, "--data", videos),
        prefix=(runs.FAULT_DRIVER, "kill", tmp_path / "marker", place, "1"),
        fault_rank=rank,
        restarts=1,
    )
    assert (tmp_path / "marker").exists()
    assert done.returncode == 0, done.stderr
    if verb == "pretrain":
        assert runs.stage_fingerprint(run) == runs.stage_fingerprint(in_two)
    else:
        assert (run / "student" / "checkpoints" / "latest").read_text() == "step-2\n"


SHARD = ["--device.sharding", "shard"]


@pytest.mark.slow
def test_a_sharded_run_that_has_lost_a_process_is_started_again(
    videos: Path, in_two: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = runs.torchrun(
        *(2, "pretrain", "--out", run, *STAGE, *SHARD, "--loop.async-save", "on"),
        *("--data", videos, "--method", "pixel"),
        prefix=(runs.FAULT_DRIVER, "kill", tmp_path / "marker", "step", "6"),
        fault_rank=1,
        restarts=1,
    )
    assert (tmp_path / "marker").exists()
    assert done.returncode == 0, done.stderr
    assert "another process of the run has ended" in done.stderr
    # Whether the checkpoint of step 4 was in force by then depends on the disk.
    assert "goes on after step" in done.stdout
    runs.assert_same_numbers(in_two, run)
    parts = (run / "checkpoints" / f"step-{runs.STUDENT_STEPS}" / "state").glob("*.distcp")
    assert len(list(parts)) == 2
    assert not list(run.rglob(".tmp-*"))


@pytest.mark.slow
def test_weights_are_sharded_put_together_and_sharded_again(
    videos: Path, in_two: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"

    def stop(step: int) -> tuple[str | Path, ...]:
        return (runs.FAULT_DRIVER, "term", tmp_path / f"marker-{step}", "step", str(step))

    words = ["pretrain", "--out", run, *STAGE, *SHARD, "--data", videos, "--method", "pixel"]
    assert runs.torchrun(2, *words, prefix=stop(1), fault_rank=0).returncode != 0
    assert (run / "checkpoints" / "latest").read_text() == "step-2\n"
    assert runs.vsalt("resume", run, prefix=stop(1)).returncode != 0
    assert (run / "checkpoints" / "latest").read_text() == "step-3\n"
    # To restore an optimiser's state takes a step of its own, before the first.
    whole = ["resume", run, "--sharding", "replicate"]
    assert runs.torchrun(4, *whole, prefix=stop(3), fault_rank=3).returncode != 0
    assert (run / "checkpoints" / "latest").read_text() == "step-6\n"
    resumed = runs.torchrun(4, "resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert "processes is 4, the run began with 2" in resumed.stdout
    runs.assert_same_numbers(in_two, run)
    starts = json.loads((run / "environment.json").read_text())["starts"]
    assert [(entry["processes"], entry["sharding"]) for entry in starts] == [
        (2, "shard"), (1, "replicate"), (4, "replicate"), (4, "shard"),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_killed_torchrun_stops_its_processes(videos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words = ["-m", "vsalt", "pretrain", "--out", run, *STAGE, "--data", videos]
    with subprocess.Popen(
        [*launch, "--nproc-per-node", "2", *words, "--method", "pixel", "--steps", "100000"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as torchrun:
        deadline = time.monotonic() + 120
        while not (run / "checkpoints" / "latest").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        torchrun.kill()
        # Its end is only seen when nobody is left who could write.
        _, said = torchrun.communicate(timeout=60)
    assert said.count(f"saved. `vsalt resume {run}` goes on") == 1
    saved = int((run / "checkpoints" / "latest").read_text().removeprefix("step-"))
    assert runs.records(run)[-1]["step"] == saved


@pytest.mark.slow
def test_both_stages_of_salt_in_two_processes(videos: Path, tmp_path: Path) -> None:
    words = [*runs.TINY_SMALL, "--data", videos]
    one, two = tmp_path / "one", tmp_path / "two"
    assert runs.vsalt("salt", "--out", one, *words).returncode == 0
    # Everything is sharded, the student's frozen teacher, too.
    sharded = [*SHARD, "--device.teacher-sharding", "shard"]
    done = runs.torchrun(2, "salt", "--out", two, *words, "--data.workers", "1", *sharded)
    assert done.returncode == 0, done.stderr
    for stage in ("teacher", "student"):
        runs.assert_same_numbers(one / stage, two / stage)
    again = runs.torchrun(2, "resume", two)
    assert again.returncode == 0, again.stderr
    assert "student: all 2 steps were done before" in again.stdout
