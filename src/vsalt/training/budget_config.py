"""How much a run may take."""

import math
from dataclasses import dataclass

from vsalt.errors import report_problems


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """A limit in one of three units, from which the numbers of steps follow; or none."""

    flops: float | None = None
    """Exact operations of all stages, teachers' forward passes included."""
    clips: int | None = None
    """Training clips of all stages."""
    hours: float | None = None
    """Time of all stages' steps, at `flops_per_second` or at a measured rate."""
    flops_per_second: float | None = None
    """Exact operations that the device does in a second of training; unset: unknown."""
    fixed: tuple[str, ...] = ()
    """Settings that do not follow the number of steps, such as student.loop.save_every."""

    def __post_init__(self) -> None:
        """Check the settings."""
        given = self.given
        problems = []
        if len(given) > 1:
            problems.append(f"{' and '.join(given)} exclude each other; give one of them")
        for name in ("flops", "clips", "hours", "flops_per_second"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                problems.append(f"{_flag(name)} is {value}; it must be above 0, and finite")
        report_problems(problems)

    @property
    def given(self) -> tuple[str, ...]:
        """The flags of the limits that are set."""
        names = ("flops", "clips", "hours")
        return tuple(_flag(name) for name in names if getattr(self, name) is not None)


def _flag(name: str) -> str:
    return "--budget-flops" if name == "flops" else f"--{name.replace('_', '-')}"
