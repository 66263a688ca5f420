"""Numbers of steps that a budget of operations, clips or hours pays.

Costs are exact: every matrix product with the true token counts, the frozen teacher's forward pass
included, networks built on the meta device. With images beside videos a step costs what its own
shape costs, so totals are not proportional to steps; they are searched, not divided.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeVar

from vsalt.config import PretrainConfig, SaltRunConfig, StageConfig
from vsalt.data.shapes_by_step import StepShapes
from vsalt.errors import ConfigError
from vsalt.training.budget_config import BudgetConfig
from vsalt.training.fit_steps import Amount, Cost, fill_up, fit_ratio, fit_shares
from vsalt.training.lengths import SCALED, with_length
from vsalt.training.plan import VIDEOS
from vsalt.training.stage_cost import StageCost, stage_costs
from vsalt.training.teachers import TeacherShape

C = TypeVar("C", PretrainConfig, SaltRunConfig)


def flops_of(
    config: PretrainConfig | SaltRunConfig,
    *,
    step_shapes: StepShapes = VIDEOS,
    teacher: TeacherShape | None = None,
) -> int:
    """Return the exact operations of all stages, forward passes of frozen teachers included.

    Args:
        config: resolved or not.
        step_shapes: the shape of every step; by default all are of videos.
        teacher: the frozen teacher of a stage of its own, if its method needs one.

    Raises:
        ConfigError: if settings are wrong.
    """
    costs = stage_costs(config, step_shapes, teacher)
    lengths = [stage.loop.end for stage in _stages(config).values()]
    return sum(cost.flops(steps) for cost, steps in zip(costs, lengths, strict=True))


def with_flops(
    config: C,
    flops: int | float,
    *,
    shares: Sequence[int | float] | None = None,
    step_shapes: StepShapes = VIDEOS,
    teacher: TeacherShape | None = None,
    fixed: Collection[str] = (),
) -> C:
    """Return the config with numbers of steps that cost as much as is allowed, and never more.

    No stage could get another step within the budget. Lengths counted in steps follow
    (`training.lengths.with_length`): `save_every` changes in proportion, so that the number of
    checkpoints stays about the preset's; warm-up keeps its share.

    Args:
        config: resolved or not; its steps say the ratio of the stages, unless there are `shares`.
            A stage of 0 steps stays without.
        flops: exact operations of all stages together.
        shares: part of the operations of every stage, relative to the others.
        step_shapes: the shape of every step; by default all are of videos.
        teacher: the frozen teacher of a stage of its own, if its method needs one.
        fixed: lengths that do not follow, such as `student.loop.save_every`; of a config of one
            stage `loop.save_every`.

    Raises:
        ConfigError: if not even one step of each stage fits, or settings are wrong.

    Example:
        >>> from vsalt.presets import salt_preset
        >>> half = with_flops(salt_preset("tiny-cpu"), flops_of(salt_preset("tiny-cpu")) / 2)
        >>> half.teacher.loop.steps, half.student.loop.steps, half.student.loop.save_every
        (250, 500, 50)
    """
    BudgetConfig(flops=float(flops))
    costs = stage_costs(config, step_shapes, teacher)
    prices: list[Cost] = [cost.flops for cost in costs]
    given = f"{flops:.3g} FLOPs"
    return _with_steps(config, prices, int(flops), shares, fixed, given, "FLOPs")


def with_clips(config: C, clips: int, *, fixed: Collection[str] = ()) -> C:
    """Return the config with steps for as many training clips of all stages as allowed.

    Raises:
        ConfigError: if there are fewer clips than one step of each stage takes.
    """
    BudgetConfig(clips=clips)
    prices = [_clips_cost(stage.loop.batch_size) for stage in _stages(config).values()]
    return _with_steps(config, prices, clips, None, fixed, f"{clips} clips", "clips")


def with_hours(
    config: C,
    hours: int | float,
    flops_per_second: Sequence[float],
    *,
    step_shapes: StepShapes = VIDEOS,
    teacher: TeacherShape | None = None,
    fixed: Collection[str] = (),
) -> C:
    """Return the config with steps for as much time of training as allowed.

    Args:
        config: as for `with_flops`.
        hours: of all stages together; val_loss, checkpoints and waiting for clips come on top.
        flops_per_second: exact operations per second, of every stage.
        step_shapes: as for `with_flops`.
        teacher: as for `with_flops`.
        fixed: as for `with_flops`.

    Raises:
        ConfigError: if not even one step of each stage fits.
    """
    BudgetConfig(hours=float(hours))
    prices = [
        _seconds_cost(cost, rate)
        for cost, rate in zip(
            stage_costs(config, step_shapes, teacher), flops_per_second, strict=True
        )
    ]
    limit = Fraction(hours) * 3600
    return _with_steps(config, prices, limit, None, fixed, f"{hours:g} hours", "seconds")


def _stages(config: PretrainConfig | SaltRunConfig) -> dict[str, StageConfig]:
    """Return the stages by the beginning of their settings' names."""
    if isinstance(config, PretrainConfig):
        return {"": config.stage}
    return {f"{name}.": getattr(config, name) for name in config.stages}


