"""Checkpoints: written under a temporary name, flushed, renamed; then the pointers move.

    checkpoints/
      step-N/model.safetensors   encoder, predictor and carried state after N optimiser steps
      step-N/state/              optimiser state, by torch.distributed.checkpoint
      step-N/meta.json           step, stage configuration, hash of the weights, val_loss
      latest, best               text files that hold the name of a checkpoint

A checkpoint's model.safetensors and meta.json are enough to use its encoder anywhere. Only
resuming the run itself reads `state/`.
"""

import errno
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn, optim
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import save as save_state

from vsalt import durable
from vsalt.errors import RunFolderError
from vsalt.models.weights import (
    load_strictly,
    part_of,
    read_weights,
    save_weights,
    weights_hash,
)
from vsalt.objectives.protocol import Objective
from vsalt.training import run_folder

MODEL = "model.safetensors"
STATE = "state"
META = "meta.json"
CARRIED = "carried"
_TEMPORARY = ".tmp-"
OPTIMISER_WORDS = 2
"""Words that AdamW keeps per weight."""
UNKNOWN = (
    *("manifest_sha256", "step", "clips", "flops_exact", "flops_six_nd"),
    *("teacher_flops_exact", "teacher_flops_six_nd"),
    *("reads", "bad_reads", "val_loss", "best_step", "best_val_loss"),
)
"""Entries of a checkpoint's meta.json that are null where training is not known."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk: its folder and what meta.json says."""

    path: Path
    meta: dict[str, Any]

    @property
    def step(self) -> int | None:
        """Optimiser steps done; None of imported weights, of whose training nothing is known."""
        step: int | None = self.meta["step"]
        return step


class CheckpointFolder:
    """The `checkpoints/` of one stage.

    Args:
        run: the stage's run folder.
        keep_last: how many checkpoints to keep beside the best one.
    """

    def __init__(self, run: Path, keep_last: int) -> None:
        self.path = run / run_folder.CHECKPOINTS
        self.keep_last = keep_last

    def save(self, objective: Objective, optimiser: optim.Optimizer, meta: dict[str, Any]) -> None:
        """Write the checkpoint `meta["step"]`, then move the pointers and remove old ones.

        Raises:
            RunFolderError: if it cannot be written; earlier checkpoints stay as they are.
        """
        name = f"step-{meta['step']}"
        temporary = self.path / f"{_TEMPORARY}{name}"
        with durable.explain_write_errors(f"checkpoint {self.path / name}"):
            try:
                _write(temporary, objective, optimiser, meta)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            os.rename(temporary, self.path / name)
            durable.sync_folder(self.path)
        self._point(run_folder.LATEST, name)
        if meta["best_step"] == meta["step"]:
            self._point(run_folder.BEST, name)
        self._remove_old()

    def clean(self) -> Checkpoint | None:
        """Return the checkpoint to go on from, and remove what an interrupted save left behind."""
        with durable.explain_write_errors(str(self.path)):
            self.path.mkdir(exist_ok=True)
            durable.sync_folder(self.path.parent)
        latest = self.latest()
        step = -1 if latest is None or latest.step is None else latest.step
        for entry in self.path.glob(f"{_TEMPORARY}step-*"):
            shutil.rmtree(entry)
        for entry in self._steps():
            if _step_of(entry) > step:
                shutil.rmtree(entry)
        if latest and latest.meta["best_step"] is not None:
            self._point(run_folder.BEST, f"step-{latest.meta['best_step']}")
        return latest

    def latest(self) -> Checkpoint | None:
        """Return the newest finished checkpoint, if there is one."""
        pointer = self.path / run_folder.LATEST
        return read_checkpoint(pointer) if pointer.exists() else None

    def _point(self, pointer: str, name: str) -> None:
        durable.write_file(self.path / pointer, f"{name}\n")

    def _remove_old(self) -> None:
        best = self.path / run_folder.BEST
        kept = {best.read_text().strip()} if best.exists() else set()
        for entry in self._steps()[: -self.keep_last]:
            if entry.name not in kept:
                shutil.rmtree(entry)

    def _steps(self) -> list[Path]:
        """The checkpoints, oldest first; whatever else lies in the folder is not ours."""
        entries = [entry for entry in self.path.glob("step-*") if entry.name[5:].isdecimal()]
        return sorted(entries, key=_step_of)


