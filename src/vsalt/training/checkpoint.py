"""Checkpoints: written under a temporary name, flushed, renamed; then the pointers move.

A checkpoint is made in three steps: `CheckpointFolder.prepare` takes what is to be written, if
weights are sharded from the other processes, too; `Draft.write` writes it; `Draft.finish` puts it
in force.

    checkpoints/
      step-N/model.safetensors   encoder, predictor and carried state after N optimiser steps
      step-N/state/              optimiser state, by torch.distributed.checkpoint
      step-N/meta.json           step, stage configuration, hashes, val_loss
      latest, best               text files that hold the name of a checkpoint

A checkpoint's model.safetensors and meta.json are enough to use its encoder anywhere. Only
resuming the run itself reads `state/`.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn, optim
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from vsalt import durable
from vsalt.errors import RunFolderError
from vsalt.models.parts import whole
from vsalt.models.weights import (
    load_strictly,
    part_of,
    read_weights,
    save_weights,
    weights_hash,
)
from vsalt.objectives.protocol import Objective
from vsalt.training import run_folder
from vsalt.training.distributed import ALONE, Ranks
from vsalt.training.read_state import USE_ANOTHER, check_state, read_state
from vsalt.training.state_draft import StateDraft, Written

MODEL = "model.safetensors"
STATE = "state"
META = "meta.json"
STATE_HASHES = "state_sha256"
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

    def prepare(
        self,
        objective: Objective,
        optimiser: optim.Optimizer,
        step: int,
        meta: dict[str, Any] | None,
        *,
        ranks: Ranks = ALONE,
        copy: bool = False,
    ) -> "Draft":
        """Return a checkpoint of the weights as they are now, to be written.

        Args:
            objective: the method.
            optimiser: over its parameters.
            step: optimiser steps done.
            meta: what meta.json says; None in processes that do not lead.
            ranks: the processes among which the weights are divided, all of which call this.
            copy: copy what is written, so that training may go on before it has been.
        """
        keep = partial(_keep, copy=copy, leads=ranks.leads)
        tensors = {name: keep(tensor) for name, tensor in model_tensors(objective).items()}
        temporary = self.path / f"{_TEMPORARY}step-{step}"
        state = StateDraft(_optimiser_state(objective.trainable, optimiser), temporary / STATE)
        state.plan(ranks, copy=copy)
        return Draft(self, step, meta, tensors, state)

    def put_in_force(self, temporary: Path, name: str, *, best: bool) -> None:
        """Give a checkpoint that is on disk its name, move the pointers, remove old ones."""
        os.rename(temporary, self.path / name)
        durable.sync_folder(self.path)
        self._point(run_folder.LATEST, name)
        if best:
            self._point(run_folder.BEST, name)
        self._remove_old()

    def clean(self, say: Callable[[str], None]) -> Checkpoint | None:
        """Return the checkpoint to go on from, and remove what an interrupted save left behind.

        Args:
            say: told if the best checkpoint is lost. In the meta.json that is returned there is
                none then, so that the next one of any `val_loss` is the best.
        """
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
        return self._point_at_best(latest, say) if latest else None

    def latest(self) -> Checkpoint | None:
        """Return the newest finished checkpoint, if there is one."""
        pointer = self.path / run_folder.LATEST
        return read_checkpoint(pointer) if pointer.exists() else None

    def _point_at_best(self, latest: Checkpoint, say: Callable[[str], None]) -> Checkpoint:
        """Let `best` be what it was when a checkpoint was written, if that is still there.

        It need not be: a later one may have been better, so that the earlier one was removed, and
        then been removed by the user because it is damaged.
        """
        step = latest.meta["best_step"]
        if step is not None and (self.path / f"step-{step}" / META).is_file():
            self._point(run_folder.BEST, f"step-{step}")
            return latest
        (self.path / run_folder.BEST).unlink(missing_ok=True)
        if step is None:
            return latest
        say(
            f"the best checkpoint at step {latest.step}, step-{step}, is not there any more; "
            "of those that are to come the best is found anew"
        )
        return replace(latest, meta={**latest.meta, "best_step": None, "best_val_loss": None})

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


class Draft:
    """A checkpoint that has been prepared; no other process is asked any more.

    Args:
        folder: where it is to lie.
        step: optimiser steps done.
        meta: what meta.json says; None in processes that do not lead.
        tensors: all weights; empty in processes that do not lead.
        state: this process's part of the optimiser state.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        step: int,
        meta: dict[str, Any] | None,
        tensors: Mapping[str, Tensor],
        state: StateDraft,
    ) -> None:
        self._folder, self._meta, self._tensors, self._state = folder, meta, tensors, state
        self._name = f"step-{step}"
        self._temporary = folder.path / f"{_TEMPORARY}{self._name}"

    def write(self) -> Written:
        """Write this process's files to disk, under a temporary name.

        Returns:
            What `finish` needs to know of it.

        Raises:
            RunFolderError: if they cannot be written; nothing is left of what the leader wrote.
        """
        with self._explained():
            if self._meta is not None:
                save_weights(self._temporary / MODEL, self._tensors)
            with _plain_errors(self._temporary, self._state.num_bytes):
                return self._state.write()

    def finish(self, written: Sequence[Written]) -> None:
        """Put the checkpoint in force; the leader does, after all have written.

        Args:
            written: what `write` returned in each process.

        Raises:
            RunFolderError: if it cannot be written.
        """
        assert self._meta is not None, "the leader finishes"
        with self._explained():
            meta = {
                **self._meta,
                "weights_sha256": weights_hash(self._tensors),
                STATE_HASHES: self._state.finish(written),
            }
            durable.write_json(self._temporary / META, meta)
            durable.sync_tree(self._temporary)
            best = self._meta["best_step"] == self._meta["step"]
            self._folder.put_in_force(self._temporary, self._name, best=best)

    def discard(self) -> None:
        """Remove what has been written."""
        shutil.rmtree(self._temporary, ignore_errors=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn all errors of the file system into one that can be told to other processes."""
        what = f"checkpoint {self._folder.path / self._name}"
        try:
            with durable.explain_all_write_errors(what):
                yield
        except BaseException:
            if self._meta is not None:
                self.discard()
            raise


def _keep(tensor: Tensor, *, copy: bool, leads: bool) -> Tensor:
    """Return what the leader writes of a weight; the others keep nothing."""
    full = whole(tensor)
    if not leads:
        return full.new_empty(0)
    if full is not tensor:
        # Gathered for this alone; of one weight at a time there is room on the device.
        return full.cpu()
    return full.detach().to("cpu", copy=True) if copy else full


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
def _plain_errors(folder: Path, num_bytes: int) -> Iterator[None]:
    """Turn the writer's own error, which hides what the system said, into an `OSError`."""
    try:
        yield
    except RuntimeError as error:
        if shutil.disk_usage(folder).free < num_bytes:
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
            f"the weights of {checkpoint.path} are not those that were written; {USE_ANOTHER}"
        )
    return tensors