def _clips_cost(batch_size: int) -> Cost:
    return lambda steps: steps * batch_size


def _seconds_cost(cost: StageCost, rate: float) -> Cost:
    return lambda steps: cost.flops(steps) / Fraction(rate)


def _with_steps(
    config: C,
    prices: Sequence[Cost],
    budget: Amount,
    shares: Sequence[int | float] | None,
    fixed: Collection[str],
    given: str,
    unit: str,
) -> C:
    """Fit the steps and put them into the config."""
    stages = _stages(config)
    lengths = [stage.loop.end for stage in stages.values()]
    if shares is None:
        steps = fit_ratio(prices, lengths, budget)
    else:
        found = fit_shares(prices, _checked(shares, lengths), budget)
        at_least = [
            max(1, number) if length else 0 for number, length in zip(found, lengths, strict=True)
        ]
        steps = fill_up(prices, at_least, budget)
    if not any(lengths):
        raise ConfigError(
            [
                f"a budget of {given} is for stages that are trained, but no stage has "
                "steps, whose ratio it keeps; give each loop.steps above 0, or leave the budget out"
            ]
        )
    if steps is None:
        firsts = [price(1) for price, length in zip(prices, lengths, strict=True) if length]
        raise ConfigError([_too_small(given, firsts, unit)])
    changed: dict[str, Any] = {
        prefix: with_length(stage, number, {name for name in SCALED if f"{prefix}{name}" in fixed})
        for (prefix, stage), number in zip(stages.items(), steps, strict=True)
    }
    if isinstance(config, PretrainConfig):
        return replace(config, stage=changed[""])
    return replace(config, **{prefix.rstrip("."): stage for prefix, stage in changed.items()})


def _too_small(given: str, firsts: Sequence[Amount], unit: str) -> str:
    """Say what the first step of all stages takes, in words for flags and files of settings."""
    takes = "one step takes" if len(firsts) == 1 else "one step of each stage takes"
    return (
        f"a budget of {given} is too small: {takes} {float(sum(firsts)):.3g} {unit}; give a larger "
        "budget, smaller networks or fewer clips per step (loop.batch_size of a stage)"
    )


def _checked(shares: Sequence[int | float], lengths: Sequence[int]) -> list[Fraction]:
    """Return one share per stage: above 0 for those that are trained, 0 for the others."""
    fits = len(shares) == len(lengths) and all(
        0 <= share < float("inf") and (share > 0) == (length > 0)
        for share, length in zip(shares, lengths, strict=True)
    )
    if not fits:
        raise ConfigError(
            [
                f"shares are {tuple(shares)}; there must be one per stage ({len(lengths)}), above "
                "0 for a stage that is trained and 0 for one without steps"
            ]
        )
    return [Fraction(share) for share in shares]
