"""Trained matrices against the gradient flow of single features and its closed forms."""

import numpy as np
import pytest

from vsalt.errors import ConfigError, NonFiniteError
from vsalt.linear.closed_form import critical_time, final_gain, learned_gain
from vsalt.linear.covariances import Covariances
from vsalt.linear.descent import FrozenTeacher, MatrixMethod
from vsalt.linear.dynamics import integrate
from vsalt.linear.generative import TwoViews
from vsalt.linear.initialisations import (
    Aligned,
    Gaussian,
    Initialisation,
    Orthogonal,
    random_orthogonal,
)
from vsalt.linear.methods import Ema, Jepa, Mae, Method, Network, Salt
from vsalt.linear.networks import TrainedRun, hitting_times, train
from vsalt.linear.problem import Problem

PROBLEM = Problem([1.0, 0.7, 0.5, 1.2, 0.9, 0.4], [0.9, 0.8, 0.95, 0.5, 0.6, 0.7])
T = np.array([0.9, 0.5, 0.7, 1.1, 0.8, 0.6])
METHODS: dict[str, Method] = {
    "mae": Mae(),
    "jepa": Jepa(),
    "salt": Salt(T),
    "ema": Ema(time=1.0),
}


def late(method: Method, depth: int) -> float:
    """A time after which most features are learned from eps = 0.05."""
    return {1: 30.0, 2: 60.0, 3: 80.0}[depth] if isinstance(method, Jepa | Ema) else 20.0


def deviation(network: Network, method: Method, learning_rate: float) -> tuple[float, TrainedRun]:
    """Return the largest |m_GD - m_ODE| / m* over features and times."""
    times = np.linspace(0, late(method, network.depth), 9)
    run = train(PROBLEM, network, method, learning_rate=learning_rate, times=times)
    flow = integrate(PROBLEM, network, method, times)
    final = final_gain(PROBLEM, network, method)
    return float((np.abs(run.encoder - flow.encoder) / final).max()), run


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_matrices_follow_the_flow_the_closer_the_smaller_the_steps(name: str, depth: int) -> None:
    network = Network(depth=depth, eps=0.05)
    error, run = deviation(network, METHODS[name], 0.04)
    smaller, _ = deviation(network, METHODS[name], 0.02)
    assert smaller < 2e-2
    # Of first order in the learning rate, so about half; EMA's changes its sign at L = 1.
    assert smaller < 0.7 * error
    assert run.drift.max() < 1e-4
    assert run.encoder[-1].max() > 4 * network.eps  # something was learned


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jepa", "ema"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_matrices_follow_the_flow_through_a_long_plateau(name: str, depth: int) -> None:
    network = Network(depth=depth, eps=0.01)
    method = METHODS[name]
    times = np.linspace(0, {1: 400, 2: 1200, 3: 2000}[depth], 40)
    run = train(PROBLEM, network, method, learning_rate=0.01, times=times)
    flow = integrate(PROBLEM, network, method, times)
    final = final_gain(PROBLEM, network, method)
    assert (np.abs(run.encoder - flow.encoder) / final).max() < 1e-2
    np.testing.assert_allclose(run.encoder[-1], final, rtol=0.01)
    assert run.drift.max() < 1e-4


def test_a_run_records_what_the_flow_records() -> None:
    network = Network(depth=2, eps=0.05, predictor_depth=2, predictor_rate=0.5)
    times = np.array([0.0, 3.0, 9.0, 27.0])
    for method in METHODS.values():
        run = train(PROBLEM, network, method, learning_rate=0.01, times=times)
        flow = integrate(PROBLEM, network, method, times)
        np.testing.assert_allclose(run.times, times, atol=1e-12)
        np.testing.assert_allclose(run.encoder, flow.encoder, atol=1e-2)
        np.testing.assert_allclose(run.predictor, flow.predictor, atol=1e-2)
        np.testing.assert_allclose(run.target, flow.target, atol=1e-2)


def test_times_are_whole_steps() -> None:
    run = train(
        PROBLEM, Network(depth=1, eps=0.1), Mae(), learning_rate=0.1, times=np.array([0.0, 0.26])
    )
    np.testing.assert_allclose(run.times, [0.0, 0.3])
    np.testing.assert_allclose(run.encoder[0], 0.1)


