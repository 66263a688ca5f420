"""Nearest-neighbour probe: cosine similarity and temperature-weighted votes.

As in Wu et al., Unsupervised feature learning via non-parametric instance discrimination
(arXiv 1805.01978, section 3.4), with the temperature that DINO (arXiv 2104.14294) keeps.

Shapes: n training rows, m other rows, D features, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vsalt.evaluation.selection import Trial

K_GRID = (1, 3, 5, 10, 20, 50, 100, 200)
"""Candidates for the number of neighbours."""
TEMPERATURE = 0.07
_CHUNK_SIZE = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class KnnHead:
    """The training rows and how many of them vote.

    Attributes:
        features: training features of length 1, shape (n, D).
        labels: shape (n,).
        num_classes: C.
        k: number of neighbours; all n rows vote where it is larger.
    """

    features: Float64[Tensor, "n D"]
    labels: Int64[Tensor, "n"]
    num_classes: int
    k: int
    converged: ClassVar[bool] = True
    losses: ClassVar[tuple[float, ...]] = ()

    @property
    def settings(self) -> dict[str, float]:
        """What was chosen."""
        return {"k": float(self.k)}

    def scores(self, features: Float[Tensor, "m D"]) -> Float64[Tensor, "m C"]:
        """Return votes per class (see `votes`)."""
        return votes(self, features, ks=(self.k,))[0]

    def probabilities(self, features: Float[Tensor, "m D"]) -> Float64[Tensor, "m C"]:
        """Return each class's share of the votes."""
        scores = self.scores(features)
        return scores / scores.sum(dim=1, keepdim=True)

    def predict(self, features: Float[Tensor, "m D"]) -> Int64[Tensor, "m"]:
        """Return the class of most votes, the first among equals."""
        return self.scores(features).argmax(dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """Return what has to be stored."""
        return {"features": self.features.float(), "labels": self.labels}


def fit_knn(
    features: Float[Tensor, "n D"], labels: Int64[Tensor, "n"], *, num_classes: int, k: int
) -> KnnHead:
    """Remember the training rows."""
    return KnnHead(
        features=torch.nn.functional.normalize(features.double(), dim=1),
        labels=labels,
        num_classes=num_classes,
        k=k,
    )


def votes(
    head: KnnHead, features: Float[Tensor, "m D"], *, ks: Sequence[int]
) -> Float64[Tensor, "ks m C"]:
    """Return the votes for several numbers of neighbours at once.

    The votes for class c are the sum of `exp((s_j - 1) / 0.07)` over those of the k training rows
    nearest to x that are of class c, with the cosine similarity s_j = cos(x, x_j). Among equally
    near rows the earlier ones are taken.
    """
    found = []
    for chunk in torch.nn.functional.normalize(features.double(), dim=1).split(_CHUNK_SIZE):
        similarity, index = (chunk @ head.features.T).sort(dim=1, descending=True, stable=True)
        weight = ((similarity - 1) / TEMPERATURE).exp()
        one_hot = torch.nn.functional.one_hot(head.labels[index], head.num_classes)
        running = (one_hot * weight[..., None]).cumsum(dim=1)
        last = [min(k, len(head.labels)) - 1 for k in ks]
        found.append(running[:, last].transpose(0, 1))
    return torch.cat(found, dim=1)


def try_knn(
    features: Float[Tensor, "n D"],
    labels: Int64[Tensor, "n"],
    selection_features: Float[Tensor, "m D"],
    selection_labels: Int64[Tensor, "m"],
    *,
    num_classes: int,
    grid: Sequence[int] = K_GRID,
) -> list[Trial]:
    """Score every number of neighbours up to the number of rows on other rows.

    For the cross-entropy, shares of the votes become probabilities as if they were k equal votes,
    with one more for every class: `(k share_c + 1) / (k + C)`.
    """
    ks = [k for k in grid if k <= len(labels)]
    head = fit_knn(features, labels, num_classes=num_classes, k=1)
    found = votes(head, selection_features, ks=ks)
    trials = []
    for k, scores in zip(ks, found, strict=True):
        right = (scores.argmax(dim=1) == selection_labels).double().mean()
        shares = scores / scores.sum(dim=1, keepdim=True)
        probability = (k * shares + 1) / (k + num_classes)
        loss = torch.nn.functional.nll_loss(probability.log(), selection_labels)
        trials.append(
            Trial(settings={"k": float(k)}, accuracy=float(right), cross_entropy=float(loss))
        )
    return trials
