"""What the exact times tend to: small starts, equal covariances, fast and slow moving averages.

P = 1 and layers that start and learn alike throughout; x = u0 / rho with u0 = eps^(1/L). Time is
that of `vsalt.linear.dynamics`.
"""

import math

import numpy as np

from vsalt.errors import report_problems
from vsalt.linear.closed_form import power_integral
from vsalt.linear.problem import Features, Problem


def leading_time(problem: Problem, depth: int, eps: float, *, moving_target: bool) -> Features:
    """Return the first term of the critical time as eps goes to 0.

    JEPA (moving target) 1 / ((2L-1) lambda eps^((2L-1)/L)); MAE eps^(-(L-1)/L) / ((L-1) lambda),
    and ln(1/eps) / lambda for L = 1. Neither has rho in it. For SALT give the problem that is
    `seen_through` its teacher.
    """
    L = depth
    if moving_target:
        return 1 / ((2 * L - 1) * problem.lambda_ * math.pow(eps, (2 * L - 1) / L))
    if L == 1:
        return math.log(1 / eps) / problem.lambda_
    return math.pow(eps, -(L - 1) / L) / ((L - 1) * problem.lambda_)


def laurent_time(problem: Problem, depth: int, eps: float) -> Features:
    """Return JEPA's critical time as arXiv 2407.03475, Theorem 4.5, states it, without its O(log).

    (1/lambda) sum_{n=1}^{2L-1} 1 / (n rho^(2L-n-1) eps^(n/L)). The paper's time is L times as long,
    as its clock runs L times as fast.
    """
    L = depth
    total = np.zeros(len(problem))
    for n in range(1, 2 * L):
        total += 1 / (n * problem.rho ** (2 * L - n - 1) * math.pow(eps, n / L))
    return total / problem.lambda_


def laurent_remainder(problem: Problem, depth: int, eps: float, fraction: float) -> Features:
    """Return what `laurent_time` lacks for a gain of fraction * rho^L.

    [F(fraction^(1/L)) - ln x + ln(1-x)] / (lambda rho^(2L-1)), with F of
    `vsalt.linear.closed_form.time_to_gain`.

    Raises:
        ConfigError: if x is not below 1.
    """
    L = depth
    x = _relative_start(problem, depth, eps)
    end = np.full(len(problem), math.pow(fraction, 1 / L))
    bracket = power_integral(end, 2 * L, 1) - np.log(x) + np.log1p(-x)
    return bracket / (problem.lambda_ * problem.rho ** (2 * L - 1))


def jepa_gap(lambda_: float, rho: float, rho_other: float, depth: int, eps: float) -> float:
    """Return the leading time by which JEPA learns `rho` before `rho_other` at equal lambda.

    (1/rho' - 1/rho) / lambda times ln(1/eps) for L = 1 and eps^(-(2L-2)/L) / (2L-2) above. It
    diverges as eps goes to 0, whereas the gap of an MAE stays finite.
    """
    L = depth
    inverse = (1 / rho_other - 1 / rho) / lambda_
    if L == 1:
        return float(inverse * np.log(1 / eps))
    return float(inverse * math.pow(eps, -(2 * L - 2) / L) / (2 * L - 2))


def fixed_target_constant(depth: int, fraction: float) -> float:
    """Return c_L of the time of an MAE, or of SALT on the problem `seen_through` its teacher.

    t* = `leading_time` + c_L / (lambda rho^((L-1)/(L+1))) + o(1) for a gain of fraction * m*, where
    L = 1 adds ln(rho) / (2 lambda), and c_L = z^(1-L)/(1-L) (ln z for L = 1) + the integral of
    q/(1-q^(L+1)) from 0 to z = fraction^(1/L).
    """
    end = np.array([math.pow(fraction, 1 / depth)])
    return float(power_integral(end, depth, depth + 1)[0])


def mae_gap(
    lambda_: float, rho: float, rho_other: float, depth: int, fraction: float = 0.9
) -> float:
    """Return the time by which an MAE learns `rho` before `rho_other` as eps goes to 0.

    Equal lambda, gains of fraction * m*. It stays finite, whereas `jepa_gap` diverges; for L = 1 it
    is negative: the noisier feature comes slightly earlier.
    """
    if depth == 1:
        return math.log(rho_other / rho) / (2 * lambda_)
    power = -(depth - 1) / (depth + 1)
    constant = fixed_target_constant(depth, fraction)
    return constant * (math.pow(rho_other, power) - math.pow(rho, power)) / lambda_


def small_start_kappa(x: Features, depth: int) -> Features:
    """Return JEPA's exponent -d ln t* / d ln rho for small x, (2L-1)/(2L-2) x.

    Raises:
        ConfigError: for one layer, whose exponent is no multiple of x: the times have a logarithm.
    """
    if depth < 2:
        report_problems([f"depth is {depth}; the exponent is a multiple of x from 2 layers on"])
    return (2 * depth - 1) / (2 * depth - 2) * x


def fast_ema_delay(
    problem: Problem, depth: int, eps: float, time: float, fraction: float
) -> Features:
    """Return how much later than JEPA a fast moving average of time constant T learns.

    L T ln[ p (1 - x) / (x (1 - p)) ] with p = fraction^(1/L): free of lambda, so that it pulls
    the ratios of times towards 1.

    Raises:
        ConfigError: if x is not below 1.
    """
    share = math.pow(fraction, 1 / depth)
    x = _relative_start(problem, depth, eps)
    return depth * time * np.log(share * (1 - x) / (x * (1 - share)))


def slow_ema_time(
    problem: Problem, depth: int, eps: float, time: float, fraction: float
) -> Features:
    """Return when features are learned from a moving average much slower than themselves.

    (L+1) T ln[ (1 - x^(1/(L+1))) / (1 - fraction^(1/L²)) ]: free of lambda, and later where rho
    is larger.

    Raises:
        ConfigError: if x is not below 1.
    """
    L = depth
    x = _relative_start(problem, depth, eps)
    return (L + 1) * time * np.log((1 - x ** (1 / (L + 1))) / (1 - math.pow(fraction, 1 / L**2)))


def _relative_start(problem: Problem, depth: int, eps: float) -> Features:
    """Return x = u0 / rho, below 1."""
    start = math.pow(eps, 1 / depth)
    if not np.all(start < problem.rho):
        report_problems(
            [
                f"layers start at {start:.3g}, above the smallest rho, {problem.rho.min():.3g}: "
                "such features fall and are never learned"
            ]
        )
    x: Features = start / problem.rho
    return x
