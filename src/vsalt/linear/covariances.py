"""What full-batch training of a linear network sees of the data: two covariance matrices."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vsalt.errors import report_problems
from vsalt.linear.generative import Samples
from vsalt.linear.problem import Problem

Matrix: TypeAlias = npt.NDArray[np.float64]
"""A matrix; rows are outputs and columns are inputs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Covariances:
    """Covariances of the inputs x and the targets y, both of d values, and what is a feature.

    Attributes:
        inputs: E[x xᵀ], shape (d, d).
        cross: E[y xᵀ], shape (d, d).
        basis: one feature per column, orthonormal, shape (d, d). Training does not look at it;
            gains are read along it.
    """

    inputs: Matrix
    cross: Matrix
    basis: Matrix

    def __post_init__(self) -> None:
        """Check shapes and the basis."""
        shapes = {self.inputs.shape, self.cross.shape, self.basis.shape}
        d = len(self.basis)
        if shapes != {(d, d)}:
            report_problems(
                [
                    f"inputs {self.inputs.shape}, cross {self.cross.shape} and basis "
                    f"{self.basis.shape} must be square matrices of one size"
                ]
            )
        elif not np.allclose(self.basis.T @ self.basis, np.eye(d), atol=1e-8):
            report_problems(["the columns of basis must be orthonormal"])

    def __len__(self) -> int:
        return len(self.basis)

    @classmethod
    def of(cls, problem: Problem, basis: Matrix | None = None) -> "Covariances":
        """Return the exact covariances of a problem: basis diag(.) basisᵀ.

        Args:
            problem: lambda and sigma² of every feature.
            basis: the features' directions as columns; None: the axes.
        """
        directions = np.eye(len(problem)) if basis is None else basis
        return cls(
            inputs=(directions * problem.variance) @ directions.T,
            cross=(directions * problem.lambda_) @ directions.T,
            basis=directions,
        )

    @classmethod
    def of_samples(cls, x: Samples, y: Samples, basis: Matrix | None = None) -> "Covariances":
        """Return the covariances of samples of mean zero, each of shape (samples, d)."""
        return cls(
            inputs=x.T @ x / len(x),
            cross=y.T @ x / len(x),
            basis=np.eye(x.shape[1]) if basis is None else basis,
        )
