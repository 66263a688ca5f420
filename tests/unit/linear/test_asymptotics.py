"""Limits of the exact times."""

import numpy as np
import pytest

from vsalt.errors import ConfigError
from vsalt.linear.asymptotics import (
    fast_ema_delay,
    fixed_target_constant,
    jepa_gap,
    laurent_remainder,
    laurent_time,
    leading_time,
    mae_gap,
    slow_ema_time,
    small_start_kappa,
)
from vsalt.linear.closed_form import critical_time, final_gain, time_to_gain
from vsalt.linear.dynamics import hitting_times, integrated_critical_time
from vsalt.linear.measures import rho_exponent
from vsalt.linear.methods import Ema, Jepa, Mae, Network, Salt
from vsalt.linear.problem import Problem
from vsalt.linear.tolerances import EXACT

PROBLEM = Problem([1.0, 0.6, 1.2, 0.8], [0.95, 0.8, 0.65, 0.5])


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_times_tend_to_their_first_term(depth: int) -> None:
    network, gain = Network(depth=depth, eps=1e-12), np.array([0.9, 0.7, 0.6, 0.8])
    jepa = leading_time(PROBLEM, depth, 1e-12, moving_target=True)
    assert critical_time(PROBLEM, network, Jepa()) == pytest.approx(jepa, rel=0.03)
    mae = leading_time(PROBLEM, depth, 1e-12, moving_target=False)
    assert critical_time(PROBLEM, network, Mae()) == pytest.approx(mae, rel=1e-5)
    salt = leading_time(PROBLEM.seen_through(gain), depth, 1e-12, moving_target=False)
    assert critical_time(PROBLEM, network, Salt(gain)) == pytest.approx(salt, rel=1e-5)


def test_one_layer_takes_a_logarithm() -> None:
    for eps in (1e-100, 1e-200):
        leading = leading_time(PROBLEM, 1, eps, moving_target=False)
        found = critical_time(PROBLEM, Network(depth=1, eps=eps), Mae())
        assert found == pytest.approx(leading, rel=2 / np.log(1 / eps))
    leading = leading_time(PROBLEM, 1, 1e-6, moving_target=True)
    assert leading == pytest.approx(1e6 / PROBLEM.lambda_)


@pytest.mark.parametrize("fraction", [0.5, 0.9])
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("eps", [1e-2, 1e-4])
def test_the_papers_sum_lacks_its_remainder_and_nothing_else(
    depth: int, fraction: float, eps: float
) -> None:
    gains = fraction * PROBLEM.rho**depth
    exact = time_to_gain(PROBLEM, Network(depth=depth, eps=eps), Jepa(), gains)
    whole = laurent_time(PROBLEM, depth, eps) + laurent_remainder(PROBLEM, depth, eps, fraction)
    assert whole == pytest.approx(exact, rel=EXACT)


def test_how_good_the_papers_sum_is_alone() -> None:
    problem = Problem(np.ones(4), [0.95, 0.8, 0.65, 0.5])

    def misfit(depth: int, eps: float) -> np.ndarray:
        exact = time_to_gain(
            problem, Network(depth=depth, eps=eps), Jepa(), 0.5 * problem.rho**depth
        )
        return np.abs(laurent_time(problem, depth, eps) / exact - 1)

    assert max(misfit(depth, 1e-2)[:3].max() for depth in (1, 2, 3)) < 0.09
    assert max(misfit(depth, 1e-4).max() for depth in (2, 3, 5)) < 4e-4
    # x = 0.8: useless.
    assert misfit(5, 1e-2)[3] == pytest.approx(1.5, abs=0.05)


def test_gaps_of_jepa_diverge() -> None:
    for depth, expected in ((2, 1.0002), (3, 1.005), (5, 1.07)):
        times = critical_time(
            Problem([1.0, 1.0], [0.8, 0.4]), Network(depth=depth, eps=1e-9), Jepa()
        )
        ratio = (times[1] - times[0]) / jepa_gap(1.0, 0.8, 0.4, depth, 1e-9)
        assert ratio == pytest.approx(expected, abs=2e-3)


def test_the_gap_of_one_layer_grows_with_the_logarithm() -> None:
    gaps = []
    for eps in (1e-3, 1e-6):
        times = critical_time(Problem([2.0, 2.0], [0.8, 0.4]), Network(depth=1, eps=eps), Jepa())
        gaps.append((times[1] - times[0], jepa_gap(2.0, 0.8, 0.4, 1, eps)))
    # What is left besides the logarithm stays finite, so the differences agree.
    assert gaps[1][0] - gaps[0][0] == pytest.approx(gaps[1][1] - gaps[0][1], rel=1e-2)


def test_relative_gaps_of_jepa_vanish() -> None:
    """t*(rho')/t*(rho) = 1 + (2L-1)/(2L-2) u0 (1/rho' - 1/rho), not (rho/rho')^(2L-2)."""
    for depth, start in ((2, 1e-4), (3, 1e-4)):
        network = Network(depth=depth, eps=start**depth)
        times = critical_time(Problem([1.0, 1.0], [0.8, 0.4]), network, Jepa())
        slope = (2 * depth - 1) / (2 * depth - 2) * start * (1 / 0.4 - 1 / 0.8)
        assert times[1] / times[0] - 1 == pytest.approx(slope, rel=2e-3)


def test_constants_of_a_fixed_target() -> None:
    assert fixed_target_constant(2, 0.5) == pytest.approx(-1.118, abs=5e-4)
    assert fixed_target_constant(3, 0.5) == pytest.approx(-0.423, abs=5e-4)


