"""Linear probe: L2-regularised multinomial logistic regression on standardised features.

Shapes: n rows, D features, C classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vsalt.evaluation.selection import Trial

L2_GRID = tuple(10.0 ** (exponent / 2) for exponent in range(4, -9, -1))
"""Candidates for the L2 strength: 100 down to 1e-4 in half decades, strongest first."""
MAX_ITERATIONS = 5000
FINE, COARSE = 1e-9, 1e-7
"""Where final fits, and fits of candidates, stop: the largest entry of the gradient."""
CONVERGED = 1e-5
"""A fit that had to stop before counts as converged if no entry of the gradient is larger."""
_NO_CHANGE = 1e-15


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearHead:
    """Scores `weight @ ((x - mean) / scale) + bias`.

    Attributes:
        mean: mean of the training features, shape (D,).
        scale: their standard deviation, 1 where it is zero.
        weight: shape (C, D).
        bias: shape (C,).
        value: the L2 strength it was fitted with.
        converged: whether the gradient vanished to `CONVERGED`.
    """

    mean: Float64[Tensor, "D"]
    scale: Float64[Tensor, "D"]
    weight: Float64[Tensor, "C D"]
    bias: Float64[Tensor, "C"]
    value: float
    converged: bool
    parameter: ClassVar[str] = "l2"

    def scores(self, features: Float[Tensor, "n D"]) -> Float64[Tensor, "n C"]:
        """Return logits."""
        return (features.double() - self.mean) / self.scale @ self.weight.T + self.bias

    def predict(self, features: Float[Tensor, "n D"]) -> Int64[Tensor, "n"]:
        """Return the class of highest score, the first among equals."""
        return self.scores(features).argmax(dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """Return what has to be stored."""
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}


def fit_linear(
    features: Float[Tensor, "n D"],
    labels: Int64[Tensor, "n"],
    *,
    num_classes: int,
    l2: float,
    start: LinearHead | None = None,
    aim: float = FINE,
) -> LinearHead:
    """Fit a linear head to its minimum.

    Minimises `mean_i CE(W z_i + b, y_i) + l2 / 2 * |W|^2` over W and b with z the features
    standardised by their own mean and deviation, by L-BFGS in float64. The bias is not penalised.
    In scikit-learn's terms, C = 1 / (n * l2).

    Args:
        features: one row per clip.
        labels: in [0, num_classes).
        num_classes: C.
        l2: strength of the penalty, above 0.
        start: a head of the same features to start from; zero by default. There is one minimum.
        aim: largest entry of the gradient at the end (see `_minimise`).
    """
    x = features.double()
    mean, scale = x.mean(dim=0), x.std(dim=0, correction=0)
    # A constant feature has a deviation of rounding noise, which must not be blown up to 1.
    noise = x.abs().amax(dim=0) * torch.finfo(features.dtype).eps
    scale = torch.where(scale > noise, scale, torch.ones_like(scale))
    if start is None:
        weight = torch.zeros(num_classes, x.shape[1], dtype=torch.float64)
        bias = torch.zeros(num_classes, dtype=torch.float64)
    else:
        weight, bias = start.weight.clone(), start.bias.clone()
    gradient = _minimise((x - mean) / scale, labels, weight, bias, l2=l2, aim=aim)
    return LinearHead(
        mean=mean,
        scale=scale,
        weight=weight,
        bias=bias,
        value=l2,
        converged=gradient <= CONVERGED,
    )


def _minimise(
    z: Float64[Tensor, "n D"],
    labels: Int64[Tensor, "n"],
    weight: Float64[Tensor, "C D"],
    bias: Float64[Tensor, "C"],
    *,
    l2: float,
    aim: float,
) -> float:
    """Move weight and bias to the minimum in place; return the largest entry of the gradient.

    The search runs over V = W / s with s = 1 / sqrt(l2 + 1/4), in which the curvature along a
    feature of deviation 1 is at most about 1 for any strength; the gradient is measured there.
    """
    scale = 1 / math.sqrt(l2 + 0.25)
    search = [(weight / scale).requires_grad_(), bias.clone().requires_grad_()]
    optimiser = torch.optim.LBFGS(
        search,
        max_iter=MAX_ITERATIONS,
        max_eval=2 * MAX_ITERATIONS,
        tolerance_grad=aim,
        tolerance_change=_NO_CHANGE,
        history_size=30,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        w = search[0] * scale
        value = torch.nn.functional.cross_entropy(z @ w.T + search[1], labels)
        value = value + 0.5 * l2 * w.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    loss()
    weight.copy_(search[0].detach() * scale)
    bias.copy_(search[1].detach())
    return max(float(part.grad.abs().max()) for part in search if part.grad is not None)


def try_linear(
    features: Float[Tensor, "n D"],
    labels: Int64[Tensor, "n"],
    selection_features: Float[Tensor, "m D"],
    selection_labels: Int64[Tensor, "m"],
    *,
    num_classes: int,
    grid: Sequence[float] = L2_GRID,
) -> list[Trial]:
    """Fit a head for each L2 strength, each from the one before, and score it on other rows."""
    trials = []
    head: LinearHead | None = None
    for l2 in grid:
        head = fit_linear(features, labels, num_classes=num_classes, l2=l2, start=head, aim=COARSE)
        scores = head.scores(selection_features)
        loss = float(torch.nn.functional.cross_entropy(scores, selection_labels))
        right = (scores.argmax(dim=1) == selection_labels).double().mean()
        trials.append(Trial(value=l2, accuracy=float(right), cross_entropy=loss))
    return trials
