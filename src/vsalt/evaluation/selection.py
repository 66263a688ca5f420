"""How hyper-parameters are chosen among candidates by their scores on other rows."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One candidate and its scores on the rows that candidates are compared on.

    Attributes:
        settings: the hyper-parameters by name.
        accuracy: share of these rows that are right.
        cross_entropy: mean negative log-probability of the true class in nats.
    """

    settings: dict[str, float]
    accuracy: float
    cross_entropy: float


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the trial of highest accuracy, then of lowest cross-entropy, then the first."""
    return min(trials, key=lambda trial: (-trial.accuracy, trial.cross_entropy))
