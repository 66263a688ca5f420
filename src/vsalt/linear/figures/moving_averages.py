"""F9: a moving average as teacher, from JEPA to one that orders by nothing but rho, reversed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsalt.linear.asymptotics import fast_ema_delay, slow_ema_time
from vsalt.linear.closed_form import critical_time, final_gain, learned_gain
from vsalt.linear.figures import style
from vsalt.linear.figures.figure import FigureSpec, Numbers
from vsalt.linear.figures.methods import FRACTION, ema_times
from vsalt.linear.methods import Jepa, Network
from vsalt.linear.problem import Features, Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def compute(
    *,
    depth: int = 3,
    eps: float = 1e-2,
    lambda_: tuple[float, float] = (0.8, 1.0),
    rho: tuple[float, float] = (0.9, 0.45),
    ema_range: tuple[float, float] = (0.1, 1e6),
    num_times: int = 22,
    kappa_rho: float = 0.6,
    num_formula: int = 80,
) -> Numbers:
    """Return ratios of times and kappa over the averaging time, and both limits as formulas."""
    network = Network(depth=depth, eps=eps)
    # The second pair lies close together, for the slope of ln t* in ln rho.
    step = 0.02
    near = [kappa_rho * np.exp(-step), kappa_rho * np.exp(step)]
    problem = Problem([*lambda_, 1.0, 1.0], [*rho, *near])
    times = np.geomspace(*ema_range, num_times)
    grid = np.geomspace(*ema_range, num_formula)
    note = (
        f"L = {depth}, ε = {eps:g}. A: λ = {lambda_[0]:g}, ρ = {rho[0]:g}; B: λ = {lambda_[1]:g}, "
        f"ρ = {rho[1]:g}. κ at ρ = {kappa_rho:g}, λ = 1. t* at {FRACTION:g} of the way from ε to "
        "the final gain. T: learning rate over 1 − decay."
    )
    parameters = {
        "L": depth,
        "eps": eps,
        "lambda": lambda_,
        "rho": rho,
        "kappa_rho": kappa_rho,
        "fraction": FRACTION,
    }
    measured = np.array([ema_times(problem, network, T) for T in times])
    limits = {
        "jepa": critical_time(problem, network, Jepa(), fraction=FRACTION)[None],
        "fast": np.array([fast_time(problem, network, T) for T in grid]),
        "slow": slow_time(problem, network, 1.0)[None],
    }
    return {
        "parameters": parameters,
        "note": note,
        "ema_time": times,
        "critical_time": measured,
        "ratio": measured[:, 0] / measured[:, 1],
        "kappa": _kappa(measured, step),
        "formula_ema_time": grid,
        "limit_ratio": {key: value[:, 0] / value[:, 1] for key, value in limits.items()},
        "limit_kappa": {key: _kappa(value, step) for key, value in limits.items()},
    }


def _kappa(times: np.ndarray, step: float) -> np.ndarray:
    kappa: np.ndarray = np.log(times[:, 2] / times[:, 3]) / (2 * step)
    return kappa


def _share_of_final(problem: Problem, network: Network) -> Features:
    """Return the gain at which a feature counts as learned, over its final one."""
    final = final_gain(problem, network, Jepa())
    return learned_gain(network.eps, final, FRACTION) / final


def fast_time(problem: Problem, network: Network, ema_time: float) -> Features:
    """Return JEPA's exact time and the delay by a moving average that is fast."""
    jepa = critical_time(problem, network, Jepa(), fraction=FRACTION)
    return jepa + _each(fast_ema_delay, problem, network, ema_time)


def slow_time(problem: Problem, network: Network, ema_time: float) -> Features:
    """Return the time under a moving average that is slow."""
    return _each(slow_ema_time, problem, network, ema_time)


def _each(formula: Any, problem: Problem, network: Network, ema_time: float) -> Features:
    # The formulas take one share of the final gain for all features.
    shares = _share_of_final(problem, network)
    return np.array(
        [
            formula(problem, network.depth, network.eps, ema_time, float(share))[index]
            for index, share in enumerate(shares)
        ]
    )


def draw(numbers: Numbers, figure: Figure) -> None:
    """Draw the ratio of times and kappa over the averaging time."""
    left, right = figure.subplots(1, 2)
    _draw(left, numbers, "ratio", "t* of A over t* of B")
    _draw(right, numbers, "kappa", "κ = −d ln t* / d ln ρ")
    left.axhline(1, color=style.GREY, lw=1)
    right.axhline(0, color=style.GREY, lw=1)
    for ax, level, texts in (
        (left, 1.0, ("above: strong noisy B first", "below: predictable A first")),
        (right, 0.0, ("above: predictable sooner", "below: predictable later")),
    ):
        style.label(ax, 0.1, level, texts[0], color=style.GREY, va="bottom", offset=(0, 3))
        style.label(ax, 0.1, level, texts[1], color=style.GREY, va="top", offset=(0, -4))
    left.set_title("two features in conflict")
    right.set_title("exponent of ρ at equal λ")


def _draw(ax: Any, numbers: Numbers, what: str, name: str) -> None:
    limits, grid = numbers[f"limit_{what}"], numbers["formula_ema_time"]
    measured = numbers[what]
    span = np.ptp(measured)
    low, high = measured.min() - 0.14 * span, measured.max() + 0.16 * span
    ax.set_xscale("log")
    # The ratio rises and kappa falls; names go where the curve is not.
    rises = measured[-1] > measured[0]
    over: Any = {"va": "bottom", "offset": (0, 3)}
    under: Any = {"va": "top", "offset": (0, -4)}
    ax.axhline(limits["jepa"][0], color=style.COLOURS["JEPA"], lw=1.4)
    style.label(
        *(ax, 1e6, limits["jepa"][0], "T → 0: JEPA"),
        color=style.COLOURS["JEPA"],
        ha="right",
        **(under if rises else over),
    )
    # The law of fast averages is shown as far as it is one.
    good = grid <= 300
    ax.plot(grid[good], limits["fast"][good], color="#882255", ls=(0, (5, 2)), lw=1.4)
    at = int(np.searchsorted(grid, 20.0))
    style.label(
        *(ax, grid[at], limits["fast"][at], "fast average:\nJEPA + delay"),
        color="#882255",
        ha="right",
        offset=(-8, 6) if rises else (-8, -6),
        va="bottom" if rises else "top",
    )
    ax.axhline(limits["slow"][0], color="#332288", ls=(0, (1, 1)), lw=1.8)
    style.label(
        *(ax, 0.1, limits["slow"][0], "T → ∞: free of λ, later for higher ρ"),
        color="#332288",
        **(over if rises else under),
    )
    ax.plot(numbers["ema_time"], measured, "o-", color=style.COLOURS["EMA"], ms=4.5, lw=1.2)
    ax.set_ylim(low, high)
    ax.set_xlabel(f"T, time constant of the average ({style.TIME})")
    ax.set_ylabel(name)


SPEC = FigureSpec(
    name="F9",
    stem="F09-moving-averages",
    title="A slow moving average as teacher undoes JEPA's order: predictable features come later, "
    "not sooner",
    caption="Critical times from integration (dots) over the time constant of the layers' moving "
    "average, with the formulas for a fast and for a slow one. As it slows down, the ratio of "
    "times of a weak predictable and a strong noisy feature rises from JEPA's to one that does not "
    "depend on λ and is above 1. All end at JEPA's gains.",
    size=(10.5, 4.2),
    compute=compute,
    draw=draw,
)
