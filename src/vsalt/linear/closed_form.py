"""Fixed points and critical times as formulas.

For layers that all start at u0 and learn alike, u follows

    du/dt = c u^(K-1) (1 - (u / u*)^k)

with K = L + P, k = K for a fixed target (MAE t = 1, SALT t), where c = t lambda, and with
K = 2 L + P, k = P for a target that moves along (JEPA), where c = lambda. The time from one gain
to another is therefore one integral, whose value stands in `power_integral`. Time is that of
`vsalt.linear.dynamics`.
"""

import numpy as np
from scipy.special import hyp2f1

from vsalt.errors import report_problems
from vsalt.linear.methods import Ema, Jepa, Mae, Method, Network, Salt
from vsalt.linear.problem import Features, Problem


def final_gain(problem: Problem, network: Network, method: Method) -> Features:
    """Return the encoder's gain m* after infinite time.

    MAE rho^(L/(L+P)), SALT (t rho)^(L/(L+P)), JEPA and EMA rho^(L/P); with layers that start or
    learn differently, the positive root of the same balance, v^P u^L = g rho and
    v² - alpha u² = c. A feature of JEPA with no such root collapses to 0.
    """
    L, P = network.depth, network.predictor_depth
    if network.is_plain:
        match method:
            case Mae():
                return problem.rho ** (L / (L + P))
            case Salt():
                return (method.gain_for(problem) * problem.rho) ** (L / (L + P))
            case Jepa() | Ema():
                return problem.rho ** (L / P)
    return _unequal_final_gain(problem, network, method)


def _unequal_final_gain(problem: Problem, network: Network, method: Method) -> Features:
    L, P, alpha = network.depth, network.predictor_depth, network.predictor_rate
    surplus = network.predictor_layer_start**2 - alpha * network.layer_start**2
    if isinstance(method, Jepa | Ema):
        # v^P = rho and alpha u² = v² - surplus.
        u_squared = (problem.rho ** (2 / P) - surplus) / alpha
        return np.maximum(u_squared, 0.0) ** (L / 2)
    target = problem.rho * (method.gain_for(problem) if isinstance(method, Salt) else 1.0)
    return np.array([_root(value, L, P, alpha, surplus) for value in target]) ** L


def _root(product: float, L: int, P: int, alpha: float, surplus: float) -> float:
    """Solve (alpha u² + surplus)^(P/2) u^L = product for u, where the left side rises."""
    from scipy.optimize import brentq

    lowest = float(np.sqrt(max(0.0, -surplus / alpha)))
    if product == 0:
        # Noise: whichever of u and v starts smaller dies out and leaves the other one.
        return lowest

    def excess(u: float) -> float:
        return float(max(0.0, alpha * u**2 + surplus) ** (P / 2) * u**L - product)

    highest = lowest + 1.0
    while excess(highest) < 0:
        highest *= 2
    return float(brentq(excess, lowest, highest, xtol=1e-15, rtol=1e-14))


def learned_gain(start: float, final: Features, fraction: float = 0.9) -> Features:
    """Return the gain at which a feature counts as learned: this share of the way to the end.

    start + fraction (final - start), with the gains of the encoder. A bare fraction * final would
    make features look learned that start near it.

    Raises:
        ConfigError: if the fraction is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        report_problems([f"fraction is {fraction}; it must be between 0 and 1"])
    return start + fraction * (final - start)


def critical_time(
    problem: Problem, network: Network, method: Method, *, fraction: float = 0.9
) -> Features:
    """Return when each feature is learned; inf where it starts above its final gain.

    Exact for layers that start and learn alike. The moving average of EMA has no such formula; see
    `fast_ema_delay` and `slow_ema_time`, or `vsalt.linear.dynamics.hitting_times`.

    Raises:
        ConfigError: for other networks and methods, and a fraction that is not between 0 and 1.
    """
    gains = learned_gain(network.eps, final_gain(problem, network, method), fraction)
    return time_to_gain(problem, network, method, gains)


def time_to_gain(problem: Problem, network: Network, method: Method, gains: Features) -> Features:
    """Return when each feature's gain is a given one, by the exact formula.

    JEPA: [A(q1) - A(q0)] / (lambda rho^((2L+P-2)/P)), q = u / rho^(1/P), k = P, n = 2L + P - 1.
    MAE, SALT: [A(z1) - A(z0)] / (t lambda (t rho)^((K-2)/K)), z = u / (t rho)^(1/K), k = K = L + P,
    n = K - 1. A is `power_integral(., n, k)`. With P = 1 the first is Theorem 4.4 of
    arXiv 2407.03475 in another clock, F(q) = -sum 1/(n q^n) + ln q - ln(1 - q).

    Returns:
        Times; inf where the gain is not below the final one or where the feature starts above it.

    Raises:
        ConfigError: for EMA, or where the layers do not start and learn alike.
    """
    L, P = network.depth, network.predictor_depth
    _check_plain(network)
    if isinstance(method, Ema):
        report_problems(["EMA has no formula of exact times; integrate it"])
    if isinstance(method, Jepa):
        speed, final, power, order = problem.lambda_, problem.rho ** (1 / P), 2 * L + P - 1, P
    else:
        gain = method.gain_for(problem) if isinstance(method, Salt) else np.ones(len(problem))
        order = L + P
        speed, final, power = gain * problem.lambda_, (gain * problem.rho) ** (1 / order), order - 1
    times = np.full(len(problem), np.inf)
    end = gains ** (1 / L)
    ok = (network.layer_start < end) & (end < final)
    start = network.layer_start / final[ok]
    span = power_integral(end[ok] / final[ok], power, order) - power_integral(start, power, order)
    times[ok] = span / (speed[ok] * final[ok] ** (power - 1))
    times[end <= network.layer_start] = 0.0
    times[final <= network.layer_start] = np.inf
    return times


def noise_gain(variance: Features, network: Network, times: Features) -> Features:
    """Return the encoder's gain of features with lambda = 0 over time; all methods are alike.

    u0^L (1 + 2 (K-1) sigma² u0^(2(K-1)) t)^(-L/(2(K-1))) with K = L + P: noise dies out slowly, by
    a power of t.

    Args:
        variance: sigma² of each feature.
        network: the encoder; its layers start and learn alike.
        times: t, shape (times,).

    Returns:
        Gains, shape (times, features).

    Raises:
        ConfigError: if layers start or learn differently.
    """
    _check_plain(network)
    power = 2 * (network.depth + network.predictor_depth - 1)
    growth = power * np.multiply.outer(times, variance) * network.layer_start**power
    decayed: Features = network.eps * (1 + growth) ** (-network.depth / power)
    return decayed


def _check_plain(network: Network) -> None:
    if not network.is_plain:
        report_problems(["this formula is for layers that all start and learn alike"])


def power_integral(q: Features, power: int, order: int) -> Features:
    """Return an antiderivative of q^(-power) / (1 - q^order) for 0 < q < 1.

    The geometric series splits it into powers and one remainder r = j order - power >= 0, whose
    integral is q^(r+1)/(r+1) times the hypergeometric function 2F1(1, (r+1)/order;
    (r+1)/order + 1; q^order).
    """
    terms = -(-power // order)
    total = np.zeros_like(q)
    for j in range(terms):
        exponent = j * order - power + 1
        total += np.log(q) if exponent == 0 else q**exponent / exponent
    rest = terms * order - power + 1
    if order == 1 and rest == 1:
        return total - np.log1p(-q)
    share = rest / order
    total += q**rest / rest * hyp2f1(1.0, share, share + 1.0, q**order)
    return total
