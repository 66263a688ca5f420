"""Covariances of problems and of samples."""

import numpy as np
import pytest

from vsalt.errors import ConfigError
from vsalt.linear.covariances import Covariances
from vsalt.linear.generative import TwoViews
from vsalt.linear.initialisations import random_orthogonal
from vsalt.linear.problem import Problem

PROBLEM = Problem([1.0, 0.5, 0.0], [0.5, 0.8, 0.0])


def test_features_have_their_lambda_and_variance_along_the_basis() -> None:
    basis = random_orthogonal((3, 3), np.random.default_rng(0))
    data = Covariances.of(PROBLEM, basis)
    for index, feature in enumerate(basis.T):
        np.testing.assert_allclose(data.inputs @ feature, PROBLEM.variance[index] * feature)
        np.testing.assert_allclose(
            data.cross @ feature, PROBLEM.lambda_[index] * feature, atol=1e-15
        )


def test_samples_give_what_their_model_says() -> None:
    problem = Problem([1.0, 0.5], [0.5, 0.8])
    x, y = TwoViews.of(problem).sample(200_000, np.random.default_rng(1))
    basis = random_orthogonal((2, 2), np.random.default_rng(2))
    found = Covariances.of_samples(x @ basis.T, y @ basis.T, basis)
    expected = Covariances.of(problem, basis)
    np.testing.assert_allclose(found.inputs, expected.inputs, atol=0.02)
    np.testing.assert_allclose(found.cross, expected.cross, atol=0.02)


def test_cross_has_targets_as_rows() -> None:
    x, y = np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([[0.0, 2.0], [0.0, -2.0]])
    np.testing.assert_array_equal(Covariances.of_samples(x, y).cross, [[0, 0], [2, 0]])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 2), (2, 2), (3, 3)), "one size"),
        (((2, 3), (2, 3), (2, 3)), "one size"),
    ],
)
def test_matrices_of_other_shapes_are_refused(
    shapes: tuple[tuple[int, int], ...], message: str
) -> None:
    inputs, cross, basis = (np.eye(*shape) for shape in shapes)
    with pytest.raises(ConfigError, match=message):
        Covariances(inputs=inputs, cross=cross, basis=basis)


def test_a_slanted_basis_is_refused() -> None:
    with pytest.raises(ConfigError, match="orthonormal"):
        Covariances.of(PROBLEM, np.triu(np.ones((3, 3))))
