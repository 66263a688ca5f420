"""Trackers show what the logs hold, also after a kill, and cannot end a training."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.runs import TINY_STAGE, vsalt
from support.wandb_file import read_wandb_file
from vsalt.errors import ConfigError, MissingExtraError, RunFolderError
from vsalt.training import tracking as module
from vsalt.training.run_folder import METRICS, TIMINGS, WARNINGS, JsonLines
from vsalt.training.tracking import (
    choose_tracker,
    chosen_tracker,
    require_tracker,
    tracking,
    values_of,
)

LOGS = {"": METRICS, "timing": TIMINGS, "warning": WARNINGS}


def train(run: Path, first: int, last: int, *, save_at: int = 0, say=print) -> None:
    """Write the logs of some steps as a trainer does, resumed after step `first`."""
    run.mkdir(exist_ok=True)
    logs = {prefix: JsonLines(run / name, keep_to_step=first) for prefix, name in LOGS.items()}
    with tracking(run, logs, {"seed": 3}, done_step=first, say=say):
        for step in range(first + 1, last + 1):
            logs[""].write({"kind": "train", "step": step, "loss": 1 / step, "rankme": None})
            logs["timing"].write({"step": step, "clips_per_s": 10.0 * step})
            if step == 3:
                logs["warning"].write(
                    {"step": 3, "kind": "collapse", "message": "seen", "cause": "why", "clips": []}
                )
            if step % 2 == 0:
                logs[""].write({"kind": "val", "step": step, "val_loss": 2 / step})
            if step == save_at:
                for log in logs.values():
                    log.sync()
    for log in logs.values():
        log.close()


def events(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a stage."""
    program = """
        import json, sys
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        found = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
        found.Reload()
        shown = {tag: [(e.step, e.value) for e in found.Scalars(tag)]
                 for tag in found.Tags()["scalars"]}
        shown |= {tag: [(e.step, 0.0) for e in found.Tensors(tag)]
                  for tag in found.Tags()["tensors"]}
        print(json.dumps(shown))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), run / "tensorboard"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {tag: [tuple(pair) for pair in pairs] for tag, pairs in json.loads(done.stdout).items()}


def test_records_become_named_numbers() -> None:
    record = {"kind": "train", "step": 4, "shape": "video", "loss": 2, "rankme": None, "ok": 1.5}
    assert values_of(record) == {"train/loss": 2.0, "train/ok": 1.5}
    assert values_of({**record, "shape": "image"}) == {
        "train_image/loss": 2.0,
        "train_image/ok": 1.5,
    }
    assert values_of({"step": 4, "clips_per_s": 9.0}, "timing") == {"timing/clips_per_s": 9.0}


def test_the_choice_of_a_run_is_that_of_its_stages(tmp_path: Path) -> None:
    run, stage = tmp_path / "run", tmp_path / "run" / "student"
    stage.mkdir(parents=True)
    assert chosen_tracker(run) == chosen_tracker(stage) == "none"
    choose_tracker(run, "tensorboard")
    assert chosen_tracker(run) == chosen_tracker(stage) == "tensorboard"
    choose_tracker(stage, "wandb")
    assert (chosen_tracker(run), chosen_tracker(stage)) == ("tensorboard", "wandb")
    # A run beside others does not take theirs.
    (tmp_path / "other").mkdir()
    choose_tracker(tmp_path, "wandb")
    assert chosen_tracker(tmp_path / "other") == "none"
    choose_tracker(run, "none")
    assert chosen_tracker(run) == "none"
    (run / "track.json").write_text('{"tracker": "paper"}')
    with pytest.raises(RunFolderError, match="names no tracker: 'paper'; remove it"):
        chosen_tracker(run)


def test_what_is_not_installed_is_said_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    require_tracker("none")
    for name, extra in (("tensorboard", "tensorboard"), ("wandb", "track")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError, match=rf"pip install 'vsalt\[{extra}\]'"):
            require_tracker(name)
    with pytest.raises(ConfigError, match="track is 'paper'"):
        require_tracker.__wrapped__("paper")


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_shows_what_is_logged(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    choose_tracker(run, "tensorboard")
    train(run, 0, 4)
    shown = events(run)
    assert set(shown) == {"train/loss", "timing/clips_per_s", "val/val_loss",
                          "warning/collapse/text_summary"}  # fmt: skip
    assert shown["train/loss"] == [(step, pytest.approx(1 / step)) for step in (1, 2, 3, 4)]
    assert shown["val/val_loss"] == [(2, pytest.approx(1.0)), (4, pytest.approx(0.5))]
    assert [step for step, _ in shown["warning/collapse/text_summary"]] == [3]


KILLED = """
    import os, signal, sys
    sys.path.insert(0, sys.argv[2])
    from pathlib import Path
    from unit_test_tracking import train
    from vsalt.training.run_folder import JsonLines
    write = JsonLines.write
    def dying(self, record):
        write(self, record)
        if record["step"] == 5:
            os.kill(os.getpid(), signal.SIGKILL)
    JsonLines.write = dying
    train(Path(sys.argv[1]), 0, 9, save_at=4)
