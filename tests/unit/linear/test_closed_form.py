"""Fixed points and critical times as formulas."""

import mpmath
import numpy as np
import pytest
from scipy.integrate import quad

from vsalt.errors import ConfigError
from vsalt.linear.closed_form import (
    critical_time,
    final_gain,
    learned_gain,
    noise_gain,
    power_integral,
    time_to_gain,
)
from vsalt.linear.dynamics import integrate
from vsalt.linear.frozen import converged_teacher
from vsalt.linear.methods import Ema, Jepa, Mae, Method, Network, Salt
from vsalt.linear.problem import Problem
from vsalt.linear.tolerances import ALLOWED

# Exact times to four digits, lambda = 1 and p = 0.9 of the way, for the rho of RHO; derived in
# docs/explanation/linear-theory.md.
RHO = [0.95, 0.80, 0.65, 0.50]
TIMES = {
    (1, 1e-2): {
        "mae": [5.311, 5.225, 5.122, 4.992],
        "salt": [5.435, 5.78, 6.22, 6.817],
        "jepa": [105.9, 106.8, 108.1, 110.0],
    },
    (1, 1e-3): {
        "mae": [7.608, 7.522, 7.418, 7.287],
        "salt": [7.792, 8.347, 9.068, 10.06],
        "jepa": [1008, 1010, 1012, 1015],
    },
    (2, 1e-2): {
        "mae": [9.813, 9.801, 9.787, 9.767],
        "salt": [10.15, 11.36, 13.01, 15.44],
        "jepa": [400.6, 417.1, 443.6, 492.2],
    },
    (3, 1e-2): {
        "mae": [11.06, 11.08, 11.11, 11.16],
        "salt": [11.5, 13.13, 15.43, 18.94],
        "jepa": [611, 666.1, 767.4, 996.6],
    },
    (3, 1e-3): {
        "mae": [50.3, 50.33, 50.37, 50.42],
        "salt": [52.28, 59.53, 69.66, 84.99],
        "jepa": [2.308e4, 2.378e4, 2.49e4, 2.697e4],
    },
    (5, 1e-2): {
        "mae": [10.38, 10.43, 10.49, 10.59],
        "salt": [10.85, 12.63, 15.21, 19.31],
        "jepa": [854.3, 1048, 1547, 3523],
    },
    (5, 1e-3): {
        "mae": [63.28, 63.33, 63.41, 63.52],
        "salt": [66.05, 76.36, 91.02, 113.8],
        "jepa": [3.987e4, 4.344e4, 5.011e4, 6.707e4],
    },
    (5, 1e-4): {
        "mae": [396.7, 396.8, 396.9, 397],
        "salt": [414.1, 478, 568.5, 708],
        "jepa": [2.17e6, 2.269e6, 2.433e6, 2.756e6],
    },
}


def method_of(name: str, problem: Problem, network: Network) -> Method:
    if name == "salt":
        return Salt(converged_teacher(problem, network))
    return Mae() if name == "mae" else Jepa()


@pytest.mark.parametrize("name", ["mae", "salt", "jepa"])
@pytest.mark.parametrize(("depth", "eps"), TIMES)
def test_golden_times(depth: int, eps: float, name: str) -> None:
    problem, network = Problem(np.ones(4), RHO), Network(depth=depth, eps=eps)
    found = critical_time(problem, network, method_of(name, problem, network))
    assert [float(f"{time:.4g}") for time in found] == TIMES[depth, eps][name]


