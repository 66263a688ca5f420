"""Warnings of a training that goes wrong: what raises them, and what they say.

An alarm is a function of all losses and measures so far, in the order of the steps; never of the
clock, nor of when they were logged. What it remembers is part of every checkpoint.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from statistics import median
from typing import Any

from vsalt.data.config import Shape
from vsalt.errors import RunFolderError, printable
from vsalt.training.config import OptimConfig
from vsalt.training.run_folder import WARNINGS, JsonLines

WINDOW = 64
"""Losses that a new one is compared with; those of images only with those of images."""
MIN_WINDOW = 16
"""Losses from which on it is compared at all."""
JUMP_DEVIATIONS = 8.0
"""Robust standard deviations above the median that make a jump ..."""
JUMP_SHARE = 0.25
"""... and the share of the median that it must be at least."""
MAD_TO_DEVIATION = 1.4826
"""A normal's standard deviation over its median absolute deviation."""
MAX_CLIPS = 5
"""Clips that a warning names at most."""

MIN_DEVIATION = 0.02
"""Deviation over RMS below which features have collapsed, and targets are constant.

A share, as features have any scale; above what rounding to bfloat16 (2^-9 of a value) adds."""
MIN_RANKME = 1.5
"""`rankme` below which they have."""
RANKME_SHARE = 0.25
"""Share of the highest `rankme` below which they have collapsed to few dimensions ..."""
RANKME_WINDOW = 3
"""... where both are medians of so many measures: one batch has more to see than another."""

LOSS_JUMP: dict[Shape, str] = {"video": "loss_jump", "image": "loss_jump_image"}
COLLAPSE = "collapse"
DIMENSIONAL_COLLAPSE = "dimensional_collapse"
CONSTANT_TARGETS = "constant_targets"


@dataclass(frozen=True)
class StepLosses:
    """One step as the alarms see it.

    Attributes:
        step: optimiser steps done.
        shape: of its clips.
        lr: learning rate of the step.
        rows: catalogue rows of its clips.
        loss: its mean over the clips.
        grad_norm: the largest norm of a group of gradients, before clipping.
        clip_losses: loss of each clip, in the order of `rows`.
    """

    step: int
    shape: Shape
    lr: float
    rows: tuple[int, ...]
    loss: float
    grad_norm: float
    clip_losses: tuple[float, ...]


@dataclass
class Memory:
    """What the alarms remember from step to step; saved in meta.json as `health`.

    Attributes:
        losses_by_shape: of the last steps of each shape, the oldest first.
        grad_norms_by_shape: of the same steps.
        rankmes: the last ranks since the end of warm-up, the oldest first.
        highest_rankme: the highest median of so many.
        active: kinds of warnings that have not recovered, sorted.
    """

    losses_by_shape: dict[str, list[float]] = field(default_factory=dict)
    grad_norms_by_shape: dict[str, list[float]] = field(default_factory=dict)
    rankmes: list[float] = field(default_factory=list)
    highest_rankme: float | None = None
    active: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object, where: str) -> "Memory":
        """Read what `to_dict` gave.

        Args:
            values: as read from JSON.
            where: named in the error.

        Raises:
            RunFolderError: if a key is missing or unknown.
        """
        names = [item.name for item in fields(cls)]
        if not isinstance(values, dict) or sorted(values) != sorted(names):
            given = sorted(values) if isinstance(values, dict) else values
            raise RunFolderError(
                f"{where} must hold `health` with the keys {', '.join(names)}; it holds {given}. "
                "It was written by another version of vsalt; resume the run with that version"
            )
        return cls(**values)


@dataclass(frozen=True)
class Alarm:
    """One line of warnings.jsonl, but for its step: what was seen, why, and in which clips."""

    kind: str
    message: str
    cause: str
    clips: tuple[str, ...] = ()


