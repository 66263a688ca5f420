"""Sets of features on which methods are compared: how lambda and rho go together.

A method that learns by covariance and one that learns by predictability agree where lambda and rho
rise together. These sets have no relation of the two, or the opposite one.
"""

import numpy as np

from vsalt.errors import report_problems
from vsalt.linear.problem import Features, Problem

RHO_RANGE = (0.35, 0.95)
"""The lowest and the highest rho of the sets with evenly spaced rho."""
LAMBDA_RANGE = (0.5, 1.0)
"""The range of lambda where it is independent of rho."""


def even_rho(num_features: int) -> Features:
    """Return evenly spaced values of rho over `RHO_RANGE`, rising."""
    return np.linspace(*RHO_RANGE, num_features)


def equal_lambda(num_features: int) -> Problem:
    """Return features of lambda = 1 and evenly spaced rho."""
    return Problem(np.ones(num_features), even_rho(num_features))


def independent(num_features: int, seed: int) -> Problem:
    """Return features of evenly spaced rho and a lambda drawn log-uniformly from `LAMBDA_RANGE`."""
    rng = np.random.default_rng(seed)
    return Problem(_log_uniform(rng, LAMBDA_RANGE, num_features), even_rho(num_features))


def anti_correlated(num_features: int, exponent: float) -> Problem:
    """Return features of evenly spaced rho and lambda = rho^-exponent."""
    rho = even_rho(num_features)
    return Problem(rho**-exponent, rho)


def named_sets(num_features: int, seed: int) -> dict[str, Problem]:
    """Return the five sets of the figures by name."""
    return {
        "equal λ": equal_lambda(num_features),
        "λ independent of ρ": independent(num_features, seed),
        "λ = ρ^-0.5": anti_correlated(num_features, 0.5),
        "λ = ρ^-1": anti_correlated(num_features, 1.0),
        "λ = ρ^-2": anti_correlated(num_features, 2.0),
    }


def scattered(
    num_features: int,
    seed: int,
    *,
    lambda_range: tuple[float, float] = (0.2, 2.0),
    rho_range: tuple[float, float] = (0.4, 0.95),
) -> Problem:
    """Return features of log-uniform lambda and uniform rho, independent of each other."""
    rng = np.random.default_rng(seed)
    lambda_ = _log_uniform(rng, lambda_range, num_features)
    return Problem(lambda_, rng.uniform(*rho_range, num_features))


def conflict_pairs(
    num_pairs: int,
    seed: int,
    *,
    lambda_range: tuple[float, float] = (0.3, 3.0),
    rho_range: tuple[float, float] = (0.3, 0.95),
) -> tuple[Problem, Problem]:
    """Return pairs of features that lambda and rho rank differently.

    Both features of a pair are drawn as in `scattered`; only pairs in conflict are kept.

    Returns:
        The features with the higher rho (and lower lambda), and those with the higher lambda.

    Raises:
        ConfigError: if no pairs are asked for.
    """
    if num_pairs < 1:
        report_problems([f"num_pairs is {num_pairs}; it must be at least 1"])
    rng = np.random.default_rng(seed)
    lambda_ = _log_uniform(rng, lambda_range, (num_pairs, 2))
    rho = rng.uniform(*rho_range, (num_pairs, 2))
    # Two independent orders conflict in half of all pairs; swapping one turns the others into
    # conflicts without changing the distribution of those.
    lambda_.sort(axis=1)
    rho.sort(axis=1)
    return Problem(lambda_[:, 0], rho[:, 1]), Problem(lambda_[:, 1], rho[:, 0])


def _log_uniform(
    rng: np.random.Generator, bounds: tuple[float, float], size: int | tuple[int, int]
) -> Features:
    low, high = np.log(bounds)
    return np.exp(rng.uniform(low, high, size))
