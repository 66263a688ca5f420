"""A run's budget, applied when its sources are known: what is measured, chosen and said."""

from typing import TypeVar

from rich.console import Console

from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.data.shapes_by_step import StepShapes
from vsalt.training.budget import with_clips, with_flops, with_hours
from vsalt.training.budget_config import BudgetConfig
from vsalt.training.device import choose_device
from vsalt.training.rate import measure_rates
from vsalt.training.teachers import TeacherShape

C = TypeVar("C", PretrainConfig, SaltRunConfig)


def apply_budget(
    config: C,
    budget: BudgetConfig,
    step_shapes: StepShapes,
    console: Console,
    teacher: TeacherShape | None = None,
) -> tuple[C, tuple[float, ...]]:
    """Return the config with the steps that the budget pays, and the stages' rates if known.

    Rates are exact operations per second. For a budget in hours they are measured here unless they
    are given, so that steps are fixed before a run folder is written, and a resumed run has the
    same.

    Args:
        config: with the preset's steps, whose ratio between stages is kept.
        budget: at most one limit.
        step_shapes: the shape of every step.
        console: where the measured rates go.
        teacher: the frozen teacher of a stage of its own.

    Raises:
        ConfigError: if not even one step of each stage fits.
    """
    rates: tuple[float, ...] = ()
    if budget.flops_per_second is not None:
        rates = (budget.flops_per_second,) * _num_stages(config)
    elif budget.hours is not None:
        rates = tuple(measure_rates(config, step_shapes, teacher))
        said = " and ".join(f"{rate:.3g}" for rate in rates)
        console.print(
            f"rate: {said} FLOP/s, measured on {choose_device(config.device.device)} with random "
            "clips; reading clips and val_loss are not in it"
        )
    if budget.flops is not None:
        config = with_flops(
            config, budget.flops, step_shapes=step_shapes, teacher=teacher, fixed=budget.fixed
        )
    elif budget.clips is not None:
        config = with_clips(config, budget.clips, fixed=budget.fixed)
    elif budget.hours is not None:
        config = with_hours(
            config,
            budget.hours,
            rates,
            step_shapes=step_shapes,
            teacher=teacher,
            fixed=budget.fixed,
        )
    return config, rates


def _num_stages(config: PretrainConfig | SaltRunConfig) -> int:
    return 1 if isinstance(config, PretrainConfig) else len(config.stages)
