"""Other lengths of a stage, with all that is counted in steps following."""

from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction
from typing import Any

from vsalt.config import StageConfig
from vsalt.training.config import LoopConfig, OptimConfig

SCALED = (
    "optim.warmup_steps",
    "optim.cooldown_steps",
    "loop.save_every",
    "loop.val_every",
    "loop.log_every",
    "loop.health_every",
)
"""Settings of a stage that follow its length."""


def with_length(stage: StageConfig, length: int, fixed: Collection[str] = ()) -> StageConfig:
    """Return a stage that runs `length` steps, and is otherwise as like the given one as can be.

    - `save_every` and `val_every` change in proportion, at least 1, so that the number of
      checkpoints stays about the same; checkpoints keep their number of `val_loss`.
    - `log_every` and `health_every` shrink in proportion, and do not grow: a longer run has more
      records, a shorter one not fewer.
    - `warmup_steps`, where it is given in steps, and `cooldown_steps` keep their shares of the run.
    - a stage that stops early (`stop_at`) keeps the share of its schedule that it runs.

    Args:
        stage: with any length; a stage without steps stays as it is.
        length: steps to run.
        fixed: names of `SCALED` that keep their values. A fixed `save_every` or `val_every`
            fixes both, since one must divide the other.
    """
    old = stage.loop.end
    if length == old or old == 0:
        return stage
    ratio = Fraction(length, old)
    loop = _with_steps(stage.loop, length, ratio)
    if not {"loop.save_every", "loop.val_every"} & set(fixed):
        loop = _with_saves(loop, ratio)
    loop = replace(
        loop,
        log_every=_at_most(loop.log_every, ratio, "loop.log_every" in fixed),
        health_every=_at_most(loop.health_every, ratio, "loop.health_every" in fixed),
    )
    return replace(stage, loop=loop, optim=_with_schedule(stage.optim, ratio, loop.steps, fixed))


def _with_steps(loop: LoopConfig, length: int, ratio: Fraction) -> LoopConfig:
    if loop.end == loop.steps:
        return replace(loop, steps=length, stop_at=None)
    steps = max(length, scaled(loop.steps, ratio))
    changes: dict[str, Any] = {"steps": steps, "stop_at": length}
    return replace(loop, **changes)


def _with_saves(loop: LoopConfig, ratio: Fraction) -> LoopConfig:
    if loop.val_every is None:
        return replace(loop, save_every=scaled(loop.save_every, ratio))
    every = scaled(loop.val_every, ratio)
    return replace(loop, val_every=every, save_every=every * (loop.save_every // loop.val_every))


def _at_most(value: int, ratio: Fraction, fixed: bool) -> int:
    return value if fixed else min(value, scaled(value, ratio))


def _with_schedule(
    optim: OptimConfig, ratio: Fraction, steps: int, fixed: Collection[str]
) -> OptimConfig:
    """Let warm-up and cool-down follow; where rounding makes them too long, warm-up goes first."""
    if optim.warmup_steps is not None and "optim.warmup_steps" not in fixed:
        warmup = min(round(optim.warmup_steps * ratio), steps - 1)
        optim = replace(optim, warmup_steps=warmup)
    if "optim.cooldown_steps" not in fixed:
        left = max(0, steps - optim.warmup_of(steps))
        optim = replace(optim, cooldown_steps=min(round(optim.cooldown_steps * ratio), left))
    return optim


def scaled(value: int, ratio: Fraction) -> int:
    """Return value times ratio to the nearest whole number, halves up, at least 1."""
    return max(1, int(value * ratio + Fraction(1, 2)))
