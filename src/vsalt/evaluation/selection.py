"""How hyper-parameters are chosen among candidates by their scores on other rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from vsalt.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One candidate and its scores on the rows that candidates are compared on.

    Attributes:
        settings: the hyper-parameters by name.
        accuracy: share of these rows that are right.
        cross_entropy: mean negative log-probability of the true class in nats; None if the fit
            diverged.
    """

    settings: dict[str, float]
    accuracy: float
    cross_entropy: float | None


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the trial of highest accuracy, then of lowest cross-entropy, then the first.

    Raises:
        DataError: if every fit diverged.
    """
    ranked = [
        (-trial.accuracy, trial.cross_entropy, index)
        for index, trial in enumerate(trials)
        if trial.cross_entropy is not None
    ]
    if not ranked:
        tried = "; ".join(
            ", ".join(f"{name} {value:g}" for name, value in trial.settings.items())
            for trial in trials
        )
        raise DataError(f"every probe diverged ({tried}); give a lower --attentive.lr")
    return trials[min(ranked)[2]]
