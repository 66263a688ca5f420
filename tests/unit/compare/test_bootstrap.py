"""Intervals hold what they promise, by simulation; quantiles agree with scipy's."""

import numpy as np
import pytest
from scipy import stats

from vsalt.compare.bootstrap import detectable, draw, estimate, t_quantile
from vsalt.compare.page_words import FEW_SEEDS

SEEDS, GROUPS, SIZE = 3, 24, 6
ROWS = np.repeat(np.arange(GROUPS), SIZE)


@pytest.mark.parametrize("dof", [1.0, 1.7, 2.0, 5.5, 30.0, 400.0, 9000.0])
@pytest.mark.parametrize("share", [0.8, 0.975])
def test_quantiles_are_those_of_scipy(dof: float, share: float) -> None:
    assert t_quantile(share, dof) == pytest.approx(stats.t.ppf(share, dof), rel=1e-6)


def sample(
    generator: np.random.Generator,
    mean: float,
    *,
    of_seeds: float,
    of_groups: float,
    num_seeds: int = SEEDS,
) -> np.ndarray:
    """Values of seeds and rows whose groups, seeds and rows vary by normal deviates."""
    seeds = of_seeds * generator.normal(size=(num_seeds, 1))
    groups = of_groups * generator.normal(size=GROUPS)[ROWS]
    return mean + seeds + groups + 0.3 * generator.normal(size=(num_seeds, len(ROWS)))


@pytest.mark.parametrize(
    ("of_seeds", "of_groups"),
    [(0.0, 0.2), (0.03, 0.2), (0.2, 0.05)],
    ids=["groups", "both", "seeds"],
)
def test_intervals_cover_the_truth(of_seeds: float, of_groups: float) -> None:
    """Also where three seeds are all there is to know the larger part of the variance by."""
    generator = np.random.default_rng(0)
    draws = draw(ROWS, SEEDS, num=400)
    covered = 0
    for _ in range(400):
        found = estimate(sample(generator, 0.1, of_seeds=of_seeds, of_groups=of_groups), draws)
        covered += found.low <= 0.1 <= found.high
    # Binomial with 400 trials: 0.95 has a standard deviation of 0.011.
    assert 0.91 <= covered / 400 <= 0.99


def test_intervals_of_two_seeds_promise_less_and_the_page_says_how_much() -> None:
    """Two seeds that agree by chance hide that seeds differ."""
    generator = np.random.default_rng(0)
    draws = draw(ROWS, 2, num=400)
    covered = 0
    for _ in range(600):
        values = sample(generator, 0.1, of_seeds=0.2, of_groups=0.05, num_seeds=2)
        found = estimate(values, draws)
        covered += found.low <= 0.1 <= found.high
    # Binomial with 600 trials: 0.84 has a standard deviation of 0.015.
    assert covered / 600 == pytest.approx(0.84, abs=0.045)
    assert "84 %" in FEW_SEEDS[2]


def test_percentiles_of_rows_would_not_cover() -> None:
    """The simulation can fail: rows taken as independent make intervals far too narrow."""
    generator = np.random.default_rng(0)
    alone = np.arange(len(ROWS))
    draws = draw(alone, SEEDS, num=400)
    values = [sample(generator, 0.1, of_seeds=0.0, of_groups=0.2) for _ in range(200)]
    found = [estimate(one, draws) for one in values]
    assert np.mean([one.low <= 0.1 <= one.high for one in found]) < 0.8


def test_the_smallest_detectable_difference_is_found_in_four_of_five_cases() -> None:
    generator = np.random.default_rng(1)
    draws = draw(ROWS, SEEDS, num=300)
    # With many degrees of freedom: the true standard error, of groups and rows.
    error = float(np.sqrt(0.2**2 / GROUPS + 0.3**2 / (SEEDS * len(ROWS))))
    true = detectable(error, float(GROUPS - 1))
    told = [
        estimate(sample(generator, true, of_seeds=0.0, of_groups=0.2), draws).low > 0
        for _ in range(400)
    ]
    # The standard deviation of a share of 0.8 in 400 trials is 0.02.
    assert np.mean(told) == pytest.approx(0.8, abs=0.06)


def test_the_variance_is_that_of_the_formula() -> None:
    """Of groups of one size: that of the groups' means over their number, plus that of seeds."""
    generator = np.random.default_rng(2)
    values = sample(generator, 0.0, of_seeds=0.1, of_groups=0.2)
    means = values.mean(axis=0).reshape(GROUPS, SIZE).mean(axis=1)
    variance = means.var(ddof=1) / GROUPS + values.mean(axis=1).var(ddof=1) / SEEDS
    found = estimate(values, draw(ROWS, SEEDS, num=20_000))
    half = t_quantile(0.975, found.dof) * np.sqrt(variance)
    assert found.high - found.value == pytest.approx(half, rel=0.03)
    assert found.value == pytest.approx(values.mean())


def test_one_group_tells_nothing_and_no_difference_is_certain() -> None:
    one_group = np.zeros(10, dtype=np.int64)
    found = estimate(np.random.default_rng(0).random((2, 10)), draw(one_group, 2))
    assert (found.low, found.high, found.detectable) == (-np.inf, np.inf, np.inf)
    same = estimate(np.zeros((2, len(ROWS))), draw(ROWS, 2))
    assert (same.low, same.value, same.high) == (0.0, 0.0, 0.0)