@pytest.mark.parametrize(
    ("depth", "eps", "mae", "salt", "jepa"),
    [
        (1, 1e-2, 0.940, 1.254, 1.038),
        (1, 1e-3, 0.958, 1.291, 1.006),
        (2, 1e-2, 0.995, 1.521, 1.229),
        (3, 1e-2, 1.009, 1.647, 1.631),
        (3, 1e-3, 1.002, 1.626, 1.169),
        (5, 1e-2, 1.019, 1.780, 4.124),
        (5, 1e-3, 1.004, 1.722, 1.682),
        (5, 1e-4, 1.001, 1.710, 1.270),
    ],
)
def test_golden_ratios_of_noisy_to_clean(
    depth: int, eps: float, mae: float, salt: float, jepa: float
) -> None:
    problem, network = Problem([1.0, 1.0], [0.5, 0.95]), Network(depth=depth, eps=eps)
    for name, expected in (("mae", mae), ("salt", salt), ("jepa", jepa)):
        times = critical_time(problem, network, method_of(name, problem, network))
        assert times[0] / times[1] == pytest.approx(expected, abs=5.1e-4), name


@pytest.mark.parametrize(
    ("low", "high"),
    [(1e-3, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 0.999), (0.5, 1 - 1e-9), (0.5, 1 - 1e-13)],
)
@pytest.mark.parametrize("predictor_depth", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [1, 2, 3, 5, 8])
def test_the_integral_is_that_of_mpmath(
    depth: int, predictor_depth: int, low: float, high: float
) -> None:
    whole = depth + predictor_depth
    for power, order in ((2 * depth + predictor_depth - 1, predictor_depth), (whole - 1, whole)):
        ends = power_integral(np.array([low, high]), power, order)
        # 1 - q^k has lost digits where q is near 1, but fewer than there are in between.
        reference = mp_integral(low, high, power, order)
        assert ends[1] - ends[0] == pytest.approx(reference, rel=1e-9 if high > 0.999 else 1e-13)


def mp_integral(low: float, high: float, power: int, order: int) -> float:
    with mpmath.workdps(25):
        a, b = mpmath.mpf(low), mpmath.mpf(high)
        middle = [mpmath.mpf("0.5")] if a < 0.5 < b else []

        def rest(q: mpmath.mpf) -> mpmath.mpf:
            # (q^-n - 1) / (1 - q^k) has no pole at 1, which is split off.
            return (q**-power - 1) / (1 - q**order) + sum_without_pole(q, order)

        def sum_without_pole(q: mpmath.mpf, order: int) -> mpmath.mpf:
            # 1/(1-q^k) - 1/(k(1-q)), by its common denominator.
            below = sum(q**j for j in range(order))
            above = sum(1 - q**j for j in range(order))
            return (
                above / (order * below * (1 - q)) if q != 1 else mpmath.mpf(order - 1) / 2 / order
            )

        smooth = mpmath.quad(rest, [a, *middle, b])
        return float(smooth + (mpmath.log(1 - a) - mpmath.log(1 - b)) / order)


@pytest.mark.parametrize("name", ["mae", "salt", "jepa"])
@pytest.mark.parametrize(("depth", "predictor_depth"), [(1, 1), (2, 3), (3, 1), (3, 4), (8, 2)])
def test_times_are_integrals_of_the_speed(name: str, depth: int, predictor_depth: int) -> None:
    problem = Problem([0.7, 1.3], [0.9, 2.5])
    network = Network(depth=depth, eps=0.05, predictor_depth=predictor_depth)
    method = method_of(name, problem, network)
    found = critical_time(problem, network, method)
    end = learned_gain(0.05, final_gain(problem, network, method)) ** (1 / depth)
    for index in range(2):
        teacher = method.gain[index] if isinstance(method, Salt) else 1.0

        def slowness(u: float, index: int = index, teacher: float = teacher) -> float:
            goal = u**depth if name == "jepa" else teacher
            whole = depth + predictor_depth
            residual = goal * problem.lambda_[index] - problem.variance[index] * u**whole
            return 1 / (u ** (whole - 1) * residual)

        reference = quad(slowness, network.layer_start, end[index], epsabs=0, epsrel=1e-11)[0]
        assert found[index] == pytest.approx(reference, rel=1e-9)