@pytest.mark.parametrize("fraction", [0.5, 0.9])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_mae_is_its_first_term_and_a_constant(depth: int, fraction: float) -> None:
    eps, rho = 1e-12, PROBLEM.rho
    network = Network(depth=depth, eps=eps)
    gains = fraction * final_gain(PROBLEM, network, Mae())
    rest = time_to_gain(PROBLEM, network, Mae(), gains)
    rest -= leading_time(PROBLEM, depth, eps, moving_target=False)
    constant = fixed_target_constant(depth, fraction)
    constant /= PROBLEM.lambda_ * rho ** ((depth - 1) / (depth + 1))
    if depth == 1:
        constant += np.log(rho) / (2 * PROBLEM.lambda_)
    assert rest == pytest.approx(constant, abs=2e-3)


def test_gaps_of_an_mae_stay_finite() -> None:
    # -0.35 at L = 1: the noisier feature comes first, by little.
    assert mae_gap(1.0, 0.8, 0.4, 1, 0.5) == pytest.approx(-0.35, abs=5e-3)
    for depth in (1, 2, 3, 5):
        problem, network = Problem([1.0, 1.0], [0.8, 0.4]), Network(depth=depth, eps=1e-14)
        times = time_to_gain(problem, network, Mae(), 0.9 * final_gain(problem, network, Mae()))
        gap = mae_gap(1.0, 0.8, 0.4, depth, 0.9)
        assert times[1] - times[0] == pytest.approx(gap, abs=0.02)


@pytest.mark.parametrize(("depth", "expected"), [(2, 0.032), (3, 0.026), (5, 0.023)])
def test_the_exponent_in_rho_at_small_starts(depth: int, expected: float) -> None:
    network = Network(depth=depth, eps=(0.02 * 0.6) ** depth)
    kappa = rho_exponent(Problem([1.0], [0.6]), lambda p: critical_time(p, network, Jepa()))
    assert kappa[0] == pytest.approx(expected, abs=5e-4)
    assert kappa == pytest.approx(small_start_kappa(np.array([0.02]), depth), abs=2e-3)
    assert small_start_kappa(np.array([0.02]), 2) == pytest.approx(0.03)


# The delay is a limit too: 16.23/13.75 by the formula, 16.35/13.75 by integration at T = 1.
def test_a_fast_average_delays_all_features_alike() -> None:
    problem, network = Problem([0.8, 1.0], [0.9, 0.45]), Network(depth=3, eps=1e-3)
    gains = 0.9 * problem.rho**3
    jepa = time_to_gain(problem, network, Jepa(), gains)
    delay = fast_ema_delay(problem, 3, 1e-3, 1.0, 0.9)
    assert delay == pytest.approx([16.23, 13.75], abs=5e-3)
    found = hitting_times(problem, network, Ema(time=1.0), gains) - jepa
    assert found == pytest.approx([16.35, 13.75], abs=0.01)
    quicker = hitting_times(problem, network, Ema(time=0.1), gains) - jepa
    assert quicker == pytest.approx(delay / 10, rel=1e-3)


@pytest.mark.slow
def test_a_slow_average_decides_the_time_alone() -> None:
    """14.37/13.17 T; by integration 0.3 % above at T = 1e6 and 0.03 % at 1e7."""
    problem, network = Problem([0.8, 1.0], [0.9, 0.45]), Network(depth=3, eps=1e-3)
    limit = slow_ema_time(problem, 3, 1e-3, 1.0, 0.9)
    assert limit == pytest.approx([14.37, 13.17], abs=5e-3)
    gains = 0.9 * problem.rho**3
    for time, tolerance in ((1e6, 4e-3), (1e7, 4e-4)):
        found = hitting_times(problem, network, Ema(time=time), gains) / time
        assert found == pytest.approx(limit, rel=tolerance)
        assert np.all(found > limit)


def test_a_slow_average_learns_noisy_features_first() -> None:
    for eps, expected in ((1e-3, -0.13), (1e-2, -0.29)):
        kappa = rho_exponent(
            Problem([1.0], [0.6]), lambda p, eps=eps: slow_ema_time(p, 3, eps, 1.0, 0.9)
        )
        assert kappa[0] == pytest.approx(expected, abs=5e-3)


@pytest.mark.slow
def test_slower_averages_lose_the_order_of_jepa() -> None:
    problem, network = Problem([0.8, 1.0], [0.9, 0.45]), Network(depth=3, eps=1e-2)
    gains = 0.9 * problem.rho**3
    ratios = []
    for time in (1e-3, 10.0, 100.0, 1e3, 1e6):
        times = hitting_times(problem, network, Ema(time=time), gains)
        ratios.append(times[0] / times[1])
    assert ratios == pytest.approx([0.69, 0.74, 0.97, 1.18, 1.22], abs=6e-3)
    # The same by the progress from the start.
    progress = integrated_critical_time(problem, network, Ema(time=1e3))
    assert progress[0] / progress[1] == pytest.approx(1.136, abs=1e-3)


def test_limits_refuse_features_that_fall() -> None:
    for limit in (
        lambda eps: laurent_remainder(PROBLEM, 5, eps, 0.9),
        lambda eps: fast_ema_delay(PROBLEM, 5, eps, 1.0, 0.9),
        lambda eps: slow_ema_time(PROBLEM, 5, eps, 1.0, 0.9),
    ):
        assert np.all(np.isfinite(limit(0.49**5)))
        with pytest.raises(ConfigError, match="above the smallest rho, "):
            limit(0.51**5)
    with pytest.raises(ConfigError, match="depth is 1"):
        small_start_kappa(np.array([0.1]), 1)
