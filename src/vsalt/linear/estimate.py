"""lambda and rho of data: one orthogonal basis for Sigma_xx and Sigma_yx, or the nearest to one.

The theory takes it that one orthogonal basis makes both E[x xᵀ] and E[y xᵀ] diagonal. Of data that
is never quite so. The basis here makes Sigma_xx and the symmetric part of Sigma_yx as diagonal as
one basis can; what is left over is the misfit, and stands beside the numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vsalt.errors import report_problems
from vsalt.linear.covariances import Matrix
from vsalt.linear.generative import Samples
from vsalt.linear.joint_basis import joint_basis, off_diagonal_share
from vsalt.linear.moments import Moments, joined
from vsalt.linear.problem import Features, Problem

_SMALLEST_VARIANCE = 1e-10
"""Over the largest one: directions with less are rounding, and have no rho."""


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """How far data are from the theory's assumption; all shares of 1, and 0 where it holds.

    The scaled shares are of the matrices after every feature is divided by its deviation. Without
    that, the few features of the largest variance decide alone.

    Attributes:
        off_diagonal_xx: of the squares of Sigma_xx, those off its diagonal.
        off_diagonal_yx: the same of Sigma_yx's symmetric part.
        scaled_xx: off_diagonal_xx of the scaled matrix, a correlation matrix.
        scaled_yx: off_diagonal_yx of the scaled matrix.
        antisymmetric: of the squares of Sigma_yx, those of its antisymmetric part.
        num_negative: features with lambda below 0, of which the theory says nothing.
        negative_share: of the sum of lambda², theirs.
    """

    off_diagonal_xx: float
    off_diagonal_yx: float
    scaled_xx: float
    scaled_yx: float
    antisymmetric: float
    num_negative: int
    negative_share: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """Features of data, by falling variance.

    Attributes:
        lambda_: covariance of y and x; may be below 0.
        variance: sigma² of x.
        lambda_error: standard error of lambda (jackknife over blocks, in the given basis); None:
            there were no blocks.
        rho_error: standard error of rho, likewise.
        basis: the features' directions as columns, shape (d, features).
        kept_variance: share of the variance of x that these features have; below 1 where the
            number of features was limited.
        misfit: of the data that the basis is made of.
        held_out: of every second block in a basis made of the others; None: there were no blocks.
    """

    lambda_: Features
    variance: Features
    lambda_error: Features | None
    rho_error: Features | None
    basis: Matrix
    kept_variance: float
    misfit: Misfit
    held_out: Misfit | None

    @property
    def rho(self) -> Features:
        """Lambda / sigma²."""
        return self.lambda_ / self.variance

    def is_predictable(self) -> np.ndarray:
        """Return which features the theory can follow: lambda above 0, by two standard errors."""
        least = 0.0 if self.lambda_error is None else 2 * self.lambda_error
        return np.asarray((self.lambda_ > least) & (self.lambda_ > 0))

    def problem(self) -> Problem:
        """Return the predictable features.

        Raises:
            ConfigError: if there is none.
        """
        chosen = self.is_predictable()
        if not chosen.any():
            report_problems(
                [f"of {len(chosen)} features none can be predicted: no lambda is clearly above 0"]
            )
        return Problem.from_variances(self.lambda_[chosen], self.variance[chosen])


def estimate_from_samples(
    x: Samples, y: Samples, *, num_blocks: int = 10, max_features: int | None = None
) -> Estimate:
    """Estimate from independent pairs of shape (pairs, d); pair i is of block i modulo the number.

    Raises:
        ConfigError: see `estimate`.
    """
    blocks = [Moments(x.shape[1]) for _ in range(num_blocks)]
    for index, block in enumerate(blocks):
        block.add(x[index::num_blocks], y[index::num_blocks])
    return estimate(blocks, max_features=max_features)


def estimate_from_covariances(
    xx: Matrix, yx: Matrix, *, max_features: int | None = None
) -> Estimate:
    """Estimate from Sigma_xx and Sigma_yx, both (d, d); there are no standard errors.

    Raises:
        ConfigError: if the shapes do not fit, a number is not finite, or Sigma_xx is zero or not
            symmetric.
    """
    if xx.ndim != 2 or xx.shape[0] != xx.shape[1] or yx.shape != xx.shape:
        report_problems([f"Sigma_xx is {xx.shape} and Sigma_yx {yx.shape}; both must be (d, d)"])
    if not (np.all(np.isfinite(xx)) and np.all(np.isfinite(yx))):
        report_problems(["Sigma_xx and Sigma_yx must be finite"])
    if not np.allclose(xx, xx.T, rtol=0, atol=1e-9 * np.abs(xx).max(initial=0)):
        report_problems(["Sigma_xx is not symmetric"])
    values, vectors = np.linalg.eigh((xx + xx.T) / 2)
    if not values[-1] > 0:
        report_problems(["x never changes: Sigma_xx has no variance above 0"])
    keep = np.flatnonzero(values > _SMALLEST_VARIANCE * values[-1])[::-1][:max_features]
    frame = vectors[:, keep]
    xx_kept, yx_kept = frame.T @ xx @ frame, frame.T @ yx @ frame
    turn = joint_basis([_symmetric(xx_kept), _symmetric(yx_kept)])
    variance = np.einsum("ij,ik,kj->j", turn, xx_kept, turn)
    turn = turn[:, np.argsort(-variance, kind="stable")]
    basis = frame @ turn
    xx_turned, yx_turned = turn.T @ xx_kept @ turn, turn.T @ yx_kept @ turn
    return Estimate(
        lambda_=np.diag(yx_turned).copy(),
        variance=np.diag(xx_turned).copy(),
        lambda_error=None,
        rho_error=None,
        basis=basis,
        kept_variance=float(np.trace(xx_turned) / np.trace(xx)),
        misfit=measure_misfit(xx_turned, yx_turned),
        held_out=None,
    )


def estimate(blocks: Sequence[Moments], *, max_features: int | None = None) -> Estimate:
    """Estimate from the moments of blocks that are independent of each other.

    Args:
        blocks: at least two that have pairs; standard errors come from leaving out each in turn,
            so pairs that belong together (of one video) belong into one block.
        max_features: only so many leading principal components of x are looked at.

    Raises:
        ConfigError: if there are fewer than two blocks with pairs, or x never changes.
    """
    filled = [block for block in blocks if block.count]
    if len(filled) < 2:
        report_problems([f"standard errors need two independent blocks; there are {len(filled)}"])
    whole = estimate_from_covariances(*joined(filled).covariances(), max_features=max_features)
    lambda_error, rho_error = _jackknife([block.onto(whole.basis) for block in filled])
    num_features = len(whole.lambda_)
    half = estimate_from_covariances(*joined(filled[::2]).covariances(), max_features=num_features)
    other = joined(filled[1::2]).onto(half.basis)
    return Estimate(
        lambda_=whole.lambda_,
        variance=whole.variance,
        lambda_error=lambda_error,
        rho_error=rho_error,
        basis=whole.basis,
        kept_variance=whole.kept_variance,
        misfit=whole.misfit,
        held_out=measure_misfit(*other.covariances()),
    )


def measure_misfit(xx: Matrix, yx: Matrix) -> Misfit:
    """Return how far two matrices are from diagonal; yx also from symmetric."""
    symmetric = _symmetric(yx)
    lambda_ = np.diag(yx)
    deviation = np.sqrt(np.maximum(np.diag(xx), np.finfo(np.float64).tiny))
    scale = np.outer(deviation, deviation)
    squares, negative = float(np.sum(yx**2)), lambda_ < 0
    energy = float(np.sum(lambda_**2))
    return Misfit(
        off_diagonal_xx=off_diagonal_share(xx),
        off_diagonal_yx=off_diagonal_share(symmetric),
        scaled_xx=off_diagonal_share(xx / scale),
        scaled_yx=off_diagonal_share(symmetric / scale),
        antisymmetric=float(np.sum((yx - symmetric) ** 2)) / squares if squares else 0.0,
        num_negative=int(negative.sum()),
        negative_share=float(np.sum(lambda_[negative] ** 2)) / energy if energy else 0.0,
    )


def _symmetric(matrix: Matrix) -> Matrix:
    return (matrix + matrix.T) / 2


def _jackknife(blocks: Sequence[Moments]) -> tuple[Features, Features]:
    """Return the standard errors of lambda and rho of features, leaving out each block in turn."""
    lambdas, rhos = [], []
    for index in range(len(blocks)):
        xx, yx = joined([*blocks[:index], *blocks[index + 1 :]]).covariances()
        lambdas.append(np.diag(yx))
        rhos.append(np.diag(yx) / np.diag(xx))
    return _spread(np.array(lambdas)), _spread(np.array(rhos))


def _spread(estimates: Samples) -> Features:
    """sqrt((B - 1) / B sum (e - mean e)²) over B rows."""
    num_blocks = len(estimates)
    squares = np.sum((estimates - estimates.mean(axis=0)) ** 2, axis=0)
    return np.asarray(np.sqrt((num_blocks - 1) / num_blocks * squares))
