"""Linear prediction problems."""

import numpy as np
import pytest

from vsalt.errors import ConfigError
from vsalt.linear.problem import Problem


def test_the_variance_follows_from_lambda_and_rho() -> None:
    problem = Problem([1.0, 0.5, 0.0, 2.0], [0.5, 1.0, 0.0, 2.5])
    assert problem.variance.tolist() == [2.0, 0.5, 1.0, 0.8]
    assert len(problem) == 4
    assert repr(problem) == "Problem([1.0, 0.5, 0.0, 2.0], [0.5, 1.0, 0.0, 2.5])"


def test_noise_may_have_any_variance() -> None:
    problem = Problem.from_variances([0.0, 0.6], [7.0, 2.0])
    assert problem.rho.tolist() == [0.0, 0.3]
    assert problem.variance.tolist() == [7.0, 2.0]


def test_arrays_are_copied_and_cannot_be_changed() -> None:
    given = np.array([1.0, 2.0])
    problem = Problem(given, [0.5, 0.5])
    given[0] = 9.0
    assert problem.lambda_[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        problem.rho[0] = 1.0


def test_a_teacher_scales_lambda_and_rho_and_leaves_the_input() -> None:
    problem = Problem([1.0, 0.5, 0.2], [0.5, 0.25, 0.8])
    seen = problem.seen_through(np.array([0.1, 2.0, 0.0]))
    assert seen.lambda_ == pytest.approx([0.1, 1.0, 0.0])
    assert seen.rho == pytest.approx([0.05, 0.5, 0.0])
    assert seen.variance.tolist() == problem.variance.tolist()


@pytest.mark.parametrize(
    ("lambda_", "rho", "said"),
    [
        ([1.0], [0.5, 0.5], "lists of one number for each feature"),
        ([], [], "lists of one number for each feature"),
        (np.ones((1, 1)), np.ones((1, 1)), "lists of one number for each feature"),
        ([-1.0], [0.5], "lambda must be finite and at least 0"),
        ([1.0], [float("nan")], "rho must be finite and at least 0"),
        ([float("inf")], [0.5], "lambda must be finite and at least 0"),
        ([0.0], [0.5], "0 together or not at all"),
        ([1.0], [0.0], "0 together or not at all"),
    ],
)
def test_what_is_no_problem_is_refused(lambda_: object, rho: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Problem(lambda_, rho)


@pytest.mark.parametrize("variance", [[0.0], [-1.0], [float("nan")], []])
def test_variances_must_be_above_zero(variance: list[float]) -> None:
    with pytest.raises(ConfigError, match="variance must be above 0"):
        Problem.from_variances([1.0] * len(variance), variance)
