"""A linear prediction problem, which a few numbers per feature describe."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vsalt.errors import report_problems

Features: TypeAlias = npt.NDArray[np.float64]
"""One number for each feature, shape (features,)."""
FeaturesLike: TypeAlias = Features | Sequence[float]


class Problem:
    """What of y can be predicted from x, feature by feature.

    x and y have mean zero, E[x xᵀ] = diag(sigma²) and E[y xᵀ] = diag(lambda). It is enough that
    one orthogonal basis makes both diagonal. Setting and names are those of arXiv 2407.03475.

    Attributes:
        lambda_: covariance of y and x, at least 0.
        rho: regression coefficient lambda / sigma², the "influence" of a feature, at least 0; at
            most 1 where x and y have equal variances.
        variance: sigma² of x, above 0.

    Example:
        >>> Problem([1.0, 0.5], [0.5, 1.0]).variance
        array([2. , 0.5])
    """

    def __init__(self, lambda_: FeaturesLike, rho: FeaturesLike) -> None:
        """Describe the features; one with lambda = rho = 0 is noise and gets the variance 1.

        Raises:
            ConfigError: if the arrays do not fit each other.
        """
        self.lambda_ = _frozen(lambda_)
        self.rho = _frozen(rho)
        report_problems(_problems(self.lambda_, self.rho))
        is_noise = self.lambda_ == 0
        self.variance = _frozen(
            np.divide(self.lambda_, self.rho, out=np.ones_like(self.rho), where=~is_noise)
        )

    @classmethod
    def from_variances(cls, lambda_: FeaturesLike, variance: FeaturesLike) -> "Problem":
        """Describe features by lambda and sigma², which also fits noise of any variance.

        Raises:
            ConfigError: if the arrays do not fit each other or a variance is not above 0.
        """
        variances = _frozen(variance)
        if variances.size == 0 or not np.all(variances > 0):
            report_problems(["variance must be above 0 for every feature"])
        problem = cls(lambda_, np.asarray(lambda_, dtype=np.float64) / variances)
        problem.variance = variances
        return problem

    def __len__(self) -> int:
        return len(self.lambda_)

    def __repr__(self) -> str:
        return f"Problem({self.lambda_.tolist()}, {self.rho.tolist()})"

    def seen_through(self, target_gain: Features) -> "Problem":
        """Return the problem that a student of a frozen linear teacher is left with.

        To predict t y instead of y multiplies lambda and rho by t; the student of a frozen teacher
        is an MAE on this problem (derived in docs/explanation/linear-theory.md).

        Args:
            target_gain: t, the teacher's gain of every feature.
        """
        return Problem.from_variances(self.lambda_ * target_gain, self.variance)


def _frozen(values: FeaturesLike) -> Features:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def _problems(lambda_: Features, rho: Features) -> list[str]:
    if lambda_.ndim != 1 or lambda_.shape != rho.shape or lambda_.size == 0:
        return [
            f"lambda has shape {lambda_.shape} and rho {rho.shape}; "
            "both must be lists of one number for each feature"
        ]
    problems = [
        f"{name} must be finite and at least 0, got {values.tolist()}"
        for name, values in (("lambda", lambda_), ("rho", rho))
        if not (np.all(np.isfinite(values)) and np.all(values >= 0))
    ]
    if np.any((lambda_ == 0) != (rho == 0)):
        problems.append("lambda and rho are 0 together or not at all, as rho = lambda / sigma²")
    return problems