def _step_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _write(
    folder: Path, objective: Objective, optimiser: optim.Optimizer, meta: dict[str, Any]
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tensors = model_tensors(objective)
    save_weights(folder / MODEL, tensors)
    state = _optimiser_state(objective.trainable, optimiser)
    with warnings.catch_warnings(), _plain_errors(folder, tensors):
        # One process writes for all, since all have the same state. That is meant; the warning
        # says that no process group is used.
        warnings.filterwarnings("ignore", category=UserWarning, module="torch.distributed")
        save_state(state, checkpoint_id=folder / STATE, no_dist=True)
    durable.write_json(folder / META, {**meta, "weights_sha256": weights_hash(tensors)})
    durable.sync_tree(folder)


def _optimiser_state(module: nn.Module, optimiser: optim.Optimizer) -> dict[str, Any]:
    """Return the optimiser's state in the form that torch.distributed.checkpoint reads and writes.

    Before the first step torch makes the state by a step with zero gradients, which counts as one:
    the count is put back to 0.
    """
    fresh = not optimiser.state
    state = get_optimizer_state_dict(module, optimiser)
    if fresh:
        for values in optimiser.state.values():
            values["step"].zero_()
    return {"optimizer": state}


@contextmanager
def _plain_errors(folder: Path, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Turn the writer's own error, which hides what the system said, into an `OSError`."""
    try:
        yield
    except CheckpointException as error:
        needed = OPTIMISER_WORDS * sum(tensor.nbytes for tensor in tensors.values())
        if shutil.disk_usage(folder).free < needed:
            raise OSError(errno.ENOSPC, str(error)) from error
        raise RunFolderError(f"cannot write to {folder}: {error}") from error


def model_tensors(objective: Objective) -> dict[str, Tensor]:
    """Return all that `model.safetensors` holds."""
    carried = {f"{CARRIED}.{name}": value for name, value in objective.carried_state().items()}
    return {**objective.trainable.state_dict(), **carried}


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint at a path: its folder, or a pointer to it.

    Raises:
        RunFolderError: if there is none.
    """
    if path.is_file():
        name = path.read_text(errors="replace").strip()
        if not name or not (path.parent / name / META).is_file():
            raise RunFolderError(
                f"{path} names the checkpoint {name!r}, which is not there; write the name of one "
                "that is into it, such as step-1000"
            )
        path = path.parent / name
    meta = durable.read_json(path / META)
    return Checkpoint(path=path, meta=meta)


def read_verified(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Read a checkpoint's weights and compare them with the hash in its meta.json.

    Raises:
        WeightsError: if the file is missing or damaged.
        RunFolderError: if the weights are not those that were written.
    """
    tensors = read_weights(checkpoint.path / MODEL)
    if weights_hash(tensors) != checkpoint.meta["weights_sha256"]:
        raise RunFolderError(
            f"the weights of {checkpoint.path} are not those that were written; use another "
            f"checkpoint (to resume: remove that folder, and let {run_folder.LATEST} name an "
            "earlier one)"
        )
    return tensors


def restore(checkpoint: Checkpoint, objective: Objective, optimiser: optim.Optimizer) -> None:
    """Put a checkpoint's weights, carried state and optimiser state back.

    Raises:
        WeightsError: if the weights do not fit.
        RunFolderError: if the weights are not those that were written, or the state is damaged.
    """
    tensors = read_verified(checkpoint)
    carried = part_of(tensors, CARRIED)
    own = {name: value for name, value in tensors.items() if not name.startswith(f"{CARRIED}.")}
    load_strictly(objective.trainable, own, str(checkpoint.path))
    objective.load_carried_state(carried)
    _restore_optimiser(checkpoint.path / STATE, objective.trainable, optimiser)


def _restore_optimiser(path: Path, module: nn.Module, optimiser: optim.Optimizer) -> None:
    # Where there are gradients torch leaves a new optimiser's state empty, and nothing is loaded.
    optimiser.zero_grad(set_to_none=True)
    state = _optimiser_state(module, optimiser)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torch.distributed")
        try:
            load_state(state, checkpoint_id=path, no_dist=True)
        except (CheckpointException, OSError, ValueError) as error:
            raise RunFolderError(f"the optimiser state {path} cannot be read: {error}") from error
    set_optimizer_state_dict(module, optimiser, state["optimizer"])
