"""What a frozen linear teacher hands on: its gain t of every feature, which SALT predicts."""

import numpy as np

from vsalt.errors import report_problems
from vsalt.linear.closed_form import critical_time, final_gain, time_to_gain
from vsalt.linear.dynamics import integrate
from vsalt.linear.methods import Mae, Network, Salt
from vsalt.linear.problem import Features, Problem

_NUM_HALVINGS = 60
"""Of a bracket that spans less than a thousand in the logarithm: to the last bit of a double."""


def converged_teacher(problem: Problem, network: Network) -> Features:
    """Return the gains of an MAE that was trained to the end, rho^(L/(L+P))."""
    return final_gain(problem, network, Mae())


def decoder_output(problem: Problem) -> Features:
    """Return t if the target is the converged MAE's reconstruction V W y: rho."""
    return problem.rho


def whitened_teacher(problem: Problem) -> Features:
    """Return t if every feature of the teacher is divided by its deviation: 1 / sigma."""
    return 1 / np.sqrt(problem.variance)


def stopped_teacher(problem: Problem, network: Network, time: float) -> Features:
    """Return the gains of an MAE that was stopped at a time.

    Inverts the exact time by bisection, to the last digits of the gain that the time has: 1e-12 of
    it for eps of 1e-6 and above, less for smaller ones, whose long wait takes up digits. Features
    that start above their end have no such formula and are integrated.

    Args:
        problem: the features.
        network: the teacher; its layers start and learn alike.
        time: t, in the clock of `vsalt.linear.dynamics`; inf: trained to the end.

    Raises:
        ConfigError: if the time is not at least 0, or layers start or learn differently.
    """
    if not time >= 0:
        report_problems([f"time is {time}; a teacher is stopped at 0 or later"])
    final = converged_teacher(problem, network)
    low = np.full(len(problem), network.eps)
    high = np.maximum(final, network.eps)
    for _ in range(_NUM_HALVINGS):
        # Halves in the logarithm: gains begin orders of magnitude below their end.
        middle = np.sqrt(low * high)
        is_early = time_to_gain(problem, network, Mae(), middle) <= time
        low, high = np.where(is_early, middle, low), np.where(is_early, high, middle)
    gain: Features = np.sqrt(low * high)
    falls = final < network.eps
    if falls.any():
        gain[falls] = _falling_gain(problem, network, time, falls)
    return gain


def _falling_gain(problem: Problem, network: Network, time: float, which: np.ndarray) -> Features:
    some = Problem.from_variances(problem.lambda_[which], problem.variance[which])
    if time == np.inf:
        return converged_teacher(some, network)
    gains: Features = integrate(some, network, Mae(), np.array([time])).encoder[-1]
    return gains


def stop_time(problem: Problem, network: Network, share: float, *, fraction: float = 0.9) -> float:
    """Return when an MAE has learned this share of its features; inf where it never does.

    Raises:
        ConfigError: if the share is not from 0 to 1, or layers start or learn differently.
    """
    if not 0 <= share <= 1:
        report_problems([f"share is {share}; it must be from 0 to 1"])
    times = critical_time(problem, network, Mae(), fraction=fraction)
    return float(np.quantile(times, share, method="inverted_cdf"))


def round_exponent(rounds: int, *, depth: int, predictor_depth: int = 1) -> float:
    """Return e_k of the gain rho^e_k after k rounds, each frozen to teach the next.

    Round 1 is an MAE, round 2 SALT. e_k = (1 + e_(k-1)) L / (L + P) with e_0 = 0, hence
    (L/P) (1 - (L/(L+P))^k), which rises to JEPA's L/P.
    """
    L, P = depth, predictor_depth
    return L / P * (1 - (L / (L + P)) ** rounds)


def frozen_rounds(problem: Problem, network: Network, rounds: int) -> list[Features]:
    """Return the converged gains of each round of repeated freezing."""
    gain = np.ones(len(problem))
    gains = []
    for _ in range(rounds):
        gain = final_gain(problem, network, Salt(gain))
        gains.append(gain)
    return gains
