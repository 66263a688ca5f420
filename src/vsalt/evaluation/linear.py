"""Linear probe: L2-regularised multinomial logistic regression on standardised features.

Shapes: n rows, D features, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vsalt.evaluation.logistic import Problem, minimise
from vsalt.evaluation.selection import Trial

L2_GRID = tuple(10.0 ** (exponent / 2) for exponent in range(4, -9, -1))
"""Candidates for the L2 strength: 100 down to 1e-4 in half decades, strongest first."""
CONVERGED = 1e-6
"""A fit counts as converged if no entry of the gradient is larger."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearHead:
    """Scores `weight @ ((x - mean) / scale) + bias`.

    Attributes:
        mean: mean of the training features, shape (D,).
        scale: their standard deviation, 1 where it is zero.
        weight: shape (C, D).
        bias: shape (C,).
        l2: the strength of the penalty it was fitted with.
        converged: whether the gradient vanished to `CONVERGED`.
    """

    mean: Float64[Tensor, "D"]
    scale: Float64[Tensor, "D"]
    weight: Float64[Tensor, "C D"]
    bias: Float64[Tensor, "C"]
    l2: float
    converged: bool

    losses: ClassVar[tuple[float, ...]] = ()

    @property
    def settings(self) -> dict[str, float]:
        """What was chosen."""
        return {"l2": self.l2}

    def scores(self, features: Float[Tensor, "n D"]) -> Float64[Tensor, "n C"]:
        """Return logits."""
        return (features.double() - self.mean) / self.scale @ self.weight.T + self.bias

    def probabilities(self, features: Float[Tensor, "n D"]) -> Float64[Tensor, "n C"]:
        """Return the softmax of the logits."""
        return self.scores(features).softmax(dim=1)

    def predict(self, features: Float[Tensor, "n D"]) -> Int64[Tensor, "n"]:
        """Return the class of highest score, the first among equals."""
        return self.scores(features).argmax(dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """Return what has to be stored."""
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}


@dataclass(frozen=True, eq=False)
class _Design:
    """Training features, standardised and turned into their principal axes.

    Attributes:
        mean: of the features, shape (D,).
        scale: their deviation, shape (D,).
        basis: orthonormal, spans the rows where these are fewer than the features, shape (D, n);
            None where they are not.
        axes: the principal axes in this basis, orthonormal, shape (R, R).
        x: standardised features along the axes, and a column of ones, shape (n, R + 1).
    """

    mean: Float64[Tensor, "D"]
    scale: Float64[Tensor, "D"]
    basis: Float64[Tensor, "D R"] | None
    axes: Float64[Tensor, "R R"]
    x: Float64[Tensor, "n R1"]

    def of_features(self, weight: Float64[Tensor, "C R"]) -> Float64[Tensor, "C D"]:
        """Return what weights along the axes are for the standardised features."""
        in_basis = weight @ self.axes.T
        return in_basis if self.basis is None else in_basis @ self.basis.T


def _design(features: Float[Tensor, "n D"]) -> _Design:
    z = features.to(torch.float64, copy=True)
    # A constant feature has a deviation of rounding noise, which must not be blown up to 1.
    noise = z.abs().amax(dim=0) * torch.finfo(features.dtype).eps
    mean, scale = z.mean(dim=0), z.std(dim=0, correction=0)
    scale = torch.where(scale > noise, scale, torch.ones_like(scale))
    z.sub_(mean).div_(scale)
    basis = None
    if len(z) < z.shape[1]:
        # Weights across the span of the rows stay 0, so a basis of it is enough. A triangular
        # decomposition keeps all digits, which the square of z would not, and takes an eighth of
        # the time of singular values.
        basis, triangle = torch.linalg.qr(z.T)
        z = triangle.T
    axes = torch.linalg.eigh(z.T @ z).eigenvectors
    ones = torch.ones(len(z), 1, dtype=torch.float64)
    return _Design(mean, scale, basis, axes, torch.cat([z @ axes, ones], dim=1))


def fit_linear(
    features: Float[Tensor, "n D"], labels: Int64[Tensor, "n"], *, num_classes: int, l2: float
) -> LinearHead:
    """Fit a linear head to its minimum.

    Minimises `mean_i CE(W z_i + b, y_i) + l2 / 2 * |W|^2` over W and b with z the features
    standardised by their own mean and deviation. The bias is not penalised. In scikit-learn's
    terms, C = 1 / (n * l2).

    Args:
        features: one row per clip.
        labels: in [0, num_classes).
        num_classes: C.
        l2: strength of the penalty, above 0.
    """
    design = _design(features)
    start = torch.zeros(num_classes, design.x.shape[1], dtype=torch.float64)
    return _head(design, *minimise(_problem(design, labels, num_classes, l2), start), l2)


def _problem(design: _Design, labels: Int64[Tensor, "n"], num_classes: int, l2: float) -> Problem:
    penalty = torch.full((design.x.shape[1],), l2, dtype=torch.float64)
    penalty[-1] = 0
    variance = design.x.square().mean(dim=0)
    return Problem(design.x, variance, labels, penalty, num_classes)


def _head(
    design: _Design, solution: Float64[Tensor, "C R1"], gradient: float, l2: float
) -> LinearHead:
    return LinearHead(
        mean=design.mean,
        scale=design.scale,
        weight=design.of_features(solution[:, :-1]),
        bias=solution[:, -1].clone(),
        l2=l2,
        converged=gradient <= CONVERGED,
    )


def try_linear(
    features: Float[Tensor, "n D"],
    labels: Int64[Tensor, "n"],
    selection_features: Float[Tensor, "m D"],
    selection_labels: Int64[Tensor, "m"],
    *,
    num_classes: int,
    grid: Sequence[float] = L2_GRID,
    on_fit: Callable[[], None] = lambda: None,
) -> list[Trial]:
    """Fit a head for each L2 strength, each from the one before, and score it on other rows.

    `on_fit` is called after each.
    """
    design = _design(features)
    solution = torch.zeros(num_classes, design.x.shape[1], dtype=torch.float64)
    trials = []
    for l2 in grid:
        solution, gradient = minimise(_problem(design, labels, num_classes, l2), solution)
        scores = _head(design, solution, gradient, l2).scores(selection_features)
        loss = float(torch.nn.functional.cross_entropy(scores, selection_labels))
        right = (scores.argmax(dim=1) == selection_labels).double().mean()
        trials.append(Trial(settings={"l2": l2}, accuracy=float(right), cross_entropy=loss))
        on_fit()
    return trials
