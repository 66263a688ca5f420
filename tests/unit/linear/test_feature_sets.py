"""The feature sets have the relation of lambda and rho that they are named for."""

import numpy as np
import pytest
from scipy.stats import kstest, spearmanr

from vsalt.errors import ConfigError
from vsalt.linear.feature_sets import (
    anti_correlated,
    conflict_pairs,
    equal_lambda,
    independent,
    named_sets,
    scattered,
)


def test_sets_by_formula() -> None:
    assert np.all(equal_lambda(24).lambda_ == 1)
    for exponent in (0.5, 1.0, 2.0):
        problem = anti_correlated(24, exponent)
        assert problem.rho[[0, -1]].tolist() == [0.35, 0.95]
        np.testing.assert_allclose(problem.lambda_ * problem.rho**exponent, 1, rtol=1e-14)


def test_random_sets_follow_their_seed_and_distribution() -> None:
    problem = scattered(4000, 3)
    assert np.array_equal(problem.lambda_, scattered(4000, 3).lambda_)
    assert not np.array_equal(problem.lambda_, scattered(4000, 4).lambda_)
    share = (np.log(problem.lambda_) - np.log(0.2)) / np.log(2.0 / 0.2)
    assert kstest(share, "uniform").pvalue > 0.01
    assert kstest((problem.rho - 0.4) / 0.55, "uniform").pvalue > 0.01
    assert abs(spearmanr(problem.lambda_, problem.rho).statistic) < 0.05
    assert 0.5 <= independent(500, 0).lambda_.min() < independent(500, 0).lambda_.max() <= 1
    assert len(named_sets(8, 0)) == 5


def test_pairs_conflict_and_are_distributed_as_kept_draws() -> None:
    first, second = conflict_pairs(20_000, 0)
    assert np.all(first.lambda_ < second.lambda_)
    assert np.all(first.rho > second.rho)
    # The plain way: draw pairs and keep those in conflict.
    rng = np.random.default_rng(1)
    lambda_ = np.exp(rng.uniform(np.log(0.3), np.log(3), (40_000, 2)))
    rho = rng.uniform(0.3, 0.95, (40_000, 2))
    kept = (lambda_[:, 0] < lambda_[:, 1]) & (rho[:, 0] > rho[:, 1])
    ratio = lambda_[kept, 0] / lambda_[kept, 1]
    assert np.mean(first.lambda_ / second.lambda_) == pytest.approx(ratio.mean(), abs=0.01)
    assert np.mean(first.rho - second.rho) == pytest.approx(
        (rho[kept, 0] - rho[kept, 1]).mean(), abs=0.01
    )


def test_no_pairs_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_pairs is 0; it must be at least 1"):
        conflict_pairs(0, 0)
