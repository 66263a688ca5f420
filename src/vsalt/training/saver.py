"""When checkpoints are written: at once, or beside the training.

Beside it, the weights and the optimiser's state are copied to main memory, and a thread writes the
copy. One checkpoint is written at a time. The thread speaks with no other process: of replicas the
leader alone writes, and puts the checkpoint in force; of sharded networks every process writes its
part, tells so in the exchange of a later step, and all settle it together then.
"""

import contextlib
import threading
from dataclasses import dataclass
from typing import Any

from torch import optim

from vsalt.errors import VsaltError
from vsalt.objectives.protocol import Objective
from vsalt.training.checkpoint import CheckpointFolder, Draft
from vsalt.training.distributed import ALONE, Ranks
from vsalt.training.state_draft import Written

IDLE, WRITTEN, FAILED = 0, 1, 2
"""What a process has to tell of the checkpoint that is being written."""


@dataclass
class Saver:
    """Writes the checkpoints of one stage; all processes call the same methods at the same steps.

    Attributes:
        folder: where they lie.
        ranks: the processes of the run.
        sharded: whether each process has a part of the weights.
        background: whether training goes on while one is written.
    """

    folder: CheckpointFolder
    ranks: Ranks = ALONE
    sharded: bool = False
    background: bool = False

    def __post_init__(self) -> None:
        """Begin with none."""
        self._writing: _Writing | None = None
        self._under_way = False

    def save(
        self,
        objective: Objective,
        optimiser: optim.Optimizer,
        step: int,
        meta: dict[str, Any] | None,
    ) -> None:
        """Write a checkpoint, or begin to.

        Args:
            objective: the method.
            optimiser: over its parameters.
            step: optimiser steps done.
            meta: what meta.json says; None in processes that do not lead.

        Raises:
            RunFolderError: if this one or the one before cannot be written.
        """
        self.settle()
        writers = self.ranks if self.sharded else ALONE

        def prepare() -> Draft:
            return self.folder.prepare(
                objective, optimiser, step, meta, ranks=writers, copy=self.background
            )

        draft = prepare() if self.sharded else self.ranks.first(prepare)
        self._under_way = True
        if draft is not None:
            self._writing = _Writing(draft, finishes=not self.sharded)
        if self._writing is not None and self.background:
            self._writing.start()
        if not self.background:
            self.settle()

    def state(self) -> int:
        """Return what this process has to tell of the checkpoint that is being written."""
        writing = self._writing
        if writing is None or not writing.ended:
            return IDLE
        if writing.error is not None:
            return FAILED
        return WRITTEN if self.sharded else IDLE

    def settle(self) -> None:
        """Wait until the checkpoint that is being written is in force.

        Raises:
            RunFolderError: if it could not be written; of several processes, the leader tells.
        """
        if not self._under_way:
            return
        self._under_way = False
        writing, self._writing = self._writing, None
        if not self.sharded:
            self.ranks.first(lambda: writing.result() if writing else None)
            return
        assert writing is not None, "every process writes"
        outcomes = self.ranks.gather(writing.outcome())
        errors = [outcome for outcome in outcomes if isinstance(outcome, VsaltError)]
        if errors:
            if self.ranks.leads:
                writing.draft.discard()
            raise self.ranks.agreed(errors[0])
        parts = [outcome for outcome in outcomes if not isinstance(outcome, VsaltError)]
        self.ranks.first(lambda: writing.draft.finish(parts))

    def join(self) -> None:
        """Wait for this process's own writing, whatever comes of it, when the run has failed."""
        if self._writing is not None and self._writing.begun:
            with contextlib.suppress(Exception):
                self._writing.result()


class _Writing:
    """One process's writing of a checkpoint, in a thread if it is started.

    Args:
        draft: what is written.
        finishes: put it in force, too.
    """

    def __init__(self, draft: Draft, *, finishes: bool) -> None:
        self.draft = draft
        self.error: BaseException | None = None
        self.ended = False
        self._finishes = finishes
        self._written = Written()
        self._thread = threading.Thread(target=self._run, name="vsalt-checkpoint")

    @property
    def begun(self) -> bool:
        """Whether it has begun."""
        return self.ended or self._thread.ident is not None

    def start(self) -> None:
        """Begin in a thread."""
        self._thread.start()

    def result(self) -> Written:
        """Wait for the thread, or do the work now if it was not started, and return what came.

        Raises:
            RunFolderError: if it could not be written.
        """
        if not self.begun:
            self._run()
        elif self._thread.ident is not None:
            self._thread.join()
        if self.error is not None:
            raise self.error
        return self._written

    def outcome(self) -> Written | VsaltError:
        """Return the result, or the error that is meant for the user."""
        try:
            return self.result()
        except VsaltError as error:
            return error

    def _run(self) -> None:
        try:
            self._written = self.draft.write()
            if self._finishes:
                self.draft.finish([self._written])
        except BaseException as error:
            # Raised where the result is asked for.
            self.error = error
        finally:
            self.ended = True