def restore_weights(checkpoint: Checkpoint, objective: Objective) -> None:
    """Put a checkpoint's weights and carried state back, before they are sharded.

    Raises:
        WeightsError: if the weights do not fit.
        RunFolderError: if the weights are not those that were written.
    """
    tensors = read_verified(checkpoint)
    carried = part_of(tensors, CARRIED)
    own = {name: value for name, value in tensors.items() if not name.startswith(f"{CARRIED}.")}
    load_strictly(objective.trainable, own, str(checkpoint.path))
    objective.load_carried_state(carried)


def restore_optimiser(
    checkpoint: Checkpoint,
    objective: Objective,
    optimiser: optim.Optimizer,
    ranks: Ranks = ALONE,
) -> None:
    """Put a checkpoint's optimiser state back, however it and the weights are sharded.

    Checkpoints of earlier versions have no hashes of its files, and are read without.

    Args:
        checkpoint: what is read.
        objective: the method, with the checkpoint's weights.
        optimiser: over its parameters.
        ranks: processes that all call this; one of them compares the hashes for all.

    Raises:
        RunFolderError: if the state is damaged.
    """
    path, module = checkpoint.path / STATE, objective.trainable
    hashes = checkpoint.meta.get(STATE_HASHES)
    if hashes is not None:
        ranks.first(lambda: check_state(path, hashes))
    # Where there are gradients torch leaves a new optimiser's state empty, and nothing is loaded.
    optimiser.zero_grad(set_to_none=True)
    state = _optimiser_state(module, optimiser)
    read_state(state, path)
    set_optimizer_state_dict(module, optimiser, state["optimizer"])