class Alarms:
    """Judges steps in their order; writes one warning per kind until it has recovered.

    Args:
        log: warnings.jsonl of the run folder.
        describe_rows: names the files of catalogue rows.
        optim: resolved config.
        memory: of a resumed run.

    Attributes:
        memory: what it knows so far.
        show: is given each warning as text for people, if set.
    """

    def __init__(
        self,
        log: JsonLines,
        describe_rows: Callable[[Iterable[int]], list[str]],
        optim: OptimConfig,
        memory: Memory | None = None,
    ) -> None:
        self.log = log
        self.memory = memory or Memory()
        self.show: Callable[[str], None] | None = None
        self._describe_rows = describe_rows
        assert optim.warmup_steps is not None, "resolve the config first"
        self._peak_lr, self._warmup_steps = optim.lr, optim.warmup_steps

    def judge_step(self, losses: StepLosses) -> None:
        """Compare a step's loss with those of its shape before it, then remember it."""
        self._report(losses.step, LOSS_JUMP[losses.shape], self._jump(losses))
        for kept, value in (
            (self.memory.losses_by_shape, losses.loss),
            (self.memory.grad_norms_by_shape, losses.grad_norm),
        ):
            kept[losses.shape] = [*kept.get(losses.shape, []), value][-WINDOW:]

    def judge_features(self, step: int, values: Mapping[str, float], rows: Sequence[int]) -> None:
        """Judge the measures of a step; see `vsalt.training.health.observe`.

        Args:
            step: optimiser steps done.
            values: by their names in metrics.jsonl; a measure that is absent is not judged.
            rows: catalogue rows of the clips that were measured; a warning names the first ones.
        """
        target_deviation = values.get("target_deviation", math.nan)
        if math.isfinite(values.get("rankme", math.nan)):
            rank, deviation = values["rankme"], values["feature_deviation"]
            collapsed = deviation < MIN_DEVIATION or rank < MIN_RANKME
            alarm = collapse(rank, deviation, target_deviation) if collapsed else None
            self._report(step, COLLAPSE, alarm, rows)
            # A collapse is the worse of the two: it neither raises the other nor ends it.
            # The features of a random network have a high rank, which is none to hold on to.
            if not collapsed and step > self._warmup_steps:
                self._judge_rank(step, rank, rows)
        if "target_deviation" in values:
            constant = target_deviation < MIN_DEVIATION
            alarm = constant_targets(target_deviation) if constant else None
            self._report(step, CONSTANT_TARGETS, alarm, rows)

    def _judge_rank(self, step: int, rank: float, rows: Sequence[int]) -> None:
        """Compare the median of the last ranks with the highest; single ones vary too much."""
        memory = self.memory
        memory.rankmes = [*memory.rankmes, rank][-RANKME_WINDOW:]
        if len(memory.rankmes) < RANKME_WINDOW:
            return
        usual = median(memory.rankmes)
        memory.highest_rankme = highest = max(usual, memory.highest_rankme or 0.0)
        few = usual < RANKME_SHARE * highest
        alarm = dimensional_collapse(usual, highest) if few else None
        self._report(step, DIMENSIONAL_COLLAPSE, alarm, rows)

    def _jump(self, losses: StepLosses) -> Alarm | None:
        before = self.memory.losses_by_shape.get(losses.shape, [])
        if len(before) < MIN_WINDOW:
            return None
        usual, limit = jump_limit(before)
        if losses.loss <= limit:
            return None
        order = sorted(range(len(losses.rows)), key=lambda i: (-losses.clip_losses[i], i))
        highest = order[:MAX_CLIPS]
        values = ", ".join(f"{losses.clip_losses[i]:.4g}" for i in highest)
        steps = "image steps" if losses.shape == "image" else "steps"
        return Alarm(
            kind=LOSS_JUMP[losses.shape],
            message=(
                f"loss {losses.loss:.4g}; the median of the {len(before)} {steps} before is "
                f"{usual:.4g}, and up to {limit:.4g} is usual. Highest losses of its "
                f"{len(order)} clips: {values}"
            ),
            cause=self._jump_cause(losses, usual),
            clips=tuple(self._describe_rows(losses.rows[i] for i in highest)),
        )

    def _jump_cause(self, losses: StepLosses, usual: float) -> str:
        num_clips = len(losses.clip_losses)
        num_high = clips_of_most([loss - usual for loss in losses.clip_losses])
        if num_clips > 1 and num_high <= min(MAX_CLIPS, max(1, num_clips // 4)):
            return (
                f"{num_high} of {num_clips} clips make up most of it, so look at the first clips "
                "named here (damaged, blank or of another kind?); the run can go on"
            )
        norm = losses.grad_norm
        usual_norm = median(self.memory.grad_norms_by_shape[losses.shape])
        norms = f"gradient norm before clipping {norm:.3g}, usually {usual_norm:.3g}"
        share = losses.lr / self._peak_lr
        if num_clips == 1:
            return (
                "one clip per step cannot tell whether it is the clip or the training: the "
                f"learning rate is at {share:.0%} of its peak ({norms}). Look at the clip; if the "
                "loss does not come back, begin again with a lower optim.lr"
            )
        if share > 0.5:
            return (
                f"all clips are affected and the learning rate is at {share:.0%} of its peak "
                f"({norms}): if the loss does not come back, begin again with a lower optim.lr, "
                "longer optim.warmup-steps or a lower optim.clip-norm"
            )
        return (
            f"all clips are affected though the learning rate is at {share:.0%} of its peak "
            f"({norms}): perhaps these clips differ from those before; look at them, then at "
            "optim.clip-norm"
        )

    def _report(
        self, step: int, kind: str, alarm: Alarm | None, rows: Sequence[int] | None = None
    ) -> None:
        """Write an alarm unless its kind is active; without one, the kind has recovered.

        Args:
            step: optimiser steps done.
            kind: of the alarm.
            alarm: what was found, if anything.
            rows: clips that the alarm shall name instead of its own.
        """
        active = set(self.memory.active)
        known = kind in active
        self.memory.active = sorted(active | {kind} if alarm else active - {kind})
        if alarm is None or known:
            return
        if rows is not None:
            alarm = replace(alarm, clips=tuple(self._describe_rows(rows[:MAX_CLIPS])))
        self.log.write({"step": step, **asdict(alarm)})
        if self.show is None:
            return
        lines = [f"warning at step {step} ({kind}): {alarm.message}", alarm.cause, *alarm.clips]
        # A name of a file may hold line ends, which are none of ours.
        self.show("\n  ".join([*map(printable, lines), f"(in {WARNINGS})"]))


def jump_limit(losses: Sequence[float]) -> tuple[float, float]:
    """Return the median of some losses, and the highest loss that is no jump after them.

    limit = median + max(8 x 1.4826 x MAD, 0.25 x median), MAD the median absolute deviation.
    """
    usual = median(losses)
    deviation = MAD_TO_DEVIATION * median(abs(loss - usual) for loss in losses)
    return usual, usual + max(JUMP_DEVIATIONS * deviation, JUMP_SHARE * usual)


def clips_of_most(excess: Sequence[float]) -> int:
    """Return the fewest clips that make up most of what is above the usual loss.

    Most is half of it; of two clips, one always has half, and must have three quarters.
    """
    most = 0.75 if len(excess) == 2 else 0.5
    high = sorted((value for value in excess if value > 0), reverse=True)
    total = 0.0
    for count, value in enumerate(high, start=1):
        total += value
        if total >= most * sum(high):
            return count
    return len(excess)


def collapse(rank: float, deviation: float, target_deviation: float) -> Alarm:
    """Features are the same for all tokens; `target_deviation` may be nan (not known)."""
    if target_deviation < MIN_DEVIATION:
        cause = "the targets do not vary, so one answer fits all tokens; see constant_targets"
    else:
        cause = (
            "the encoder no longer looks at its input: most often the learning rate is too high "
            "(begin again with a lower optim.lr or longer optim.warmup-steps), or the clips are "
            "all alike or blank (look at those named here)"
        )
    return Alarm(
        COLLAPSE,
        "features are almost the same for all tokens: "
        f"feature_deviation {deviation:.3g} (collapsed below {MIN_DEVIATION}), "
        f"rankme {rank:.4g} (below {MIN_RANKME})",
        cause,
    )


def dimensional_collapse(rank: float, highest: float) -> Alarm:
    """Features vary in few of the directions they once filled."""
    return Alarm(
        DIMENSIONAL_COLLAPSE,
        f"features vary in few directions: the median of the last {RANKME_WINDOW} rankme, "
        f"{rank:.4g}, is below {RANKME_SHARE:.0%} of the highest so far, {highest:.4g}",
        "the learning rate may be too high (optim.lr), weight decay too strong "
        "(optim.weight-decay-final), or the clips have become more alike (look at those named "
        "here, and at the sources of --data)",
    )


def constant_targets(deviation: float) -> Alarm:
    """There is nothing to predict."""
    return Alarm(
        CONSTANT_TARGETS,
        f"the targets hardly vary over tokens: target_deviation {deviation:.3g} (constant below "
        f"{MIN_DEVIATION})",
        "the encoder that gives them has collapsed (a frozen teacher: see warnings.jsonl and "
        "rankme of its own run, and give another --teacher; a moving average: begin again with a "
        "lower optim.lr or a higher method.momentum), or the clips are blank (look at those "
        "named here)",
    )
