"""One claim about the linear lab, with the error that was found."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vsalt.linear.frozen import converged_teacher
from vsalt.linear.methods import Ema, Jepa, Mae, Method, Network, Salt
from vsalt.linear.problem import Problem
from vsalt.linear.tolerances import ALLOWED

Numbers: TypeAlias = npt.NDArray[np.float64] | Sequence[float] | float
"""Of any shape; two of them must fit each other."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A claim and how well it holds.

    Attributes:
        name: the claim's key in `vsalt.linear.tolerances.ALLOWED`, a colon, and what it is about.
        error: as that table measures it; inf where there is no number.
        allowed: the largest error allowed.
    """

    name: str
    error: float
    allowed: float

    @property
    def ok(self) -> bool:
        """Whether the claim holds."""
        return self.error <= self.allowed


def row(claim: str, subject: str, error: float) -> Row:
    """Return the row of a claim; an error that is no number counts as infinite."""
    found = float(error)
    return Row(
        name=f"{claim}: {subject}",
        error=math.inf if math.isnan(found) else found,
        allowed=ALLOWED[claim],
    )


def relative_error(found: Numbers, expected: Numbers) -> float:
    """Return the largest |found / expected - 1|; inf where one of them is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _largest(np.asarray(found) / np.asarray(expected) - 1)


def absolute_error(found: Numbers, expected: Numbers) -> float:
    """Return the largest |found - expected|; inf where one of them is not finite."""
    with np.errstate(invalid="ignore"):
        return _largest(np.asarray(found) - np.asarray(expected))


def _largest(differences: Numbers) -> float:
    largest = float(np.max(np.abs(differences)))
    return largest if math.isfinite(largest) else math.inf


def methods_for(problem: Problem, network: Network) -> dict[str, Method]:
    """Return every method by name: SALT of a converged teacher like the student, EMA of time 1."""
    return {
        "mae": Mae(),
        "jepa": Jepa(),
        "salt": Salt(converged_teacher(problem, network)),
        "ema": Ema(time=1.0),
    }