@pytest.mark.parametrize("predictor_depth", [1, 2])
@pytest.mark.parametrize("predictor_rate", [1.0, 0.5])
@pytest.mark.parametrize("name", ["mae", "jepa", "salt"])
def test_descent_ends_at_the_fixed_point(
    name: str, predictor_depth: int, predictor_rate: float
) -> None:
    network = Network(
        depth=2, eps=0.2, predictor_depth=predictor_depth, predictor_rate=predictor_rate
    )
    run = train(PROBLEM, network, METHODS[name], learning_rate=0.04, times=np.array([130.0]))
    np.testing.assert_allclose(
        run.encoder[-1], final_gain(PROBLEM, network, METHODS[name]), rtol=1e-6
    )
    target = 1.0 if name == "mae" else run.target[-1]
    product = run.encoder[-1] * run.predictor[-1]
    np.testing.assert_allclose(product, target * PROBLEM.rho, rtol=1e-6)


def test_a_strong_predictor_lets_jepa_collapse_and_spares_salt() -> None:
    # rho² < v0² - u0² = 0.4125 for rho = 0.5 and 0.6.
    network = Network(depth=1, eps=0.1, predictor_start=0.65)
    jepa = train(PROBLEM, network, Jepa(), learning_rate=0.02, times=np.array([200.0]))
    np.testing.assert_allclose(
        jepa.encoder[-1], final_gain(PROBLEM, network, Jepa()), rtol=0.02, atol=0.01
    )
    assert jepa.encoder[-1, 3] < 1e-3
    salt = train(PROBLEM, network, Salt(T), learning_rate=0.02, times=np.array([60.0]))
    np.testing.assert_allclose(salt.encoder[-1] * salt.predictor[-1], T * PROBLEM.rho, rtol=1e-6)


def test_a_predictor_that_starts_at_zero_learns() -> None:
    network = Network(depth=1, eps=0.1, predictor_start=0.0)
    run = train(PROBLEM, network, Jepa(), learning_rate=0.01, times=np.array([0.0, 150.0]))
    np.testing.assert_array_equal(run.predictor[0], 0)
    np.testing.assert_allclose(run.encoder[-1], np.sqrt(PROBLEM.rho**2 + 0.01), rtol=2e-3)
    # Layers that do not start alike drift, by an amount of the order of the learning rate.
    assert 1e-6 < run.drift[-1] < 5e-3


def test_salt_with_a_teacher_of_ones_is_an_mae_bit_for_bit() -> None:
    for network in (Network(depth=2, eps=0.1), Network(depth=1, eps=0.1, predictor_depth=2)):
        times = np.linspace(0, 20, 5)
        mae = train(PROBLEM, network, Mae(), learning_rate=0.01, times=times)
        salt = train(PROBLEM, network, Salt(np.ones(6)), learning_rate=0.01, times=times)
        teacher = FrozenTeacher(np.eye(6))
        frozen = train(PROBLEM, network, teacher, learning_rate=0.01, times=times)
        np.testing.assert_array_equal(salt.encoders, mae.encoders)
        np.testing.assert_array_equal(frozen.encoders, mae.encoders)


def test_an_average_without_memory_is_jepa_bit_for_bit() -> None:
    network, times = Network(depth=2, eps=0.1), np.linspace(0, 20, 5)
    jepa = train(PROBLEM, network, Jepa(), learning_rate=0.01, times=times)
    ema = train(PROBLEM, network, Ema(time=0.01), learning_rate=0.01, times=times)
    np.testing.assert_array_equal(ema.encoders, jepa.encoders)


