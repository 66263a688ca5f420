"""Multinomial logistic regression to its exact minimum, by Newton's method in float64.

Newton directions are found by conjugate gradients on products with the Hessian, which is never
formed, preconditioned by its diagonal along the features' principal axes. Features of encoders are
far from independent (variances along their axes span ten decades), which first-order and L-BFGS
methods take thousands of steps for.

Shapes: n rows, R axes and a column of ones, C classes.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

GRADIENT_GOAL = 1e-9
"""The largest entry of the gradient at the end."""
_MAX_NEWTON_STEPS = 100
_MAX_CG_STEPS = 2000
_MIN_STEP = 1e-6
_SUFFICIENT = 1e-4
_ROUNDING = 1e-15


@dataclass(frozen=True, eq=False)
class Problem:
    """Minimise `f(T) = mean_i CE(T x_i, y_i) + sum(penalty * T^2) / 2` over T of shape (C, R + 1).

    Attributes:
        x: rows along uncorrelated axes, and a last column of ones, (n, R + 1).
        variance: mean square of each column, (R + 1,).
        labels: y, (n,).
        penalty: of each column; 0 for the last, (R + 1,).
        num_classes: C.
    """

    x: Float64[Tensor, "n R1"]
    variance: Float64[Tensor, "R1"]
    labels: Int64[Tensor, "n"]
    penalty: Float64[Tensor, "R1"]
    num_classes: int

    def value(self, weights: Float64[Tensor, "C R1"]) -> float:
        """Return f."""
        loss = cross_entropy(self.x @ weights.T, self.labels)
        return float(loss + 0.5 * (self.penalty * weights.square()).sum())

    def gradient(
        self, weights: Float64[Tensor, "C R1"], probability: Float64[Tensor, "n C"]
    ) -> Float64[Tensor, "C R1"]:
        """Return the gradient of f."""
        error = probability - one_hot(self.labels, self.num_classes)
        return error.T @ self.x / len(self.x) + self.penalty * weights

    def curve(
        self, direction: Float64[Tensor, "C R1"], probability: Float64[Tensor, "n C"]
    ) -> Float64[Tensor, "C R1"]:
        """Return the product of the Hessian of f with a direction."""
        change = probability * (self.x @ direction.T)
        change = change - probability * change.sum(dim=1, keepdim=True)
        return change.T @ self.x / len(self.x) + self.penalty * direction


def minimise(
    problem: Problem, start: Float64[Tensor, "C R1"]
) -> tuple[Float64[Tensor, "C R1"], float]:
    """Return the minimum from a start, and the largest entry of the gradient there."""
    weights = start
    value = problem.value(weights)
    largest = math.inf
    for _ in range(_MAX_NEWTON_STEPS):
        probability = torch.softmax(problem.x @ weights.T, dim=1)
        gradient = problem.gradient(weights, probability)
        largest = float(gradient.abs().max())
        if largest <= GRADIENT_GOAL:
            break
        direction = _newton_direction(problem, gradient, probability)
        slope = float((gradient * direction).sum())
        step = 1.0
        while step >= _MIN_STEP:
            moved = weights + step * direction
            lower = problem.value(moved)
            if lower <= value + _SUFFICIENT * step * slope + _ROUNDING * abs(value):
                break
            step /= 2
        else:
            break
        weights, value = moved, lower
    return weights, largest


def _newton_direction(
    problem: Problem, gradient: Float64[Tensor, "C R1"], probability: Float64[Tensor, "n C"]
) -> Float64[Tensor, "C R1"]:
    """Solve `Hessian direction = -gradient` to an accuracy that grows as the gradient vanishes."""
    weight = (probability * (1 - probability)).mean(dim=0).clamp(min=1e-12)
    diagonal = problem.penalty + weight[:, None] * problem.variance

    def precondition(residual: Tensor) -> Tensor:
        scaled = residual / diagonal
        # One number added to all biases changes nothing; that direction is left out.
        scaled[:, -1] -= scaled[:, -1].mean()
        return scaled

    direction, residual = torch.zeros_like(gradient), -gradient
    search = precondition(residual)
    size = first = float((residual * search).sum())
    accuracy = min(0.1, first**0.25) ** 2
    for _ in range(_MAX_CG_STEPS):
        if size <= accuracy * first:
            break
        curved = problem.curve(search, probability)
        step = size / float((search * curved).sum())
        direction = direction + step * search
        residual = residual - step * curved
        scaled = precondition(residual)
        before, size = size, float((residual * scaled).sum())
        search = scaled + (size / before) * search
    return direction
