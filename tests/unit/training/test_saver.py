"""Checkpoints written at once and beside the training: the same files, errors and promises."""

import errno
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from safetensors.torch import load_file

from support import runs
from support.trainers import Batches, make_progress, make_vjepa
from vsalt.data.types import Batch
from vsalt.errors import RunFolderError
from vsalt.training import checkpoint as checkpoint_module
from vsalt.training.config import LoopConfig
from vsalt.training.device import saves_in_background
from vsalt.training.loop import Trainer
from vsalt.training.saver import FAILED, IDLE
from vsalt.training.stop import InterruptedRunError, StopFlag

LOOP = LoopConfig(steps=4, batch_size=4, micro_batch_size=2, log_every=1, save_every=2, keep_last=9)


Make: TypeAlias = Callable[..., Trainer]


@pytest.fixture
def make(make_trainer: Make) -> Make:
    """Makes a trainer that writes checkpoints beside the training, unless told otherwise."""

    def build(run: Path, *, background: bool = True) -> Trainer:
        trainer = make_trainer(run, make_vjepa(), loop=LOOP)
        trainer.saver.background = background
        return trainer

    return build


def train(trainer: Trainer, batches: Batches | None = None, stop: StopFlag | None = None) -> None:
    batches = batches or Batches(0, trainer.loop)
    trainer.run(batches, stop or StopFlag(), make_progress(trainer.loop))


@pytest.mark.parametrize("background", [False, True])
def test_every_error_of_the_disk_is_told_plainly(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    def fail(path: Path, *_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(checkpoint_module, "save_weights", fail)
    trainer = make(tmp_path, background=background)
    with pytest.raises(RunFolderError, match=r"checkpoint .*step-2: .*Input/output error"):
        train(trainer)
    assert list(trainer.saver.folder.path.iterdir()) == []


def test_a_copy_is_written_without_asking_any_device(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A new thread would ask the first one, whichever is this process's. Here there is none to ask.
    trainer = make(tmp_path)
    train(trainer)
    folder, objective = trainer.saver.folder, trainer.objective
    meta = {"step": 9, "best_step": None}
    draft = folder.prepare(objective, trainer.optimiser, 9, meta, copy=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", _no_device)
    draft.finish([draft.write()])
    assert (folder.path / "latest").read_text() == "step-9\n"


def _no_device(*_: Any) -> None:
    raise AssertionError("a device is asked")


class SlowDisk:
    """Lets the weights of one checkpoint be written only after `free` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        self.free, self.reached = threading.Event(), threading.Event()
        self.fails = False
        write = checkpoint_module.save_weights

        def save(path: Path, *args: Any) -> None:
            if path.parent.name == f".tmp-step-{step}":
                self.reached.set()
                assert self.free.wait(60)
                if self.fails:
                    raise OSError(errno.ENOSPC, "No space left on device")
            write(path, *args)

        monkeypatch.setattr(checkpoint_module, "save_weights", save)


class Told(Batches):
    """Calls `at[step]` before a step's first micro-batch is given."""

    def __init__(self, loop: LoopConfig, at: dict[int, Any]) -> None:
        super().__init__(0, loop)
        self.at = at

    def __iter__(self) -> Iterator[tuple[int, int, Batch]]:
        for step, index, batch in super().__iter__():
            if index == 0 and step in self.at:
                self.at[step]()
            yield step, index, batch


def test_both_ways_write_the_same(make: Make, tmp_path: Path) -> None:
    for name, background in (("at once", False), ("beside", True)):
        train(make(tmp_path / name, background=background))
    for step in ("step-2", "step-4"):
        found, expected = (
            runs.checkpoint_fingerprint(tmp_path / name / "checkpoints" / step)
            for name in ("beside", "at once")
        )
        assert found == expected
        metas = [
            json.loads((tmp_path / name / "checkpoints" / step / "meta.json").read_text())
            for name in ("beside", "at once")
        ]
        # Torch writes a random number and the folder's path into this file.
        assert all(len(meta["state_sha256"].pop(".metadata")) == 64 for meta in metas)
        assert metas[0] == metas[1]


def test_a_checkpoint_holds_its_step_however_late_it_is_written(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(make(tmp_path / "at once", background=False))
    disk = SlowDisk(monkeypatch, step=2)
    trainer = make(tmp_path / "beside")

    def look() -> None:
        # The weights of step 3 are there; those of step 2 are still being written.
        assert disk.reached.wait(60)
        assert trainer.saver.state() == IDLE
        assert not (trainer.saver.folder.path / "latest").exists()
        disk.free.set()

    train(trainer, Told(trainer.loop, {3: look}))
    expected = load_file(tmp_path / "at once" / "checkpoints" / "step-2" / "model.safetensors")
    found = load_file(tmp_path / "beside" / "checkpoints" / "step-2" / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert (trainer.saver.folder.path / "latest").read_text() == "step-4\n"


def test_what_cannot_be_written_ends_the_run_after_the_next_step(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch, step=2)
    disk.fails = True
    trainer = make(tmp_path)

    def fail() -> None:
        disk.free.set()
        writing = trainer.saver._writing
        assert writing is not None
        writing.outcome()
        assert trainer.saver.state() == FAILED

    with pytest.raises(RunFolderError, match=r"checkpoint .*step-2: the disk is full"):
        train(trainer, Told(trainer.loop, {2: fail}))
    assert trainer.done.step == 3
    assert list(trainer.saver.folder.path.iterdir()) == []


def test_a_signal_waits_for_the_disk(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch, step=2)
    trainer, stop = make(tmp_path), StopFlag()

    def signal() -> None:
        stop.number = 15
        threading.Timer(0.3, disk.free.set).start()

    with pytest.raises(InterruptedRunError, match="stopped after step 2 of 4; saved"):
        train(trainer, Told(trainer.loop, {1: signal}), stop)
    assert (trainer.saver.folder.path / "latest").read_text() == "step-2\n"


def test_another_error_lets_the_checkpoint_be_finished(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch, step=2)
    trainer = make(tmp_path)

    def fail() -> None:
        threading.Timer(0.3, disk.free.set).start()
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        train(trainer, Told(trainer.loop, {2: fail}))
    assert (trainer.saver.folder.path / "latest").read_text() == "step-2\n"
    assert not [each for each in threading.enumerate() if each.name == "vsalt-checkpoint"]


@pytest.mark.parametrize(
    ("setting", "device", "expected"),
    [("auto", "cpu", False), ("auto", "cuda", True), ("on", "cpu", True), ("off", "cuda", False)],
)
def test_when_checkpoints_are_written_beside_the_training(
    setting: Any, device: str, expected: bool
) -> None:
    assert saves_in_background(LoopConfig(async_save=setting), device) is expected
