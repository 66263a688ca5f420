"""How a hyper-parameter is chosen among candidates by their scores on the selection part."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One candidate, learned from the fit part and scored on the selection part.

    Attributes:
        value: the hyper-parameter.
        accuracy: share of selection rows that are right.
        cross_entropy: mean negative log-probability of the true class in nats.
    """

    value: float
    accuracy: float
    cross_entropy: float


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the trial of highest accuracy, then of lowest cross-entropy, then the first."""
    return min(trials, key=lambda trial: (-trial.accuracy, trial.cross_entropy))
