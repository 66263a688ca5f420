"""lambda and rho of data: known problems come back, what fits no basis is told as it is."""

import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar
from scipy.stats import ortho_group

from vsalt.errors import ConfigError
from vsalt.linear.estimate import (
    Estimate,
    estimate,
    estimate_from_covariances,
    estimate_from_samples,
)
from vsalt.linear.generative import Autoregression, TwoViews
from vsalt.linear.joint_basis import joint_basis, off_diagonal_share
from vsalt.linear.moments import Moments, joined
from vsalt.linear.problem import Problem


def rotation(size: int, seed: int = 0) -> np.ndarray:
    return np.asarray(ortho_group.rvs(size, random_state=seed))


def test_exactly_diagonalisable_covariances_come_back() -> None:
    # Equal variances (3 of them, and 2) leave the basis to Sigma_yx alone.
    variance = np.array([3.0, 3.0, 3.0, 1.5, 0.7, 0.7, 0.1])
    lambda_ = np.array([2.5, 1.0, -0.5, 1.4, 0.1, 0.6, 0.09])
    turn = rotation(7)
    found = estimate_from_covariances(
        turn @ np.diag(variance) @ turn.T, turn @ np.diag(lambda_) @ turn.T
    )
    assert found.variance == pytest.approx(variance, abs=1e-10)
    pairs = sorted(zip(found.variance.round(9), found.lambda_, strict=True))
    expected = sorted(zip(variance, lambda_, strict=True))
    assert [pair[1] for pair in pairs] == pytest.approx([pair[1] for pair in expected], abs=1e-10)
    assert found.basis.T @ found.basis == pytest.approx(np.eye(7), abs=1e-12)
    misfit = found.misfit
    assert max(misfit.off_diagonal_xx, misfit.off_diagonal_yx, misfit.antisymmetric) < 1e-20
    assert max(misfit.scaled_xx, misfit.scaled_yx) < 1e-20
    assert misfit.num_negative == 1
    assert misfit.negative_share == pytest.approx(0.25 / np.sum(lambda_**2), abs=1e-12)


def test_rho_is_the_generalised_eigenvalue_where_a_basis_exists() -> None:
    turn = rotation(5, seed=3)
    xx = turn @ np.diag([5.0, 3.0, 2.0, 1.0, 0.5]) @ turn.T
    yx = turn @ np.diag([1.0, 2.7, 0.3, 0.9, 0.25]) @ turn.T
    found = estimate_from_covariances(xx, yx)
    assert np.sort(found.rho) == pytest.approx(eigh(yx, xx, eigvals_only=True), abs=1e-10)


def test_two_matrices_of_two_dimensions_against_a_search_over_all_angles() -> None:
    rng = np.random.default_rng(5)
    for _ in range(5):
        matrices = [part + part.T for part in rng.standard_normal((2, 2, 2))]

        def left(angle: float, matrices: list[np.ndarray] = matrices) -> float:
            cos, sin = np.cos(angle), np.sin(angle)
            turn = np.array([[cos, -sin], [sin, cos]])
            return sum(off_diagonal_share(turn.T @ matrix @ turn) for matrix in matrices)

        best = min(
            minimize_scalar(left, bounds=bounds, method="bounded", options={"xatol": 1e-10}).fun
            for bounds in ((0, np.pi / 8), (np.pi / 8, np.pi / 4), (np.pi / 4, np.pi / 2))
        )
        basis = joint_basis(matrices)
        found = sum(off_diagonal_share(basis.T @ matrix @ basis) for matrix in matrices)
        assert found == pytest.approx(best, abs=1e-8)


def test_what_no_basis_fits_is_told() -> None:
    xx, yx = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, -1.0]])
    found = estimate_from_covariances(xx, yx).misfit
    # Turned by an angle a, cos²(2a) 2/10 of xx is off the diagonal and sin²(2a) of yx: best a = 0.
    assert found.off_diagonal_xx == pytest.approx(0.2, abs=1e-9)
    assert found.off_diagonal_yx == pytest.approx(0.0, abs=1e-9)
    assert found.scaled_xx == pytest.approx(0.5 / 2.5, abs=1e-9)


def test_the_antisymmetric_share() -> None:
    yx = np.array([[1.0, 0.5], [-0.5, 1.0]])
    found = estimate_from_covariances(np.diag([2.0, 1.0]), yx)
    assert found.misfit.antisymmetric == pytest.approx(0.5 / 2.5, abs=1e-12)
    assert found.lambda_ == pytest.approx([1.0, 1.0], abs=1e-12)


def test_a_turned_problem_is_estimated_from_samples() -> None:
    problem = Problem([1.0, 0.6, 0.3, 0.1], [0.5, 0.9, 0.2, 0.8])
    x, y = TwoViews.of(problem).sample(40_000, np.random.default_rng(0))
    turn = rotation(4, seed=1)
    found = estimate_from_samples(x @ turn.T + 100.0, y @ turn.T - 7.0)
    order = np.argsort(-problem.variance)
    # The variance of a mean product of two normals is at most (sigma_x² sigma_y² + lambda²) / n.
    error = np.sqrt(2 / 40_000) * problem.variance[order]
    assert np.all(np.abs(found.lambda_ - problem.lambda_[order]) < 4 * error)
    assert found.rho == pytest.approx(problem.rho[order], abs=4 * np.sqrt(2 / 40_000))
    assert np.abs(found.basis.T @ turn[:, order]) == pytest.approx(np.eye(4), abs=0.05)
    assert found.misfit.scaled_yx < 1e-3
    assert found.held_out is not None
    assert found.held_out.scaled_yx < 5e-3
    assert found.is_predictable().all()


