"""The gradient flow of a feature."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from vsalt.errors import ConfigError
from vsalt.linear import dynamics
from vsalt.linear.closed_form import (
    critical_time,
    final_gain,
    learned_gain,
    noise_gain,
    time_to_gain,
)
from vsalt.linear.dynamics import hitting_times, integrate, integrated_critical_time
from vsalt.linear.frozen import converged_teacher
from vsalt.linear.methods import Ema, Jepa, Mae, Method, Network, Salt
from vsalt.linear.problem import Problem
from vsalt.linear.tolerances import ALLOWED, EXACT

PROBLEM = Problem([1.0, 0.6, 1.2, 0.8], [0.95, 0.8, 0.65, 0.5])
METHODS = [Mae(), Jepa(), Salt(np.array([0.9, 0.7, 0.5, 0.6])), Ema(time=2.0)]
IDS = ["mae", "jepa", "salt", "ema"]
LONG = np.array([1e6])


@pytest.mark.parametrize("method", METHODS, ids=IDS)
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_features_end_at_their_fixed_point(method: Method, depth: int) -> None:
    gains = {
        Mae: PROBLEM.rho ** (depth / (depth + 1)),
        Jepa: PROBLEM.rho**depth,
        Ema: PROBLEM.rho**depth,
        Salt: (METHODS[2].gain * PROBLEM.rho) ** (depth / (depth + 1)),
    }[type(method)]
    end = integrate(PROBLEM, Network(depth=depth, eps=1e-2), method, LONG)
    assert end.encoder[-1] == pytest.approx(gains, rel=ALLOWED["fixed point"])
    # V W = g rho.
    product = end.predictor[-1] * end.encoder[-1]
    assert product == pytest.approx(end.target[-1] * PROBLEM.rho, rel=ALLOWED["fixed point"])


@pytest.mark.parametrize("predictor_depth", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("method", METHODS[:3], ids=IDS[:3])
def test_exact_times_are_those_of_the_ode(method: Method, depth: int, predictor_depth: int) -> None:
    network = Network(depth=depth, eps=3e-2, predictor_depth=predictor_depth)
    exact = critical_time(PROBLEM, network, method)
    found = integrated_critical_time(PROBLEM, network, method)
    assert found == pytest.approx(exact, rel=ALLOWED["critical time"])


@pytest.mark.parametrize(("depth", "eps"), [(1, 1e-9), (2, 1e-9), (3, 1e-6)])
def test_small_starts_cost_no_accuracy(depth: int, eps: float) -> None:
    network = Network(depth=depth, eps=eps)
    found = integrated_critical_time(PROBLEM, network, Mae())
    assert found == pytest.approx(critical_time(PROBLEM, network, Mae()), rel=1e-8)


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_it_is_the_equation_of_the_encoder(method: Method) -> None:
    """dm/dt = L [g lambda m^(2-1/L) - (lambda/rho) m^3] for equal layers, by differences."""
    depth = 3
    around = np.array([2.9999, 3.0, 3.0001])
    run = integrate(PROBLEM, Network(depth=depth, eps=0.05), method, around)
    slope = (run.encoder[2] - run.encoder[0]) / 2e-4
    m, g = run.encoder[1], run.target[1]
    pull = g * PROBLEM.lambda_ * m ** (2 - 1 / depth) - PROBLEM.variance * m**3
    assert slope == pytest.approx(depth * pull, rel=1e-5)
    if isinstance(method, Jepa):
        assert g == pytest.approx(m, rel=1e-12)


@pytest.mark.slow
def test_another_solver_in_other_variables_agrees() -> None:
    """EMA in logarithms of the gains, by an implicit Runge-Kutta method."""
    network, method, depth = Network(depth=2, eps=1e-2), Ema(time=5.0), 2
    times = np.array([0.0, 50.0, 200.0, 400.0])
    run = integrate(PROBLEM, network, method, times)
    for index in range(len(PROBLEM)):
        lambda_, variance = PROBLEM.lambda_[index], PROBLEM.variance[index]

        def slope(_: float, logs: np.ndarray, lambda_=lambda_, variance=variance) -> list[float]:
            u, xi = np.exp(logs)
            pull = u ** (depth - 1) * (xi**depth * lambda_ - variance * u ** (depth + 1))
            return [pull, (u / xi - 1) / method.time]

        start = [np.log(network.layer_start)] * 2
        other = solve_ivp(
            slope, (0, 400), start, method="Radau", t_eval=times, rtol=1e-10, atol=1e-11
        )
        assert run.encoder[:, index] == pytest.approx(np.exp(depth * other.y[0]), rel=1e-7)


@pytest.mark.parametrize("method", METHODS, ids=IDS)
@pytest.mark.parametrize(("rate", "start"), [(1.0, None), (1.0, 0.5), (3.0, 0.05), (0.5, 0.0)])
def test_the_surplus_of_the_predictor_is_conserved(
    method: Method, rate: float, start: float | None
) -> None:
    network = Network(depth=2, eps=0.04, predictor_rate=rate, predictor_start=start)
    run = integrate(PROBLEM, network, method, np.geomspace(1e-3, 1e5, 40))
    u_squared = run.encoder
    surplus = run.predictor**2 - rate * u_squared
    expected = network.predictor_layer_start**2 - rate * 0.04
    assert np.abs(surplus - expected).max() < ALLOWED["conservation"]


def test_a_teacher_that_passes_everything_on_makes_an_mae() -> None:
    network = Network(depth=3, eps=1e-2)
    times = np.linspace(0.0, 60.0, 30)
    salt, mae = (integrate(PROBLEM, network, m, times) for m in (Salt(np.ones(4)), Mae()))
    assert np.abs(salt.encoder / mae.encoder - 1).max() <= EXACT
    assert np.abs(salt.predictor / mae.predictor - 1).max() <= EXACT


def test_salt_is_an_mae_of_the_problem_seen_through_its_teacher() -> None:
    network, times = Network(depth=3, eps=1e-2), np.linspace(0.0, 60.0, 30)
    gain = converged_teacher(PROBLEM, Network(depth=2, eps=1e-2))
    salt = integrate(PROBLEM, network, Salt(gain), times)
    mae = integrate(PROBLEM.seen_through(gain), network, Mae(), times)
    assert salt.encoder == pytest.approx(mae.encoder, rel=1e-9)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_a_fast_average_is_jepa(depth: int) -> None:
    network = Network(depth=depth, eps=1e-2)
    found = integrated_critical_time(PROBLEM, network, Ema(time=1e-4))
    exact = critical_time(PROBLEM, network, Jepa())
    assert found == pytest.approx(exact, rel=ALLOWED["fast EMA is JEPA"])
    assert np.all(found > exact)


@pytest.mark.parametrize("method", [*METHODS[:2], Salt(np.array([0.5, 0.5])), METHODS[3]], ids=IDS)
@pytest.mark.parametrize(("depth", "predictor_depth"), [(1, 1), (2, 1), (3, 1), (2, 2)])
def test_noise_decays_by_a_power_of_time(method: Method, depth: int, predictor_depth: int) -> None:
    problem = Problem.from_variances([0.0, 0.0], [0.5, 3.0])
    network = Network(depth=depth, eps=0.1, predictor_depth=predictor_depth)
    times = np.array([0.0, 1.0, 100.0, 1e4])
    run = integrate(problem, network, method, times)
    expected = noise_gain(problem.variance, network, times)
    assert run.encoder == pytest.approx(expected, rel=1e-8)
    if predictor_depth == 1:
        u0 = 0.1 ** (1 / depth)
        growth = 2 * depth * 3.0 * u0 ** (2 * depth) * times
        layers = u0 * (1 + growth) ** (-1 / (2 * depth))
        assert expected[:, 1] == pytest.approx(layers**depth, rel=1e-12)


def test_features_above_their_fixed_point_fall_and_are_never_learned() -> None:
    problem = Problem([1.0, 1.0], [0.3, 0.9])
    network = Network(depth=5, eps=0.01)  # u0 = 0.398, above the first rho
    times = integrated_critical_time(problem, network, Jepa())
    assert times[0] == np.inf
    assert np.isfinite(times[1])
    curve = integrate(problem, network, Jepa(), np.array([0.0, 10.0, 1e7])).encoder[:, 0]
    assert curve[0] > curve[1] > curve[2]
    assert curve[2] == pytest.approx(0.3**5, rel=1e-6)


def test_times_to_gains_not_above_the_start_are_zero_and_unreachable_ones_infinite() -> None:
    network = Network(depth=2, eps=1e-2)
    problem = Problem([1.0, 1.0, 1.0], [0.8, 0.8, 0.8])
    gains = np.array([0.005, 0.5, 0.99])
    found = hitting_times(problem, network, Mae(), gains)
    exact = time_to_gain(problem, network, Mae(), gains)
    assert found[0] == exact[0] == 0.0
    assert found[1] == pytest.approx(exact[1], rel=1e-8)
    assert found[2] == exact[2] == np.inf
    late = hitting_times(problem, network, Mae(), np.array([0.5]), limit=exact[1] * 0.99)
    assert late.tolist() == [np.inf] * 3


def test_the_first_crossing_counts() -> None:
    """A slow average lets the student rise, and a gain may be passed long before the end."""
    problem, network = Problem([1.0], [1.5]), Network(depth=2, eps=1e-2)
    gain = learned_gain(1e-2, final_gain(problem, network, Mae()), 0.5)
    time = hitting_times(problem, network, Mae(), gain)
    run = integrate(problem, network, Mae(), np.array([time[0] * 0.999, time[0] * 1.001]))
    assert run.encoder[0, 0] < gain[0] < run.encoder[1, 0]


def test_the_start_alone_can_be_asked_for() -> None:
    run = integrate(PROBLEM, Network(depth=2, eps=1e-2), Jepa(), np.array([0.0]))
    assert run.encoder == pytest.approx(np.full((1, 4), 1e-2))
    assert run.target == pytest.approx(np.full((1, 4), 1e-2))


@pytest.mark.parametrize(
    "times", [[1.0, 0.5], [-1.0, 1.0], [], [1.0, 1.0], [np.nan], [1.0, np.inf]]
)
def test_times_must_rise_from_zero(times: list[float]) -> None:
    with pytest.raises(ConfigError, match="times must be finite, at least 0 and rise"):
        integrate(PROBLEM, Network(depth=1, eps=0.1), Mae(), np.array(times))


def test_gains_for_other_features_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 gains for 4 features"):
        integrate(PROBLEM, Network(depth=1, eps=0.1), Salt(np.ones(2)), np.array([1.0]))


@pytest.mark.parametrize("gains", [[0.3, 0.4], [[0.3] * 4], [np.nan], [np.inf] * 4])
def test_gains_to_reach_are_numbers_for_features(gains: list) -> None:
    with pytest.raises(ConfigError, match="one finite number, or one for each of 4 features"):
        hitting_times(PROBLEM, Network(depth=1, eps=0.1), Mae(), np.array(gains))


def test_an_integration_that_fails_is_no_feature_that_is_never_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed = SimpleNamespace(success=False, message="repeated failures", t_events=[np.array([])])
    monkeypatch.setattr(dynamics, "solve_ivp", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match="feature 0: repeated failures"):
        integrated_critical_time(PROBLEM, Network(depth=1, eps=0.1), Mae())
    with pytest.raises(RuntimeError, match="feature 0: repeated failures"):
        integrate(PROBLEM, Network(depth=1, eps=0.1), Mae(), np.array([1.0]))
