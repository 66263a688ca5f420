"""Gradient flow of one feature, by numerical integration.

With u the gain of each of L encoder layers, v that of each of P predictor layers, alpha the
predictor's relative learning rate and g the target's gain:

    du/dt = u^(L-1) v^P r        dv/dt = alpha u^L v^(P-1) r        r = g lambda - sigma² v^P u^L

so v² - alpha u² never changes. The encoder's gain is m = u^L. Time t is that of gradient flow with
rate 1 on every matrix; n steps of gradient descent with learning rate lr are t = n lr. The clock of
arXiv 2407.03475 runs L times as fast: it writes dm/dt without the factor L that m = u^L brings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.integrate import solve_ivp

from vsalt.errors import report_problems
from vsalt.linear.closed_form import final_gain, learned_gain
from vsalt.linear.methods import Ema, Jepa, Mae, Method, Network, Salt
from vsalt.linear.problem import Features, Problem

Times: TypeAlias = npt.NDArray[np.float64]
"""Shape (times,)."""
Curves: TypeAlias = npt.NDArray[np.float64]
"""Shape (times, features)."""

_Gains: TypeAlias = float | npt.NDArray[np.float64]

_METHOD = "LSODA"
_RELATIVE_ERROR = 1e-10


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """Gains over time.

    Attributes:
        times: when.
        encoder: the encoder's gain m = u^L.
        predictor: the predictor's gain v^P.
        target: the target's gain g.
    """

    times: Times
    encoder: Curves
    predictor: Curves
    target: Curves


def integrate(problem: Problem, network: Network, method: Method, times: Times) -> Trajectory:
    """Follow all features through given times, which are at least 0 and rise.

    Raises:
        ConfigError: if the times do not rise or are not finite, or a teacher's gains do not fit the
            problem.
        RuntimeError: if the integration fails.
    """
    times = np.asarray(times, dtype=np.float64)
    is_list = times.ndim == 1 and times.size and np.all(np.isfinite(times))
    if not is_list or times[0] < 0 or not np.all(np.diff(times) > 0):
        report_problems([f"times must be finite, at least 0 and rise, got {times.tolist()}"])
    parts = []
    for index in range(len(problem)):
        solution = solve_ivp(
            _slope(problem, network, method, index),
            # An interval of no length has no solution, not even its start.
            (0.0, float(times[-1]) or 1.0),
            _start(network),
            t_eval=times,
            method=_METHOD,
            rtol=_RELATIVE_ERROR,
            atol=_absolute_error(network),
        )
        if not solution.success:
            raise RuntimeError(f"feature {index}: {solution.message}")
        parts.append(solution.y)
    u, v, xi = np.stack(parts, axis=-1)
    return Trajectory(
        times=times,
        encoder=u**network.depth,
        predictor=v**network.predictor_depth,
        target=np.broadcast_to(_target_gain(method, network, u, xi, slice(None)), u.shape),
    )


def hitting_times(
    problem: Problem, network: Network, method: Method, gains: Features, *, limit: float = 1e12
) -> Features:
    """Return when the encoder's gain of each feature first rises to a given one.

    Args:
        problem: the features.
        network: the encoder and how it starts.
        method: what is predicted.
        gains: one gain for each feature, or one for all.
        limit: features that have not come so far by this time are given up.

    Returns:
        Times; 0 for gains that are not above the start, inf for those that are never reached.

    Raises:
        ConfigError: if the gains of features or of the teacher do not fit the problem.
        RuntimeError: if the integration fails before the gain is reached.
    """
    _check_gains(problem, gains)
    found = np.full(len(problem), np.inf)
    for index, gain in enumerate(np.broadcast_to(gains, len(problem))):
        if gain <= network.eps:
            found[index] = 0.0
            continue
        layer_gain = float(gain ** (1 / network.depth))

        def reached(_: float, state: Features, layer_gain: float = layer_gain) -> float:
            return float(state[0] - layer_gain)

        reached.terminal = True  # type: ignore[attr-defined]
        reached.direction = 1.0  # type: ignore[attr-defined]
        solution = solve_ivp(
            _slope(problem, network, method, index),
            (0.0, limit),
            _start(network),
            events=reached,
            method=_METHOD,
            rtol=_RELATIVE_ERROR,
            atol=_absolute_error(network),
        )
        if not solution.success:
            raise RuntimeError(f"feature {index}: {solution.message}")
        if solution.t_events[0].size:
            found[index] = solution.t_events[0][0]
    return found


def integrated_critical_time(
    problem: Problem,
    network: Network,
    method: Method,
    *,
    fraction: float = 0.9,
    limit: float = 1e12,
) -> Features:
    """Return when each feature is learned, for all methods and starts.

    The same as `vsalt.linear.closed_form.critical_time` where there is a formula, and slower.

    Args:
        problem: the features.
        network: the encoder and how it starts.
        method: what is predicted.
        fraction: the share of the way to the final gain that counts as learned.
        limit: features that are not learned by this time are given up.

    Returns:
        Times; inf for features that start above their final gain or are never learned.

    Raises:
        ConfigError: if the fraction is not between 0 and 1, or a teacher's gains do not fit.
        RuntimeError: if the integration fails before a feature is learned.
    """
    final = final_gain(problem, network, method)
    gains = learned_gain(network.eps, final, fraction)
    times = hitting_times(problem, network, method, gains, limit=limit)
    return np.where(final > network.eps, times, np.inf)


def _check_gains(problem: Problem, gains: Features) -> None:
    asked = np.asarray(gains)
    if asked.shape not in ((), (1,), (len(problem),)) or not np.all(np.isfinite(asked)):
        report_problems(
            [f"gains must be one finite number, or one for each of {len(problem)} features"]
        )


def _absolute_error(network: Network) -> float:
    # Far below the start, where small gains spend most of their time, but no waste on zeros.
    return min(1e-15, 1e-10 * network.layer_start)


def _start(network: Network) -> Features:
    u0 = network.layer_start
    return np.array([u0, network.predictor_layer_start, u0])


def _slope(
    problem: Problem, network: Network, method: Method, index: int
) -> Callable[[float, Features], Features]:
    """Return d(u, v, xi)/dt of one feature."""
    if isinstance(method, Salt):
        method.gain_for(problem)
    lambda_, variance = problem.lambda_[index], problem.variance[index]
    L, P = network.depth, network.predictor_depth
    rate = 1 / method.time if isinstance(method, Ema) else 0.0

    def slope(_: float, state: Features) -> Features:
        u, v, xi = state
        gain = _target_gain(method, network, u, xi, index)
        residual = gain * lambda_ - variance * v**P * u**L
        return np.array(
            [
                u ** (L - 1) * v**P * residual,
                network.predictor_rate * u**L * v ** (P - 1) * residual,
                rate * (u - xi),
            ]
        )

    return slope


def _target_gain(
    method: Method, network: Network, u: _Gains, xi: _Gains, which: int | slice
) -> _Gains:
    match method:
        case Mae():
            return 1.0
        case Jepa():
            followed: _Gains = u**network.depth
            return followed
        case Salt():
            taught: _Gains = method.gain[which]
            return taught
        case Ema():
            averaged: _Gains = xi**network.depth
            return averaged
