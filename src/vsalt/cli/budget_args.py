"""What `vsalt salt` and `vsalt pretrain` are told of a budget."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from vsalt.errors import ConfigError
from vsalt.training.budget_config import BudgetConfig
from vsalt.training.lengths import SCALED


@runtime_checkable
class BudgetArgs(Protocol):
    """The flags of a verb that trains."""

    @property
    def steps(self) -> str | int | None:
        """As given."""
        ...

    @property
    def budget_flops(self) -> float | None:
        """Exact operations."""
        ...

    @property
    def clips(self) -> int | None:
        """Training clips."""
        ...

    @property
    def hours(self) -> float | None:
        """Hours of training."""
        ...

    @property
    def flops_per_second(self) -> float | None:
        """Of the device."""
        ...


def budget_of(args: BudgetArgs, words: Sequence[str], stages: Sequence[str] = ()) -> BudgetConfig:
    """Return the budget; lengths that stand on the command line keep their values.

    Args:
        args: the parsed flags.
        words: the command line.
        stages: names of the stages; none for a stage of its own.

    Raises:
        ConfigError: for more than one limit, or one that is not above 0.
    """
    budget = BudgetConfig(
        flops=args.budget_flops,
        clips=args.clips,
        hours=args.hours,
        flops_per_second=args.flops_per_second,
        fixed=_fixed(words, stages),
    )
    if args.steps is not None and budget.given:
        raise ConfigError([f"--steps and {budget.given[0]} exclude each other; give one of them"])
    return budget


def _fixed(words: Sequence[str], stages: Sequence[str]) -> tuple[str, ...]:
    """Return the settings that follow the steps, but are given; --save-every is of all stages."""
    given = set(flags_in(words))
    prefixes = [f"{stage}." for stage in stages] or [""]
    return tuple(
        f"{prefix}{name}"
        for prefix in prefixes
        for name in SCALED
        if f"--{prefix}{name}".replace("_", "-") in given
        or (name == "loop.save_every" and "--save-every" in given)
    )


def flags_in(words: Sequence[str]) -> list[str]:
    """Return the flags of a command line, without values."""
    return [word.partition("=")[0] for word in words if word.startswith("--")]