"""


@pytest.mark.filterwarnings("ignore")
def test_a_killed_stage_goes_on_without_gaps_or_doubles(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    choose_tracker(run, "tensorboard")
    (tmp_path / "unit_test_tracking.py").symlink_to(__file__)
    program = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(KILLED), run, tmp_path]
    root = Path(__file__).parents[3]
    paths = os.pathsep.join([str(root / "src"), str(root / "tests")])
    killed = subprocess.run(program, env={**os.environ, "PYTHONPATH": paths}, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    time.sleep(1.1)  # TensorBoard orders files by the second of their start
    train(run, 4, 7)
    shown = events(run)
    assert [step for step, _ in shown["train/loss"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [step for step, _ in shown["timing/clips_per_s"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [step for step, _ in shown["val/val_loss"]] == [2, 4, 6]


@pytest.mark.filterwarnings("ignore")
def test_a_tracker_that_comes_later_gets_all_that_was_before(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run, 0, 4)
    assert not (run / "tensorboard").exists()
    choose_tracker(run, "tensorboard")
    train(run, 4, 6)
    shown = events(run)
    assert [step for step, _ in shown["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert "warning/collapse/text_summary" in shown


@pytest.mark.filterwarnings("ignore")
def test_steps_after_the_checkpoint_that_were_shown_are_forgotten(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    choose_tracker(run, "tensorboard")
    train(run, 0, 5, save_at=5)  # all five are on disk
    time.sleep(1.1)  # TensorBoard orders files by the second of their start
    train(run, 3, 6)
    shown = events(run)
    assert [step for step, _ in shown["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in shown["val/val_loss"]] == [2, 4, 6]


class Told:
    """A new tracker that keeps what it is told."""

    is_new = True

    def __init__(self) -> None:
        self.steps: list[int] = []

    def show(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append(step)

    def note(self, step: int, title: str, text: str) -> None:
        self.steps.append(step)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_what_was_before_is_told_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train(run, 0, 4)
    choose_tracker(run, "tensorboard")
    told = Told()
    monkeypatch.setattr(module, "_open", lambda *given: told)
    train(run, 4, 5)
    # Of every step its loss and time, of even ones the val_loss, of the third the warning.
    assert told.steps == [1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5]


class Broken:
    """A tracker that fails at its third record, and while it is closed."""

    is_new = False

    def __init__(self) -> None:
        self.shown: list[int] = []

    def show(self, step: int, values: Mapping[str, float]) -> None:
        if len(self.shown) == 2:
            raise OSError("the service has gone")
        self.shown.append(step)

    def note(self, step: int, title: str, text: str) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None:
        raise AssertionError("it was left out before")


def test_a_tracker_that_fails_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    choose_tracker(run, "tensorboard")
    broken = Broken()
    monkeypatch.setattr(module, "_open", lambda *given: broken)
    said: list[str] = []
    train(run, 0, 4, save_at=2, say=said.append)
    assert broken.shown == [1, 1]
    (line,) = said
    assert line.startswith("--track tensorboard has failed and is left out from here on: the serv")
    assert len((run / METRICS).read_text().splitlines()) == 6


OFFLINE = """
    import sys
    sys.path.insert(0, sys.argv[2])
    from pathlib import Path
    from unit_test_tracking import train
    train(Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4]))
"""


def offline(run: Path, folder: Path, first: int, last: int, **environment: str) -> Any:
    """Train with wandb in a process of its own, whose environment is that of a new user."""
    root = Path(__file__).parents[3]
    paths = os.pathsep.join([str(root / "src"), str(root / "tests")])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    script = folder / "unit_test_tracking.py"
    if not script.exists():
        script.symlink_to(__file__)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(OFFLINE), run, folder, str(first), str(last)],
        env={**kept, "PYTHONPATH": paths, "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_wandb_offline_keeps_what_is_logged(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    choose_tracker(run, "wandb")
    for first, last in ((0, 4), (2, 5)):
        done = offline(run, tmp_path, first, last, WANDB_MODE="offline")
        assert done.returncode == 0, done.stderr
    files = sorted(
        run.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime
    )
    before, after = (read_wandb_file(path) for path in files)
    own = json.loads((run / "wandb.json").read_text())["id"]
    assert before.run_id == after.run_id == own
    assert (before.project, before.name) == ("vsalt", "run")
    assert before.config["seed"] == 3
    assert [row["_step"] for row in before.history] == [1, 2, 3, 4]
    assert before.history[1] == {
        "_step": 2,
        "train/loss": 0.5,
        "timing/clips_per_s": 20.0,
        "val/val_loss": 1.0,
    }
    # The second process goes on after step 2 and says 3 and 4 again, with the same values.
    assert [row["_step"] for row in after.history] == [3, 4, 5]
    assert after.history[:2] == before.history[2:]
    assert before.alerts == ["collapse at step 3"]


def test_wandb_without_an_account_says_what_to_do(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    choose_tracker(run, "wandb")
    done = offline(run, tmp_path, 0, 2, WANDB_MODE="online", WANDB_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "--track wandb cannot begin" in done.stderr
    assert "WANDB_MODE=offline keeps the records on disk" in done.stderr
    assert not (run / "wandb.json").exists()


@pytest.mark.slow
def test_a_stage_is_tracked_from_the_command_line(tmp_path: Path) -> None:
    assert vsalt("data", "synth", tmp_path / "made", "-n", "40", "--size", "32").returncode == 0
    words = ["--method", "pixel", "--data", tmp_path / "made/labels.csv", *TINY_STAGE]
    run = tmp_path / "run"
    first = vsalt("pretrain", "--out", run, *words, "--loop.stop-at", "4", "--track", "tensorboard")
    assert first.returncode == 0, first.stderr
    logged = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    shown = events(run)
    for kind, name in (("train", "loss"), ("train", "grad_norm_encoder"), ("val", "val_loss")):
        expected = [(one["step"], one[name]) for one in logged if one["kind"] == kind]
        assert shown[f"{kind}/{name}"] == [
            (step, pytest.approx(value, rel=1e-5)) for step, value in expected
        ]
    assert json.loads((run / "track.json").read_text()) == {"tracker": "tensorboard"}
    again = vsalt("resume", run, "--track", "none")
    assert again.returncode == 0, again.stderr
    assert not (run / "track.json").exists()
