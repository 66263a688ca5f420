"""What methods would learn first, and what a stopped teacher passes on."""

import numpy as np
import pytest

from vsalt.linear.dynamics import hitting_times, integrate
from vsalt.linear.forecast import forecasts
from vsalt.linear.methods import Jepa, Mae, Network
from vsalt.linear.problem import Problem

NETWORK = Network(depth=3, eps=1e-2)
# Predictable and weak against noisy and strong, and one between.
PROBLEM = Problem([0.5, 1.0, 0.7], [0.95, 0.45, 0.6])


def test_orders_are_those_of_the_integrated_flow() -> None:
    found = {own.name: own for own in forecasts(PROBLEM, NETWORK)}
    assert list(found) == ["mae", "jepa", "salt"]
    for name, method in (("mae", Mae()), ("jepa", Jepa())):
        own = found[name]
        ends = NETWORK.eps + 0.9 * (own.gain - NETWORK.eps)
        times = hitting_times(PROBLEM, NETWORK, method, ends)
        assert own.times == pytest.approx(times, rel=1e-6)
        assert own.ranks == (np.argsort(np.argsort(times)) + 1).tolist()
    assert found["mae"].ranks == [3, 1, 2]
    assert found["mae"].earliness(PROBLEM.lambda_) == pytest.approx(1.0)
    assert found["mae"].earliness(PROBLEM.rho) == pytest.approx(-1.0)


def test_an_early_stop_loses_what_is_predictable_but_weak() -> None:
    early, late = (own.stop for own in forecasts(PROBLEM, NETWORK, [0.3, 1.0])[3:])
    assert early is not None
    assert late is not None
    assert early.passed_on.tolist() == [False, True, False]
    assert late.passed_on.all()
    assert late.time_share == 1.0
    flow = integrate(PROBLEM, NETWORK, Mae(), np.array([0.0, early.time]))
    assert early.gain == pytest.approx(flow.encoder[-1], rel=1e-6)


def test_features_below_the_start_are_never_learned() -> None:
    problem = Problem([1.0, 1.0, 1.0], [0.9, 0.5, 0.05])
    jepa = forecasts(problem, NETWORK)[1]
    assert jepa.ranks == [1, 2, None]
    assert forecasts(Problem([1.0], [0.5]), NETWORK)[0].earliness(np.ones(1)) is None


def test_there_is_no_order_where_nothing_is_learned() -> None:
    found = forecasts(Problem([1.0, 0.9, 0.8], [0.5, 0.6, 0.7]), Network(depth=1, eps=0.9), [0.5])
    assert [own.earliness(np.array([1.0, 2.0, 3.0])) for own in found] == [None] * 4
