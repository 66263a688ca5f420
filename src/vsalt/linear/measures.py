"""What is asked of learning times and gains: order, exponents, conflicts, variance."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from vsalt.errors import report_problems
from vsalt.linear.problem import Features, Problem


def earliness_correlation(times: Features, values: Features) -> float:
    """Return Spearman's correlation of being learned early with values such as lambda or rho.

    1: what has the highest value is learned first. Features that are never learned come last.
    nan: all times or all values are equal, so that there is no order.
    """
    return _spearman(-_ranked(times), values)


def order_correlation(times: Features, others: Features) -> float:
    """Return Spearman's correlation of two orders of learning; nan: one of them is none."""
    return _spearman(_ranked(times), _ranked(others))


def _spearman(values: Features, others: Features) -> float:
    if np.ptp(values) == 0 or np.ptp(others) == 0:
        return math.nan
    return float(spearmanr(values, others).statistic)


def _ranked(times: Features) -> Features:
    # spearmanr takes ranks, so any number above all others stands for infinity.
    known = times[np.isfinite(times)]
    return np.where(np.isfinite(times), times, 2 * known.max(initial=1.0))


def rho_exponent(
    problem: Problem, times_of: Callable[[Problem], Features], *, step: float = 1e-4
) -> Features:
    """Return kappa = -d ln t* / d ln rho of every feature at fixed lambda, so t* ~ rho^-kappa.

    Args:
        problem: the features.
        times_of: gives the learning times of a problem with other rho. It decides what else
            changes with rho, such as the gains of a teacher.
        step: relative change of rho, up and down.

    Returns:
        One number for each feature; nan for those that are never learned.
    """
    up, down = (
        np.log(times_of(Problem(problem.lambda_, problem.rho * math.exp(shift))))
        for shift in (step, -step)
    )
    known = np.isfinite(up) & np.isfinite(down)
    kappa = np.full(len(problem), np.nan)
    kappa[known] = (down[known] - up[known]) / (2 * step)
    return kappa


@dataclass(frozen=True)
class TimeLaw:
    """t* ~ lambda^a rho^b, fitted by least squares in the logarithms.

    Attributes:
        lambda_: a.
        rho: b.
        num_features: features that were learned, which alone are fitted.
    """

    lambda_: float
    rho: float
    num_features: int


def time_law(problem: Problem, times: Features) -> TimeLaw:
    """Fit the exponents of the learning time in lambda and rho.

    Raises:
        ConfigError: if fewer than three features are learned, or lambda is a power of rho among
            them, so that their exponents cannot be told apart.
    """
    known = np.isfinite(times) & (times > 0)
    if known.sum() < 3:
        report_problems([f"{known.sum()} features are learned; a fit needs 3"])
    logs = np.log(np.stack([problem.lambda_, problem.rho])[:, known])
    columns = np.column_stack([*logs, np.ones(known.sum())])
    solution, _, rank, _ = np.linalg.lstsq(columns, np.log(times[known]), rcond=1e-9)
    if rank < 3:
        report_problems(["lambda is a power of rho here: a fit cannot tell the two apart"])
    return TimeLaw(float(solution[0]), float(solution[1]), int(known.sum()))


def conflict_share(first: Features, second: Features) -> float:
    """Return the share of pairs whose first feature is learned before the second.

    Args:
        first: times of the features with the higher rho, one of each pair.
        second: times of those with the higher lambda. A pair in which neither is learned counts
            as not learned first.
    """
    return float(np.mean(first < second))


def output_variance_share(problem: Problem, gain: Features, chosen: np.ndarray) -> float:
    """Return the share of the encoder's output variance, m² sigma², that chosen features have.

    Args:
        problem: the features.
        gain: the encoder's gains m; ones give the share of the input.
        chosen: booleans, one for each feature.
    """
    variance = gain**2 * problem.variance
    return float(variance[chosen].sum() / variance.sum())