def test_fast_features_have_a_small_rho_whatever_their_variance() -> None:
    model = Autoregression(
        memory=np.array([0.2, 0.95]), signal=np.array([4.0, 1.0]), noise=np.array([0.5, 0.1])
    )
    found = estimate_from_samples(*model.sample(40_000, np.random.default_rng(2)))
    assert found.rho == pytest.approx(model.problem().rho, abs=0.02)
    assert found.rho[0] < 0.2 < 0.8 < found.rho[1]


def test_standard_errors_are_the_spread_of_repeated_estimates() -> None:
    model = TwoViews(signal=np.array([2.0, 0.2]), noise=np.array([1.0, 0.3]))
    rng = np.random.default_rng(4)
    found = [estimate_from_samples(*model.sample(400, rng), num_blocks=20) for _ in range(60)]
    spread = np.std([own.rho for own in found], axis=0)
    told = np.mean([own.rho_error for own in found], axis=0)
    assert told == pytest.approx(spread, rel=0.35)
    spread = np.std([own.lambda_ for own in found], axis=0)
    told = np.mean([own.lambda_error for own in found], axis=0)
    assert told == pytest.approx(spread, rel=0.35)


def test_noise_alone_is_not_predictable() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((2, 4000, 6))
    x[:, 0] *= 3
    y[:, 0] = x[:, 0] / 2
    found = estimate_from_samples(x, y)
    assert found.is_predictable()[0]
    assert found.is_predictable().sum() <= 2
    assert len(found.problem()) == found.is_predictable().sum()


def test_moments_of_batches_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((90, 3)) + 1e6
    y = 2 * x[:, ::-1] + rng.standard_normal((90, 3))
    parts = [Moments(3) for _ in range(3)]
    for index, part in enumerate(parts):
        part.add(x[20 * index : 20 * (index + 1)], y[20 * index : 20 * (index + 1)])
    parts[0].add(x[60:], y[60:])
    parts[0].add(x[:0], y[:0])
    xx, yx = joined(parts).covariances()
    both = np.cov(np.hstack([x, y]).T, bias=True)
    assert xx == pytest.approx(both[:3, :3], abs=1e-6)
    assert yx == pytest.approx(both[3:, :3], abs=1e-6)
    turn = rotation(3)
    turned_xx, turned_yx = joined(parts).onto(turn).covariances()
    assert turned_xx == pytest.approx(turn.T @ xx @ turn, abs=1e-12)
    assert turned_yx == pytest.approx(turn.T @ yx @ turn, abs=1e-12)


def test_only_leading_components_are_looked_at() -> None:
    xx = np.diag([4.0, 3.0, 2.0, 1.0, 0.0])
    found = estimate_from_covariances(xx, xx / 2, max_features=2)
    assert found.variance.tolist() == pytest.approx([4.0, 3.0])
    assert found.kept_variance == pytest.approx(0.7)
    # A direction in which x never changes has no rho.
    assert len(estimate_from_covariances(xx, xx / 2).lambda_) == 4


def test_what_cannot_be_estimated() -> None:
    with pytest.raises(ConfigError, match=r"Sigma_xx is \(2, 2\) and Sigma_yx \(3, 3\)"):
        estimate_from_covariances(np.eye(2), np.eye(3))
    with pytest.raises(ConfigError, match="x never changes"):
        estimate_from_covariances(np.zeros((2, 2)), np.eye(2))
    with pytest.raises(ConfigError, match="Sigma_xx is not symmetric"):
        estimate_from_covariances(np.array([[2.0, 1.0], [0.0, 1.0]]), np.eye(2))
    with pytest.raises(ConfigError, match="must be finite"):
        estimate_from_covariances(np.eye(2), np.array([[np.nan, 0.0], [0.0, 1.0]]))
    one = Moments(2)
    one.add(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(ConfigError, match="two independent blocks; there are 1"):
        estimate([one, Moments(2)])
    with pytest.raises(ConfigError, match="must be finite"):
        Moments(1).add(np.array([[np.nan]]), np.array([[0.0]]))
    with pytest.raises(ConfigError, match=r"x is \(2, 3\) and y \(2, 3\); both must be \(pairs, 2"):
        Moments(2).add(np.ones((2, 3)), np.ones((2, 3)))
    nothing: Estimate = estimate_from_covariances(np.eye(2), -np.eye(2))
    with pytest.raises(ConfigError, match="of 2 features none can be predicted"):
        nothing.problem()
    with pytest.raises(ConfigError, match="not symmetric"):
        joint_basis([np.array([[1.0, 2.0], [0.0, 1.0]])])
