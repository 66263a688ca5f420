"""The training loop: one for all methods, which it knows by the `Objective` protocol only.

A step:  schedule -> for each micro-batch: loss / clips of the step, backward -> finite check ->
clip -> optimiser -> objective.after_step -> log, val_loss, checkpoint. `Health` listens.

Several processes do the same steps, each on its share of the clips. Gradients are added up in the
backward pass, all else in one exchange after it; then every process has the same bits and takes
the same decisions. The leader alone logs; all validate, each on its share of the held-out clips.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, optim

from vsalt import durable
from vsalt.compute.types import ClipFlops
from vsalt.data.config import Shape
from vsalt.data.quarantine import Quarantine
from vsalt.data.shapes_by_step import StepShapes
from vsalt.data.types import BadFile, Batch
from vsalt.errors import (
    DataError,
    NonFiniteError,
    RunFolderError,
    ToldElsewhereError,
    VsaltError,
)
from vsalt.objectives.protocol import Objective, ObjectiveOutput
from vsalt.training import run_folder
from vsalt.training.accumulate import accumulate
from vsalt.training.config import LoopConfig, OptimConfig
from vsalt.training.distributed import ALONE, Ranks
from vsalt.training.division import Division, divide
from vsalt.training.exchange import Own, exchange
from vsalt.training.health import Health, finite_or_none
from vsalt.training.joint import Joint
from vsalt.training.optim import all_finite, clip_gradients, gradient_norms, set_schedule
from vsalt.training.progress import Progress
from vsalt.training.saver import FAILED, Saver
from vsalt.training.schedule import clips_gradients, learning_rate, weight_decay
from vsalt.training.step_flops import flops_until
from vsalt.training.stop import InterruptedRunError, StopFlag, UnreadableRunError, in_stage


@runtime_checkable
class StepBatches(Protocol):
    """Gives the micro-batches of one step after the other, and knows how long it was waited for."""

    wait_s: float

    def __iter__(self) -> Iterator[tuple[int, int, Batch]]:
        """Yield (step, index in the step, micro-batch)."""
        ...


@dataclass
class Progressed:
    """What a run has done so far; part of every checkpoint's meta.json.

    Attributes:
        step: optimiser steps done.
        reads: clips that were tried.
        bad_reads: those of them that could not be read, and were replaced.
        best_step: step of the checkpoint with the lowest val_loss.
        best_val_loss: that val_loss.
        val_loss: the last one.
    """

    step: int = 0
    reads: int = 0
    bad_reads: int = 0
    best_step: int | None = None
    best_val_loss: float | None = None
    val_loss: float | None = None


@dataclass
class _Read:
    """What this process has read of a step so far."""

    rows: list[int] = field(default_factory=list)
    reads: int = 0
    bad_files: list[BadFile] = field(default_factory=list)
    clip_losses: list[Tensor] = field(default_factory=list)


@dataclass
class Trainer:
    """One stage, ready to run from `done.step` to `loop.end`.

    Attributes:
        objective: the method.
        optimiser: over the objective's parameters.
        optim: resolved config.
        loop: resolved config.
        shapes: the shape of every step.
        clip_flops: operations of one training clip of each shape.
        device: "cpu" or "cuda".
        precision: "fp32" or "bf16".
        saver: writes checkpoints.
        metrics: log of all that is a function of the configuration.
        timings: log of what is not.
        quarantine: writes down the files that could not be read.
        health: measures features, and warns.
        validate: returns `val_loss` and what else a val record holds; None where nothing is held
            out.
        describe_rows: names the files of catalogue rows, for errors.
        meta: what every checkpoint's meta.json holds beside `done`.
        done: what has been done; the start of a resumed run.
        saved_step: step of the newest checkpoint on disk.
        ranks: the processes of the run.
        joint: of several, the objective as they compute it together.
    """

    objective: Objective
    optimiser: optim.Optimizer
    optim: OptimConfig
    loop: LoopConfig
    shapes: StepShapes
    clip_flops: Mapping[Shape, ClipFlops]
    device: str
    precision: str
    saver: Saver
    metrics: run_folder.JsonLines
    timings: run_folder.JsonLines
    quarantine: Quarantine
    health: Health
    validate: Callable[[], Mapping[str, float]] | None
    describe_rows: Callable[[Iterable[int]], list[str]]
    meta: dict[str, Any]
    done: Progressed = field(default_factory=Progressed)
    saved_step: int | None = None
    ranks: Ranks = ALONE
    joint: Joint | None = None
    _told_signal: int | None = field(default=None, init=False)
    _told_saved: bool = field(default=False, init=False)
    _stop: StopFlag = field(default_factory=StopFlag, init=False)

    @property
    def logs(self) -> tuple[run_folder.JsonLines, ...]:
        """All logs of the run; who made the trainer closes them."""
        return (self.metrics, self.timings, self.health.alarms.log)

    def run(self, batches: StepBatches, stop: StopFlag, progress: Progress) -> None:
        """Train to the end.

        Raises:
            NonFiniteError: if a loss or gradient is not finite; a checkpoint of the last good
                step has been written.
            InterruptedRunError: if `stop` was raised; likewise, and in any of several processes.
            LostProcessError: if another process is lost; nothing was written.
            DataError: if clips cannot be read. A run of one process has saved the step before, if
                they are a step's and not held out.
        """
        self._stop = stop
        self.objective.trainable.train()
        assert (self.joint is not None) == self.ranks.several
        self.health.alarms.show = progress.note
        try:
            self._train(batches, progress)
            self.saver.settle()
        except BaseException:
            # The steps before an error may explain it; an error of theirs must not hide it.
            with contextlib.suppress(Exception):
                self.health.flush()
            self.saver.join()
            raise

    def _save_before(self, error: DataError) -> None:
        """Save the steps before clips could not be read, and add to the error how that went.

        Of several processes one knows of it alone, and the others wait in vain for its step.
        """
        if self.ranks.several or self.done.step in (0, self.saved_step):
            return
        self.optimiser.zero_grad(set_to_none=True)
        try:
            self._save(validated=False)
            self.saver.settle()
        except (VsaltError, OSError) as failed:
            lost = f"The steps since the last checkpoint are lost: {failed}"
            raise DataError(f"{error}\n{lost}") from error
        saved = f"The run is saved after step {self.done.step}"
        raise UnreadableRunError(f"{error}\n{saved}") from error

    def _train(self, batches: StepBatches, progress: Progress) -> None:
        if not self.loop.end:
            self._save(self._validate(progress))
        stream = iter(batches)
        for step in range(self.done.step, self.loop.end):
            try:
                record = self._step(step, stream)
            except DataError as unread:
                # Not for held-out clips: a step that is saved has its val_loss.
                self._save_before(unread)
                raise
            self.done.step = step + 1
            if self._saved():
                self.saver.settle()
            self._log(record, batches.wait_s, progress)
            validated = self._validate(progress)
            signal = self._signal()
            if self._due(self.loop.save_every) or signal is not None:
                self._save(validated)
                # One that came while it was written; any later one is for the next step to save.
                signal = self._signal()
            if signal is not None:
                self.saver.settle()
                error = InterruptedRunError(
                    signal,
                    f"stopped{in_stage(progress.title)} after step {self.done.step} of "
                    f"{self.loop.end}; saved",
                )
                raise self.ranks.agreed(error)

    def _signal(self) -> int | None:
        """Return the signal to stop; of several processes, what they told in the last step."""
        return self._told_signal if self.ranks.several else self._stop.number

    def _saved(self) -> bool:
        """Whether the checkpoint that is being written is to be settled now."""
        return self._told_saved if self.ranks.several else self.saver.state() == FAILED

    @property
    def _division(self) -> Division:
        return divide(self.loop, self.ranks.size)

    def _step(self, step: int, stream: Iterator[tuple[int, int, Batch]]) -> dict[str, Any]:
        """Do one optimiser step and return its record."""
        read = _Read()
        lr = learning_rate(step, self.loop.steps, self.optim)
        decay = weight_decay(step, self.loop.steps, self.optim)
        set_schedule(self.optimiser, lr, decay)
        self.optimiser.zero_grad(set_to_none=True)
        self.health.begin_step()

        def listen(output: ObjectiveOutput) -> None:
            read.clip_losses.append(output.clip_losses)
            if self.ranks.leads:
                self.health.hear(step + 1, output)

        with self.ranks.explained():
            sums = accumulate(
                self.objective,
                self._read(stream, step, read),
                self.loop.batch_size,
                self.device,
                self.precision,
                listen=listen,
                joint=self.joint,
            )
        groups = self.objective.param_groups()
        norms = gradient_norms(groups)
        if self.joint is not None:
            norms = self.joint.norms(norms)
        rows = read.rows
        if self.ranks.several:
            sums, rows, finite = self._exchange(read, sums, norms)
        else:
            finite = all_finite([sums["loss"], *norms.values()])
        if not finite:
            self._refuse(step, rows, sums["loss"], norms)
        if self.optim.clip_norm is not None and clips_gradients(step, self.optim):
            clip_gradients(groups, norms, self.optim.clip_norm)
        self.optimiser.step()
        self.objective.after_step(step)
        self.done.reads, self.done.bad_reads = self.quarantine.counts
        if self.ranks.leads:
            self.health.end_step(step + 1, lr, rows, sums["loss"], norms)
        values = {**sums, **{f"grad_norm_{name}": norm for name, norm in norms.items()}}
        return {"lr": lr, "weight_decay": decay, **values}

    def _exchange(
        self,
        read: "_Read",
        sums: dict[str, Float[Tensor, ""]],
        norms: dict[str, Float[Tensor, ""]],
    ) -> tuple[dict[str, Float[Tensor, ""]], list[int], bool]:
        """Tell the other processes of this one's share of the step, and hear of theirs.

        Returns:
            `loss` and metrics of the whole step, the rows of its clips, whether all is finite.

        Raises:
            DataError: too many files of all processes could not be read.
        """
        share = len(read.rows)
        own = Own(
            signal=self._stop.number,
            saving=self.saver.state(),
            reads=read.reads,
            bad_reads=len(read.bad_files),
            rows=read.rows,
            clip_losses=torch.cat(read.clip_losses),
            sums=sums,
        )
        told = exchange(self.ranks, own, norms)
        self._told_signal, self._told_saved = told.signal, told.saved
        bad_files: list[BadFile] = []
        if told.bad_reads:
            bad_files = [file for part in self.ranks.gather(read.bad_files) for file in part]
        try:
            with durable.explain_write_errors(run_folder.QUARANTINE):
                self.quarantine.add(told.reads, bad_files)
        except DataError as error:
            # All processes have counted the same, so all are here.
            raise self.ranks.agreed(self._settled_after(error)) from None
        if self.ranks.leads:
            self.health.hear_others(told.clip_losses[share:])
        return told.sums, told.rows, told.finite

    def _settled_after(self, error: DataError) -> DataError:
        """Settle the checkpoint that is being written; its error stands below that of the data."""
        try:
            self.saver.settle()
        except ToldElsewhereError:
            pass  # The leader has the error.
        except RunFolderError as failed:
            return DataError(f"{error}\n{failed}")
        return error

    def _refuse(
        self,
        step: int,
        rows: list[int],
        loss: Float[Tensor, ""],
        norms: dict[str, Float[Tensor, ""]],
    ) -> None:
        """Save the weights as they were before this step, and end the run with the clips' names."""
        self.optimiser.zero_grad(set_to_none=True)
        self._save(validated=False)
        self.saver.settle()
        if not self.ranks.leads:
            raise ToldElsewhereError
        values = ", ".join(f"gradient norm of {name} {norm:.4g}" for name, norm in norms.items())
        raise NonFiniteError(
            f"step {step + 1}: loss {loss:.4g}, {values}. The weights were not changed and are "
            f"saved as step {self.done.step}. Begin a new run with a lower optim.lr, or look at "
            f"the clips of this step{self._clips(rows)}"
        )

    def _clips(self, rows: list[int]) -> str:
        """Name the clips of a step, those first whose own loss is not finite."""
        finite = self.health.finite_clips()
        bad = [row for row, good in zip(rows, finite, strict=True) if not good]
        others = [row for row, good in zip(rows, finite, strict=True) if good]
        parts = [(bad, "; those whose own loss is not finite"), (others, "the others")]
        if not bad or not others:
            parts = [(rows, "")]
        return "\n".join(
            f"{title}:\n" + "\n".join(f"  {clip}" for clip in self.describe_rows(part))
            for part, title in parts
        )

    def _read(
        self, stream: Iterator[tuple[int, int, Batch]], step: int, read: "_Read"
    ) -> Iterator[Batch]:
        """Pass on a step's micro-batches one by one, and note what was read."""
        for given, _, batch in itertools.islice(stream, self._division.num_parts):
            assert given == step, f"the loader gave step {given}, not {step}"
            if not self.ranks.several:
                with durable.explain_write_errors(run_folder.QUARANTINE):
                    self.quarantine.record(batch)
            read.rows += batch.rows
            read.reads += batch.num_reads
            read.bad_files += batch.bad_files
            yield batch

    def _due(self, every: int) -> bool:
        return self.done.step % every == 0 or self.done.step == self.loop.end

    def _log(self, record: dict[str, Any], wait_s: float, progress: Progress) -> None:
        step = self.done.step - 1
        if not self.ranks.leads or not self.shapes.due(step, self.loop.log_every, self.loop.end):
            return
        values = self.health.collect(self.done.step, record)
        if "image" in self.shapes.shapes:
            values = {"shape": self.shapes.at(step), **values}
        values = {**self._counts(), **values}
        self.metrics.write({"kind": "train", **values})
        timing = progress.update(self.done.step, values, wait_s)
        self.timings.write({"step": self.done.step, **timing})

    def _validate(self, progress: Progress) -> bool:
        """Compute val_loss where it is due, and return whether it was."""
        assert self.loop.val_every is not None
        if self.validate is None or not self._due(self.loop.val_every):
            return False
        self.objective.trainable.eval()
        with torch.no_grad(), progress.paused(), self.ranks.explained():
            found = self.validate()
        self.objective.trainable.train()
        self.ranks.first(lambda: self._note(found, progress))
        return True

    def _note(self, found: Mapping[str, float], progress: Progress) -> None:
        shown = {name: finite_or_none(value) for name, value in found.items()}
        self.metrics.write({"kind": "val", **self._counts(), **shown})
        self.done.val_loss = shown["val_loss"]
        progress.note(
            f"step {self.done.step}: val_loss {found['val_loss']:.4f}"
            + (
                "; not finite, so this checkpoint cannot become the best"
                if self.done.val_loss is None
                else ""
            )
        )

    def _save(self, validated: bool) -> None:
        """Write a checkpoint; it becomes the best one if its own val_loss is the lowest so far."""
        if self.done.step == self.saved_step:
            return
        # The one before is settled first: its error comes before this one's records are flushed.
        self.saver.settle()
        meta = self.ranks.first(lambda: self._meta(validated))
        with self.ranks.explained():
            self.saver.save(self.objective, self.optimiser, self.done.step, meta)
        self.saved_step = self.done.step

    def _meta(self, validated: bool) -> dict[str, Any]:
        """Flush the logs, and return what the checkpoint's meta.json says."""
        loss, best = self.done.val_loss, self.done.best_val_loss
        # A checkpoint that only a signal caused must not change which one is the best.
        counts = validated and self._due(self.loop.save_every)
        if counts and loss is not None and (best is None or loss < best):
            self.done.best_step, self.done.best_val_loss = self.done.step, loss
        self.health.flush()
        for log in self.logs:
            log.sync()
        health = self.health.alarms.memory.to_dict()
        return {**self.meta, **vars(self.done), **self._counts(), "health": health}

    def _counts(self) -> dict[str, Any]:
        step, batch_size = self.done.step, self.loop.batch_size
        flops = flops_until(step, batch_size, self.shapes, self.clip_flops)
        return {
            "step": step,
            "clips": step * batch_size,
            "flops_exact": flops.exact,
            "flops_six_nd": flops.six_nd,
            "bad_reads": self.done.bad_reads,
        }
