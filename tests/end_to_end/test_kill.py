"""kill -9 at the worst moments, then `vsalt resume`: nothing may differ from an undisturbed run."""

import json
import random
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from support import runs
from vsalt.errors import RunFolderError
from vsalt.training.locate import load_encoder
from vsalt.training.salt import run_salt


@dataclass(frozen=True)
class Kill:
    """Where to kill: the place of fault_driver.py, and the range its count is drawn from."""

    name: str
    place: str
    counts: tuple[int, int]
    seed: int
    words: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return random.Random(self.seed).randint(*self.counts)


T, S, EVERY = runs.TEACHER_STEPS, runs.STUDENT_STEPS, runs.SAVE_EVERY
KILLS = [
    Kill("before the first checkpoint", "step", (1, EVERY), seed=0),
    Kill("mid teacher", "step", (EVERY + 1, T), seed=1),
    Kill("at the hand-over", "hand-over", (1, 1), seed=2),
    Kill("mid student", "step", (T + EVERY + 1, T + S), seed=3),
    Kill("between temporary write and rename, teacher", "rename", (2, T // EVERY), seed=4),
    Kill(
        "between temporary write and rename, student",
        "rename",
        (T // EVERY + 2, (T + S) // EVERY),
        seed=5,
    ),
    Kill("while latest moves, teacher", "latest", (2, T // EVERY), seed=6),
    Kill("while latest moves, student", "latest", (T // EVERY + 1, (T + S) // EVERY), seed=7),
    Kill("mid student, with workers", "step", (T + 1, T + S), 8, ("--data.workers", "2")),
]
# Written by a thread, the checkpoint before is in force until the new one has its name.
ASYNC = ("--teacher.loop.async-save", "on", "--student.loop.async-save", "on")
ASYNC_KILLS = [
    Kill("between write and rename, beside the training", "rename", (2, T // EVERY), 9, ASYNC),
    Kill("while latest moves, beside the training", "latest", (2, T // EVERY), 10, ASYNC),
]


@pytest.fixture(scope="session")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    done = runs.vsalt("salt", "--data", videos, "--out", run, *runs.TINY)
    assert done.returncode == 0, done.stderr
    return runs.fingerprint(run)


@pytest.mark.parametrize(
    "kill",
    [*KILLS, *(pytest.param(kill, marks=pytest.mark.slow) for kill in ASYNC_KILLS)],
    ids=lambda kill: kill.name.replace(" ", "-"),
)
def test_killed_and_resumed_equals_undisturbed(
    kill: Kill, videos: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    run, marker = tmp_path / "run", tmp_path / "marker.json"
    killed = runs.vsalt(
        *("salt", "--data", videos, "--out", run, *runs.TINY, *kill.words),
        prefix=(runs.FAULT_DRIVER, "kill", marker, kill.place, str(kill.count)),
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    prove_phase(kill, run, json.loads(marker.read_text()))
    resumed = runs.vsalt("resume", run)
    assert resumed.returncode == 0, resumed.stderr
    found = runs.fingerprint(run)
    assert found == undisturbed
    leftovers = [*run.rglob(".tmp-*"), *run.rglob(".*.tmp")]
    assert not leftovers


def test_killed_at_the_second_hand_over(videos: Path, tmp_path: Path) -> None:
    """A run of three stages, whose assistant is given by a file and otherwise as the student."""
    file = tmp_path / "three.toml"
    file.write_text("[assistant.method]\ntarget_norm = 'none'\n")
    words = ["--data", videos, "--config", file, *runs.TINY_THREE, "--student.optim.lr", "0.01"]
    whole, run, marker = tmp_path / "whole", tmp_path / "run", tmp_path / "marker.json"
    done = runs.vsalt("salt", "--out", whole, *words)
    assert done.returncode == 0, done.stderr
    killed = runs.vsalt(
        *("salt", "--out", run, *words),
        prefix=(runs.FAULT_DRIVER, "kill", marker, "hand-over", "1"),
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    stages = {stage: latest_step(run / stage) for stage in ("teacher", "assistant", "student")}
    assert stages == {"teacher": 2, "assistant": 2, "student": None}
    assert (run / "student" / "teacher" / "model.safetensors").exists()
    assert not (run / "student" / "config.json").exists()
    resumed = runs.vsalt("resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert runs.fingerprint(run) == runs.fingerprint(whole)

    config = json.loads((run / "config.json").read_text())["config"]
    assert config["assistant"]["method"] == {**config["student"]["method"], "target_norm": "none"}
    # The student's own flag came after the file.
    assert config["assistant"]["optim"]["lr"] != config["student"]["optim"]["lr"]
    for stage, before in (("assistant", "teacher"), ("student", "assistant")):
        frozen = load_encoder(run / stage / "teacher")
        assert frozen.sha256 == load_encoder(run / before / "checkpoints" / "latest").sha256
        # It comes with the rows of all that were frozen before it.
        assert num_lines(frozen.seen) == num_lines(load_encoder(run / before).seen)
    assert load_encoder(run / "assistant").checkpoint.path.parents[1] == run / "assistant"

    (run / "assistant").rename(tmp_path / "assistant")
    with pytest.raises(RunFolderError, match="holds teacher, student; put back what is missing"):
        run_salt(run, Console())


def num_lines(files: tuple[Path, ...]) -> int:
    return sum(len(file.read_text().splitlines()) for file in files)


def prove_phase(kill: Kill, run: Path, marker: dict[str, str]) -> None:
    """Show by what lies on the disk that the kill hit the phase that it is named after."""
    steps = {stage: latest_step(run / stage) for stage in ("teacher", "student")}
    if kill.place == "hand-over":
        assert steps == {"teacher": T, "student": None}
        assert (run / "student" / "teacher" / "model.safetensors").exists()
        assert not (run / "student" / "config.json").exists()
        return
    if kill.place == "step":
        done = [0 if step is None else step for step in steps.values()]
        # Every checkpoint on disk is older than the step that was not finished.
        assert sum(done) == (kill.count - 1) // EVERY * EVERY
        assert marker == {"place": "optimiser step"}
        return
    new = Path(marker["new"])
    stage = new.parents[1]
    step = steps[stage.name] or 0
    if kill.place == "rename":
        assert (new.parent / f".tmp-{new.name}" / "meta.json").exists()
        assert not new.exists()
        assert new.name == f"step-{step + EVERY}"
    else:
        assert (stage / "checkpoints" / f"step-{step + EVERY}").exists()
        assert (new.parent / ".latest.tmp").read_text().strip() == f"step-{step + EVERY}"


def latest_step(stage: Path) -> int | None:
    pointer = stage / "checkpoints" / "latest"
    return int(pointer.read_text().strip().removeprefix("step-")) if pointer.exists() else None