@pytest.mark.parametrize("init", [Aligned(), Orthogonal(), Orthogonal(width=9)], ids=repr)
@pytest.mark.parametrize("is_rotated", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_features_stay_decoupled_in_any_basis_and_orientation(
    init: Initialisation, is_rotated: bool, name: str
) -> None:
    rng = np.random.default_rng(0)
    basis = random_orthogonal((6, 6), rng) if is_rotated else np.eye(6)
    network = Network(depth=2, eps=0.1, predictor_depth=2)
    times = np.linspace(0, 10, 3)
    plain = train(PROBLEM, network, METHODS[name], learning_rate=0.02, times=times)
    data = Covariances.of(PROBLEM, basis)
    turned = train(
        data, network, METHODS[name], learning_rate=0.02, times=times, init=init, rng=rng
    )
    np.testing.assert_allclose(turned.encoder, plain.encoder, rtol=1e-9)
    np.testing.assert_allclose(turned.predictor, plain.predictor, rtol=1e-9)
    np.testing.assert_allclose(turned.target, plain.target, rtol=1e-9)


def test_an_mae_ends_at_the_regression_of_its_samples() -> None:
    # No alignment: whatever the start, V W is the least-squares solution.
    x, y = TwoViews.of(PROBLEM).sample(500, np.random.default_rng(0))
    run = train(
        Covariances.of_samples(x, y),
        Network(depth=1, eps=0.3),
        Mae(),
        learning_rate=0.05,
        times=np.array([200.0]),
        init=Gaussian(width=12),
        rng=np.random.default_rng(1),
    )
    whole = run.weights.predictor[0] @ run.weights.encoder[0]
    np.testing.assert_allclose(whole.T, np.linalg.lstsq(x, y)[0], atol=1e-6)


@pytest.mark.parametrize("name", ["mae", "jepa", "salt"])
def test_features_are_learned_at_the_exact_time(name: str) -> None:
    method: MatrixMethod = METHODS[name]
    network = Network(depth=2, eps=0.1)
    gains = learned_gain(0.1, final_gain(PROBLEM, network, METHODS[name]))
    found = hitting_times(PROBLEM, network, method, gains, learning_rate=0.01, limit=300.0)
    np.testing.assert_allclose(found, critical_time(PROBLEM, network, METHODS[name]), rtol=5e-3)


def test_what_is_never_learned_takes_forever_and_what_is_known_no_time() -> None:
    network = Network(depth=1, eps=0.1)
    gains = np.array([0.05, 0.1, 0.5, 0.9, 0.5, 0.5])  # rho^(1/2) of the fourth is 0.71
    found = hitting_times(PROBLEM, network, Mae(), gains, learning_rate=0.01, limit=20.0)
    assert found[:2].tolist() == [0, 0]
    assert found[3] == np.inf
    assert np.all((found[[2, 4, 5]] > 0) & (found[[2, 4, 5]] < 20))


def test_given_weights_are_trained_and_left_as_they_are() -> None:
    network, times = Network(depth=1, eps=0.1), np.array([0.0, 5.0, 10.0])
    whole = train(PROBLEM, network, Jepa(), learning_rate=0.01, times=times)
    half = train(PROBLEM, network, Jepa(), learning_rate=0.01, times=times[:2])
    before = half.weights.encoder[0].copy()
    rest = train(PROBLEM, network, Jepa(), learning_rate=0.01, times=times[:2], init=half.weights)
    np.testing.assert_array_equal(rest.encoders, whole.encoders[1:])
    np.testing.assert_array_equal(half.weights.encoder[0], before)


def test_too_large_steps_are_an_error() -> None:
    settings = {"learning_rate": 8.0, "limit": 800.0}
    network = Network(depth=1, eps=0.1)
    with pytest.raises(NonFiniteError, match="lower learning_rate"):
        train(PROBLEM, network, Mae(), learning_rate=8.0, times=np.array([800.0]))
    with pytest.raises(NonFiniteError, match="lower learning_rate"):
        hitting_times(PROBLEM, network, Mae(), np.full(6, np.inf), **settings)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        (Mae(), {"learning_rate": 0.0}, "learning_rate is 0"),
        (Ema(time=0.001), {}, "an average of time 0.001"),
        (Salt(np.ones(5)), {}, "5 gains for 6 features"),
        (FrozenTeacher(np.ones((6, 5))), {}, "takes 6 inputs"),
        (Mae(), {"times": np.array([1.0, 0.5])}, "times must be a list"),
        (Mae(), {"times": np.array([])}, "times must be a list"),
        (Mae(), {"init": Orthogonal()}, "needs rng"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    method: MatrixMethod, changes: dict[str, object], message: str
) -> None:
    settings = {"learning_rate": 0.01, "times": np.array([1.0])} | changes
    with pytest.raises(ConfigError, match=message):
        train(PROBLEM, Network(depth=1, eps=0.1), method, **settings)  # type: ignore[arg-type]


def test_weights_of_another_network_are_refused() -> None:
    weights = Aligned().draw(Network(depth=2, eps=0.1), 5, None, None)
    for network, message in (
        (Network(depth=1, eps=0.1), "2 layers and 1"),
        (Network(depth=2, eps=0.1), "takes 5 values, not 6"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(PROBLEM, network, Jepa(), learning_rate=0.1, times=np.ones(1), init=weights)
