"""Intervals of accuracies and of paired differences, by a bootstrap over groups and over seeds.

Shapes: S seeds, n test rows, G groups, R resamples.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int, Shaped

from vsalt.randomness import keyed_int

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95
POWER = 0.8
MOST_DOF = 10_000.0
"""Above so many degrees of freedom a t distribution is taken as if it had these."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How often each group and each seed is in each resample; the same for all arms.

    Attributes:
        groups: index of every row's group.
        group_times: (R, G).
        seed_times: (R, S).
    """

    groups: Int[np.ndarray, "n"]
    group_times: Float[np.ndarray, "R G"]
    seed_times: Float[np.ndarray, "R S"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over rows and seeds, and how well it is known.

    Attributes:
        value: the mean.
        low: lower end of its 95 % interval.
        high: upper end.
        detectable: smallest true value that would have been told from 0 in four of five such
            experiments (see `detectable`).
        dof: degrees of freedom of the interval's t distribution.
    """

    value: float
    low: float
    high: float
    detectable: float
    dof: float


def draw(
    groups: Int[np.ndarray, "n"], num_seeds: int, *, seed: int = 0, num: int = NUM_RESAMPLES
) -> Draws:
    """Draw resamples of groups and of seeds, with replacement.

    Args:
        groups: index of every row's group, from 0 to G - 1.
        num_seeds: S.
        seed: key of the draws.
        num: R.
    """
    num_groups = int(groups.max()) + 1
    generator = np.random.Generator(np.random.Philox(key=keyed_int("compare bootstrap", seed)))

    def times(count: int) -> Float[np.ndarray, "R _"]:
        return generator.multinomial(count, np.full(count, 1 / count), size=num).astype(np.float64)

    return Draws(groups=groups, group_times=times(num_groups), seed_times=times(num_seeds))


def estimate(values: Shaped[np.ndarray, "S n"], draws: Draws) -> Estimate:
    """Return the mean of values with its interval; values are right or wrong, or their difference.

    Groups (rows of one scene are not independent) and seeds vary on their own. The variance of the
    mean is V = V_G + V_S: V_G that of the mean over seeds when groups are resampled, V_S that of
    the means of seeds when these are resampled, each times count / (count - 1), since a bootstrap
    takes deviations from the sample's own mean (Davison and Hinkley, Bootstrap Methods and their
    Application, 1997, section 2.5). The interval is value ± t(0.975, d) sqrt(V) with
    degrees of freedom of Satterthwaite (Biometrics Bulletin 2, 1946)

        d = V^2 / (V_G^2 / (G - 1) + V_S^2 / (S - 1)).

    What varies by group and seed at once is in both parts, which errs on the safe side. So three
    seeds that disagree make it as wide as three numbers deserve; percentiles of the
    resamples would be too narrow. With one seed V_S is unknown and taken as 0: then the interval
    holds for this seed.

    Args:
        values: of each seed and row.
        draws: the resamples.

    Returns:
        The estimate; of one group alone, infinitely wide; without any variation, of no width.
    """
    value = float(values.mean())
    sums = np.bincount(draws.groups, weights=values.mean(axis=0))
    sizes = np.bincount(draws.groups).astype(np.float64)
    by_groups = (draws.group_times @ sums) / (draws.group_times @ sizes)
    by_seeds = draws.seed_times @ values.mean(axis=1) / len(values)
    of_groups = _variance(by_groups, len(sums))
    of_seeds = _variance(by_seeds, len(values)) if len(values) > 1 else 0.0
    variance = of_groups + of_seeds
    if variance == 0 or not math.isfinite(variance):
        # Without any variation nothing tells what a difference would have to be.
        far = 0.0 if variance == 0 else math.inf
        low, high = value - far, value + far
        return Estimate(value=value, low=low, high=high, detectable=math.inf, dof=MOST_DOF)
    dof = variance**2 / (
        of_groups**2 / max(1, len(sums) - 1) + of_seeds**2 / max(1, len(values) - 1)
    )
    error = math.sqrt(variance)
    half = t_quantile((1 + CONFIDENCE) / 2, dof) * error
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        detectable=detectable(error, dof),
        dof=dof,
    )


def _variance(resampled: Float[np.ndarray, "R"], count: int) -> float:
    return math.inf if count < 2 else float(resampled.var()) * count / (count - 1)


def detectable(error: float, dof: float) -> float:
    """Return the smallest true difference that is found with 80 % power at a level of 5 %.

        (t(0.975, d) + t(0.8, d)) * standard error

    Source: Bloom, Minimum Detectable Effects, Evaluation Review 19 (1995), 547 to 556. It is the
    half-width of the interval, plus what the estimate may fall short by in one case of five.

    Args:
        error: standard error of the difference.
        dof: degrees of freedom d of that error.
    """
    return (t_quantile((1 + CONFIDENCE) / 2, dof) + t_quantile(POWER, dof)) * error


@lru_cache(1)
def _gauss_legendre() -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    nodes, weights = np.polynomial.legendre.leggauss(100)
    return nodes, weights


@lru_cache(1024)
def t_quantile(share: float, dof: float) -> float:
    """Return the quantile of Student's t distribution, by bisection of its integral.

    With x = sqrt(d) tan(a) the distribution function is 1/2 + the integral of cos^(d-1) from 0 to
    a, over twice that from 0 to pi / 2, which has a closed form in Gamma functions.

    Args:
        share: above a half and below 1.
        dof: d, at least 1.
    """
    dof = min(max(dof, 1.0), MOST_DOF)
    nodes, weights = _gauss_legendre()
    log_whole = 0.5 * math.log(math.pi) + math.lgamma(dof / 2) - math.lgamma((dof + 1) / 2)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        at = angle * (nodes + 1) / 2
        part = angle / 2 * float(weights @ np.cos(at) ** (dof - 1))
        if part / math.exp(log_whole) < share - 0.5:
            low = angle
        else:
            high = angle
    return math.sqrt(dof) * math.tan((low + high) / 2)
