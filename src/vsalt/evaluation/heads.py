"""Fits the head of one part of a task: choose on the selection part, refit, score once."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vsalt.evaluation.knn import KnnHead, fit_knn, try_knn
from vsalt.evaluation.linear import LinearHead, fit_linear, try_linear
from vsalt.evaluation.protocol import Part
from vsalt.evaluation.selection import Trial, best_trial

Kind = Literal["linear", "knn"]
Head: TypeAlias = LinearHead | KnnHead
PARAMETERS: dict[Kind, str] = {"linear": LinearHead.parameter, "knn": KnnHead.parameter}
"""Name of the hyper-parameter of each kind of head."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedPart:
    """The head of one part, the candidates it was chosen among, and its answers.

    Attributes:
        head: fitted to all training rows of the part.
        trials: candidates, fitted to the fit part and scored on the selection part.
        predicted: class of each test row of the part.
    """

    head: Head
    trials: tuple[Trial, ...]
    predicted: Int64[np.ndarray, "test"]


def fit_part(
    kind: Kind,
    features: Float[Tensor, "rows F"],
    labels: Int64[Tensor, "rows"],
    part: Part,
    *,
    num_classes: int,
) -> FittedPart:
    """Choose the hyper-parameter, refit on all training rows, and answer the test rows.

    Args:
        kind: of the head.
        features: of all rows of the task.
        labels: of all rows of the task; those of the part's test rows are not looked at.
        part: which rows are for what.
        num_classes: C.
    """
    fit, selection, train, test = (
        torch.from_numpy(rows) for rows in (part.fit, part.selection, part.train, part.test)
    )
    data = (features[fit], labels[fit], features[selection], labels[selection])
    head: Head
    if kind == "linear":
        trials = try_linear(*data, num_classes=num_classes)
        l2 = best_trial(trials).value
        head = fit_linear(features[train], labels[train], num_classes=num_classes, l2=l2)
    else:
        trials = try_knn(*data, num_classes=num_classes)
        k = int(best_trial(trials).value)
        head = fit_knn(features[train], labels[train], num_classes=num_classes, k=k)
    predicted = head.predict(features[test]).numpy()
    return FittedPart(head=head, trials=tuple(trials), predicted=predicted)
