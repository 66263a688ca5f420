"""Numbers that the page compares with its own when it is opened."""

from typing import Any, TypeAlias

import numpy as np

from vsalt.linear.closed_form import critical_time, final_gain, learned_gain
from vsalt.linear.dynamics import hitting_times
from vsalt.linear.frozen import stopped_teacher
from vsalt.linear.methods import Ema, Jepa, Mae, Method, Network, Salt
from vsalt.linear.problem import Problem

Row: TypeAlias = dict[str, Any]
"""One comparison: feature, network, method, what is expected and the relative error allowed."""

EXACT = 1e-9
"""Relative error allowed for formulas: both sides keep 12 digits or more."""
INTEGRATED = 1e-6
"""Relative error allowed for the moving average, which the page integrates to 1e-8 per step."""
_FRACTION = 0.9
_FEATURES = ((1.0, 0.95), (0.7, 0.5), (0.5, 0.2))
_NETWORKS = tuple(
    Network(depth=depth, eps=eps, predictor_depth=predictor_depth)
    for depth, eps, predictor_depth in ((1, 1e-3, 1), (3, 1e-2, 1), (5, 1e-4, 2), (8, 1e-1, 1))
)


def self_test_rows() -> list[Row]:
    """Return the rows of the table; null stands for a time that is never reached."""
    rows = []
    for network in _NETWORKS:
        for lambda_, rho in _FEATURES:
            problem = Problem([lambda_], [rho])
            for method in (Mae(), Jepa(), Salt(np.array([0.6]))):
                rows.append(_exact_row(problem, network, method))
        rows.append(_teacher_row(Problem([0.7], [0.5]), network, 3.0))
    for time in (0.1, 10.0, 1e5):
        rows.append(_average_row(Problem([0.8], [0.9]), _NETWORKS[1], time))
    return rows


def _exact_row(problem: Problem, network: Network, method: Method) -> Row:
    (time,) = critical_time(problem, network, method, fraction=_FRACTION)
    (final,) = final_gain(problem, network, method)
    gain = float(method.gain[0]) if isinstance(method, Salt) else None
    return {
        **_setting(problem, network, type(method).__name__.lower(), EXACT),
        "method": {"kind": type(method).__name__.lower(), "gain": gain},
        "time": float(time) if np.isfinite(time) else None,
        "final": float(final),
    }


def _teacher_row(problem: Problem, network: Network, time: float) -> Row:
    (gain,) = stopped_teacher(problem, network, time)
    return {
        **_setting(problem, network, "teacher", EXACT),
        "stop": time,
        "gain": float(gain),
    }


def _average_row(problem: Problem, network: Network, average: float) -> Row:
    method = Ema(time=average)
    gains = learned_gain(network.eps, final_gain(problem, network, method), _FRACTION)
    (time,) = hitting_times(problem, network, method, gains)
    return {
        **_setting(problem, network, "ema", INTEGRATED),
        "average": average,
        "time": float(time),
    }


def _setting(problem: Problem, network: Network, kind: str, allowed: float) -> Row:
    return {
        "feature": {"lambda": float(problem.lambda_[0]), "rho": float(problem.rho[0])},
        "network": {
            "depth": network.depth,
            "predictorDepth": network.predictor_depth,
            "eps": network.eps,
        },
        "method": {"kind": kind},
        "fraction": _FRACTION,
        "allowed": allowed,
    }