@pytest.mark.parametrize("predictor_depth", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_fixed_points_of_deeper_predictors(depth: int, predictor_depth: int) -> None:
    problem, L, P = Problem([1.0, 0.5], [0.9, 0.6]), depth, predictor_depth
    network = Network(depth=L, eps=1e-2, predictor_depth=P)
    teacher = Salt(np.array([0.8, 0.4]))
    assert final_gain(problem, network, Mae()) == pytest.approx(problem.rho ** (L / (L + P)))
    assert final_gain(problem, network, Jepa()) == pytest.approx(problem.rho ** (L / P))
    assert final_gain(problem, network, Ema(time=3.0)) == pytest.approx(problem.rho ** (L / P))
    salt = (teacher.gain * problem.rho) ** (L / (L + P))
    assert final_gain(problem, network, teacher) == pytest.approx(salt)


@pytest.mark.parametrize("rate", [0.5, 3.0, 10.0])
def test_a_quick_predictor_shrinks_the_encoder(rate: float) -> None:
    problem, network = Problem([1.0], [0.7]), Network(depth=3, eps=1e-3, predictor_rate=rate)
    expected = (0.7 / np.sqrt(rate)) ** 3
    assert final_gain(problem, network, Jepa()) == pytest.approx(expected)
    end = integrate(problem, network, Jepa(), np.array([1e9])).encoder[-1]
    assert end == pytest.approx(expected, rel=ALLOWED["fixed point"])


# Where rho² is below v0² - u0², JEPA's features collapse: at u0 = 0.1, v0 = 0.65, below 0.6423.
@pytest.mark.parametrize("start", [0.0, 0.05, 0.1, 0.3, 0.65, 1.0])
@pytest.mark.parametrize("depth", [1, 2])
def test_map_of_collapse(depth: int, start: float) -> None:
    problem = Problem(np.ones(6), [0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
    network = Network(depth=depth, eps=0.1**depth, predictor_start=start)
    surplus = start**2 - 0.01
    kept = problem.rho**2 > surplus
    jepa = final_gain(problem, network, Jepa())
    assert (jepa > 0).tolist() == kept.tolist()
    layers = np.sqrt(np.maximum(problem.rho**2 - surplus, 0))
    assert jepa == pytest.approx(layers**depth)
    end = integrate(problem, network, Jepa(), np.array([1e8])).encoder[-1]
    assert end[kept] == pytest.approx(jepa[kept], rel=ALLOWED["fixed point"])
    assert np.all(end[~kept] < 0.1**depth)  # below the start, still falling
    for method in (Mae(), Salt(problem.rho**0.5)):
        gains = final_gain(problem, network, method)
        run = integrate(problem, network, method, np.array([1e8]))
        assert run.encoder[-1] == pytest.approx(gains, rel=ALLOWED["fixed point"])
        target = problem.rho * (method.gain if isinstance(method, Salt) else 1.0)
        assert run.predictor[-1] * run.encoder[-1] == pytest.approx(target, rel=1e-9)


def test_numbers_of_the_collapse() -> None:
    problem = Problem(np.ones(3), [0.5, 0.6, 0.7])
    network = Network(depth=1, eps=0.1, predictor_start=0.65)
    assert final_gain(problem, network, Jepa()).round(3).tolist() == [0, 0, 0.278]
    whole = Network(depth=1, eps=0.1, predictor_start=1.0)
    assert np.all(final_gain(problem, whole, Jepa()) == 0)
    nothing = Network(depth=1, eps=0.1, predictor_start=0.0)
    assert final_gain(problem, nothing, Jepa()) == pytest.approx(np.sqrt(problem.rho**2 + 0.01))


@pytest.mark.parametrize("start", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("method", [Mae(), Jepa(), Salt(np.array([0.5])), Ema(time=1.0)])
def test_noise_ends_where_the_smaller_of_the_two_starts_dies_out(
    method: Method, start: float
) -> None:
    problem = Problem.from_variances([0.0], [2.0])
    network = Network(depth=2, eps=0.01, predictor_start=start)
    expected = max(0.0, 0.01 - start**2)
    assert final_gain(problem, network, method) == pytest.approx([expected])
    end = integrate(problem, network, method, np.array([1e8])).encoder[-1]
    assert end == pytest.approx([expected], abs=1e-6)


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.99])
def test_the_progress_is_measured_from_the_start(fraction: float) -> None:
    final = np.array([0.5, 0.02])
    gains = learned_gain(0.01, final, fraction)
    assert (gains - 0.01) / (final - 0.01) == pytest.approx([fraction] * 2)


def test_features_that_start_at_or_above_their_end_are_never_learned() -> None:
    problem = Problem.from_variances([0.0, 0.3, 1.0, 0.5], [1.0, 1.0, 1.0, 1.0])
    network = Network(depth=3, eps=0.3**3)
    times = critical_time(problem, network, Jepa())
    assert times[[0, 1]].tolist() == [np.inf, np.inf]
    assert np.all(np.isfinite(times[[2, 3]]))
    assert critical_time(problem, network, Mae())[0] == np.inf
    assert critical_time(problem, network, Salt(np.zeros(4))).tolist() == [np.inf] * 4


@pytest.mark.parametrize("nearness", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("depth", [1, 3, 5])
def test_starts_just_below_the_end(depth: int, nearness: float) -> None:
    """From a start near the end, progress p takes ln(1/(1-p)) of the time of its last part."""
    problem = Problem([1.0], [0.6])
    network = Network(depth=depth, eps=0.6**depth * (1 - nearness))
    time = critical_time(problem, network, Jepa())
    rate = problem.variance[0] * 0.6 ** (2 * depth)
    assert time[0] * rate == pytest.approx(np.log(10), rel=10 * nearness + 1e-8)


@pytest.mark.parametrize("name", ["mae", "salt", "jepa"])
def test_rho_may_exceed_one(name: str) -> None:
    problem, network = Problem([1.0, 2.0], [1.0, 3.0]), Network(depth=2, eps=1e-2)
    method = method_of(name, problem, network)
    end = integrate(problem, network, method, np.array([1e5])).encoder[-1]
    assert end == pytest.approx(final_gain(problem, network, method), rel=1e-6)
    assert np.all(np.isfinite(critical_time(problem, network, method)))


def test_lambda_and_scale_only_change_the_clock() -> None:
    network = Network(depth=3, eps=1e-3)
    once, twice = Problem([1.0, 1.0], [0.9, 0.4]), Problem([2.0, 2.0], [0.9, 0.4])
    for method in (Mae(), Jepa(), Salt(np.array([0.9, 0.5]))):
        half = critical_time(twice, network, method)
        assert critical_time(once, network, method) == pytest.approx(2 * half, rel=1e-13)


def test_formulas_refuse_what_they_do_not_hold_for() -> None:
    problem, gains = Problem([1.0], [0.5]), np.array([0.3])
    uneven = Network(depth=2, eps=0.01, predictor_rate=2.0)
    with pytest.raises(ConfigError, match="layers that all start and learn alike"):
        time_to_gain(problem, uneven, Mae(), gains)
    with pytest.raises(ConfigError, match="layers that all start and learn alike"):
        noise_gain(problem.variance, uneven, gains)
    with pytest.raises(ConfigError, match="integrate it"):
        critical_time(problem, Network(depth=2, eps=0.01), Ema(time=1.0))
    with pytest.raises(ConfigError, match="2 gains for 1 features"):
        critical_time(problem, Network(depth=2, eps=0.01), Salt(np.ones(2)))
    with pytest.raises(ConfigError, match="2 gains for 1 features"):
        final_gain(problem, uneven, Salt(np.ones(2)))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_learned_is_a_share_of_the_way(fraction: float) -> None:
    with pytest.raises(ConfigError, match=f"fraction is {fraction}"):
        critical_time(Problem([1.0], [0.5]), Network(depth=2, eps=0.01), Mae(), fraction=fraction)
