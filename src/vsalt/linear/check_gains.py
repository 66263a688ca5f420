"""Checks of where features end: formulas against the integrated ODE."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from vsalt.linear.check_row import Row, absolute_error, methods_for, relative_error, row
from vsalt.linear.closed_form import final_gain
from vsalt.linear.dynamics import Trajectory, integrate
from vsalt.linear.frozen import frozen_rounds, round_exponent
from vsalt.linear.methods import Jepa, Mae, Method, Network, Salt
from vsalt.linear.problem import Features, Problem

PROBLEM = Problem([1.0, 0.6, 1.2, 0.8], [0.95, 0.8, 0.65, 0.5])
DEPTHS = (1, 2, 3, 5)
LONG = 1e6
"""A time by which every feature of `PROBLEM` has settled from the starts used here."""
_MOMENTS = np.concatenate([[0.0], np.geomspace(1.0, LONG, 60)])


def gain_rows() -> Iterator[Row]:
    """Yield all checks of gains."""
    yield from _fixed_points()
    yield from _unequal_starts()
    yield from _conservation()
    yield from _salt_is_mae()
    yield from _rounds()
    yield from _students()


def settled(problem: Problem, network: Network, method: Method) -> Features:
    """Return the encoder's gains after a long time, by integration."""
    gains: Features = integrate(problem, network, method, np.array([LONG])).encoder[-1]
    return gains


def _fixed_points() -> Iterator[Row]:
    networks = [(f"L={L}", Network(depth=L, eps=1e-2)) for L in DEPTHS]
    networks.append(("L=3, predictor of 2 layers", Network(depth=3, eps=1e-2, predictor_depth=2)))
    for label, network in networks:
        for name, method in methods_for(PROBLEM, network).items():
            error = relative_error(
                settled(PROBLEM, network, method), final_gain(PROBLEM, network, method)
            )
            yield row("fixed point", f"{name}, {label}", error)


def _unequal_starts() -> Iterator[Row]:
    """A predictor that starts larger shifts JEPA's end to u² = rho² - c; an MAE keeps V W = rho."""
    surplus = 0.65**2 - 0.1**2
    for depth in (1, 3):
        network = Network(depth=depth, eps=0.1**depth, predictor_start=0.65)
        # Its rho of 0.65 and 0.5 are too near c to settle, or below it.
        some = Problem(PROBLEM.lambda_[:2], PROBLEM.rho[:2])
        expected = (some.rho**2 - surplus) ** (depth / 2)
        error = relative_error(settled(some, network, Jepa()), expected)
        yield row("fixed point", f"jepa, L={depth}, predictor from 0.65", error)
        end = integrate(PROBLEM, network, Mae(), np.array([LONG]))
        error = relative_error(end.predictor[-1] * end.encoder[-1], PROBLEM.rho)
        yield row("fixed point", f"mae, L={depth}, predictor from 0.65", error)
    quick = Network(depth=2, eps=1e-2, predictor_rate=4.0)
    error = relative_error(settled(PROBLEM, quick, Jepa()), (PROBLEM.rho / 2) ** 2)
    yield row("fixed point", "jepa, L=2, predictor 4 times as fast", error)


def _conservation() -> Iterator[Row]:
    network = Network(depth=2, eps=0.04, predictor_start=0.3, predictor_rate=2.0)
    for name, method in methods_for(PROBLEM, network).items():
        run = integrate(PROBLEM, network, method, _MOMENTS)
        drift = _surplus(run, network) - (0.3**2 - 2.0 * 0.04)
        yield row("conservation", f"{name}, L=2, ODE", absolute_error(drift, 0.0))


def _surplus(run: Trajectory, network: Network) -> np.ndarray:
    u = run.encoder ** (1 / network.depth)
    surplus: np.ndarray = run.predictor**2 - network.predictor_rate * u**2
    return surplus


def _salt_is_mae() -> Iterator[Row]:
    for depth in DEPTHS:
        network = Network(depth=depth, eps=1e-2)
        runs = [
            integrate(PROBLEM, network, method, _MOMENTS)
            for method in (Salt(np.ones(len(PROBLEM))), Mae())
        ]
        error = relative_error(runs[0].encoder, runs[1].encoder)
        yield row("SALT of t = 1 is MAE", f"L={depth}, ODE", error)


def _rounds() -> Iterator[Row]:
    """e_k as the recursion in fractions, as the formula and as the gains themselves have it."""
    for depth, predictor_depth in ((1, 1), (2, 1), (3, 1), (5, 1), (3, 2)):
        network = Network(depth=depth, eps=1e-2, predictor_depth=predictor_depth)
        exponent, errors = Fraction(0), []
        for index, gain in enumerate(frozen_rounds(PROBLEM, network, 8)):
            exponent = (1 + exponent) * Fraction(depth, depth + predictor_depth)
            formula = round_exponent(index + 1, depth=depth, predictor_depth=predictor_depth)
            errors.append(absolute_error(formula, float(exponent)))
            errors.append(absolute_error(np.log(gain) / np.log(PROBLEM.rho), float(exponent)))
        label = f"L={depth}" + ("" if predictor_depth == 1 else ", predictor of 2 layers")
        yield row("rounds of freezing", label, max(errors))


def _students() -> Iterator[Row]:
    teacher = Salt(settled(PROBLEM, Network(depth=1, eps=1e-2), Mae()))
    for depth in DEPTHS:
        gains = settled(PROBLEM, Network(depth=depth, eps=1e-2), teacher)
        error = absolute_error(gain_exponent(PROBLEM, gains), 1.5 * depth / (depth + 1))
        yield row("exponent of the student", f"L={depth}, ODE", error)


def gain_exponent(problem: Problem, gains: Features) -> float:
    """Return e of gains ~ rho^e, fitted in the logarithms."""
    return float(np.polyfit(np.log(problem.rho), np.log(gains), 1)[0])
