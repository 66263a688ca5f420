"""Means and covariances of pairs x, y that come in batches; memory d², whatever their number."""

from collections.abc import Sequence

import numpy as np

from vsalt.errors import report_problems
from vsalt.linear.covariances import Matrix
from vsalt.linear.generative import Samples
from vsalt.linear.problem import Features


class Moments:
    """Sums over pairs, kept about the means, so that large means cost no digits.

    Batches are joined by Chan, Golub and LeVeque's rule: with the difference delta of two means,
    the sums of products add up, plus n m / (n + m) delta deltaᵀ.

    Attributes:
        count: pairs so far.
        mean_x: shape (d,).
        mean_y: shape (d,).
        sum_xx: sum of (x - mean_x)(x - mean_x)ᵀ, shape (d, d).
        sum_yx: sum of (y - mean_y)(x - mean_x)ᵀ, shape (d, d).

    Args:
        num_dimensions: d.
    """

    def __init__(self, num_dimensions: int) -> None:
        self.count = 0
        self.mean_x: Features = np.zeros(num_dimensions)
        self.mean_y: Features = np.zeros(num_dimensions)
        self.sum_xx: Matrix = np.zeros((num_dimensions, num_dimensions))
        self.sum_yx: Matrix = np.zeros((num_dimensions, num_dimensions))

    def add(self, x: Samples, y: Samples) -> None:
        """Take in a batch of pairs, each of shape (pairs, d).

        Raises:
            ConfigError: if the shapes do not fit, or a value is not finite.
        """
        if x.shape != y.shape or x.ndim != 2 or x.shape[1] != len(self.mean_x):
            report_problems(
                [f"x is {x.shape} and y {y.shape}; both must be (pairs, {len(self.mean_x)})"]
            )
        if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
            report_problems(["x and y must be finite"])
        if len(x) == 0:
            return
        batch = Moments(x.shape[1])
        batch.count = len(x)
        batch.mean_x, batch.mean_y = x.mean(axis=0), y.mean(axis=0)
        x, y = x - batch.mean_x, y - batch.mean_y
        batch.sum_xx, batch.sum_yx = x.T @ x, y.T @ x
        self.join(batch)

    def join(self, other: "Moments") -> None:
        """Take in what others have summed up."""
        if other.count == 0:
            return
        total = self.count + other.count
        delta_x, delta_y = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        weight = self.count * other.count / total
        self.sum_xx += other.sum_xx + weight * np.outer(delta_x, delta_x)
        self.sum_yx += other.sum_yx + weight * np.outer(delta_y, delta_x)
        self.mean_x = self.mean_x + delta_x * (other.count / total)
        self.mean_y = self.mean_y + delta_y * (other.count / total)
        self.count = total

    def covariances(self) -> tuple[Matrix, Matrix]:
        """Return Sigma_xx and Sigma_yx about the means.

        Raises:
            ConfigError: if there are fewer than two pairs.
        """
        if self.count < 2:
            report_problems([f"covariances need at least two pairs; there are {self.count}"])
        return self.sum_xx / self.count, self.sum_yx / self.count

    def onto(self, basis: Matrix) -> "Moments":
        """Return the moments of basisᵀ x and basisᵀ y; the basis has the shape (d, features)."""
        result = Moments(basis.shape[1])
        result.count = self.count
        result.mean_x, result.mean_y = self.mean_x @ basis, self.mean_y @ basis
        result.sum_xx = basis.T @ self.sum_xx @ basis
        result.sum_yx = basis.T @ self.sum_yx @ basis
        return result


def joined(parts: Sequence[Moments]) -> Moments:
    """Return the moments of all pairs of all parts, of which there is at least one."""
    total = Moments(len(parts[0].mean_x))
    for part in parts:
        total.join(part)
    return total
