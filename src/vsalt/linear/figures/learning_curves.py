"""F2: the gain of every feature over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsalt.linear.closed_form import final_gain, learned_gain, time_to_gain
from vsalt.linear.dynamics import integrate
from vsalt.linear.figures import style
from vsalt.linear.figures.figure import FigureSpec, Numbers
from vsalt.linear.figures.methods import EMA, FRACTION, JEPA, MAE, SALT, ema_times, method
from vsalt.linear.methods import Network
from vsalt.linear.problem import Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = (MAE, SALT, JEPA, EMA)
_SPAN = 4.6
"""Times are shown up to this many critical times of the most predictable feature."""


def compute(
    *,
    rho: tuple[float, ...] = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
    depths: tuple[int, ...] = (1, 3, 5),
    eps: float = 1e-2,
    ema_time: float = 100.0,
    num_points: int = 120,
) -> Numbers:
    """Return gains m over m*, with the time at which each is reached, at lambda = 1."""
    problem = Problem(np.ones(len(rho)), list(rho))
    panels = []
    for depth in depths:
        network = Network(depth=depth, eps=eps)
        for name in METHODS:
            if name == EMA:
                panel = _integrated(problem, network, ema_time, num_points)
            else:
                panel = _exact(problem, network, name, num_points)
            panels.append({"method": name, "L": depth, **panel})
    note = (
        f"d = {len(rho)} features, λ = 1, ε = {eps:g}; SALT: converged MAE teacher of the same "
        f"depth; EMA: time constant T = {ema_time:g}. Learned: 0.9 of the way from ε to m*, "
        "at t*."
    )
    parameters = {
        "d": len(rho),
        "L": depths,
        "eps": eps,
        "lambda": 1.0,
        "ema_time": ema_time,
        "fraction": FRACTION,
    }
    return {"parameters": parameters, "note": note, "rho": problem.rho, "panels": panels}


def _exact(problem: Problem, network: Network, name: str, num_points: int) -> Numbers:
    """Gains on a grid, and the exact time at which each is reached."""
    asked = method(name, problem, network)
    final = final_gain(problem, network, asked)
    # Dense at both ends, where the gain creeps.
    grid = (1 - np.cos(np.linspace(0, np.pi, num_points))) / 2
    shares = [network.eps / final + g * (0.9999 - network.eps / final) for g in grid]
    times = [time_to_gain(problem, network, asked, share * final) for share in shares]
    end = learned_gain(network.eps, final, FRACTION)
    return {
        "time": np.stack(times),
        "gain_share": np.stack(shares),
        "critical_time": time_to_gain(problem, network, asked, end),
    }


def _integrated(problem: Problem, network: Network, ema_time: float, num_points: int) -> Numbers:
    """Gains on a grid of times, by integration."""
    critical = ema_times(problem, network, ema_time)
    times = np.linspace(0, _SPAN * critical.min(), 2 * num_points)
    asked = method(EMA, problem, network, ema_time=ema_time)
    gains = integrate(problem, network, asked, times).encoder
    return {
        "time": np.repeat(times[:, None], len(problem), axis=1),
        "gain_share": gains / final_gain(problem, network, asked),
        "critical_time": critical,
    }


def draw(numbers: Numbers, figure: Figure) -> None:
    """Draw one panel for each depth and method."""
    depths = numbers["parameters"]["L"]
    axes = figure.subplots(len(depths), len(METHODS), sharex=True, sharey=True, squeeze=False)
    colours = style.rho_colours(numbers["rho"])
    for ax, panel in zip(axes.flat, numbers["panels"], strict=True):
        _panel(ax, panel, numbers["rho"], colours)
    for ax, name in zip(axes[0], METHODS, strict=True):
        ax.set_title(name, color=style.COLOURS[name], fontweight="bold")
    for ax, depth in zip(axes[:, 0], depths, strict=True):
        ax.set_ylabel(f"L = {depth}\ngain m / final gain m*")
    axes[0, 0].set_xlim(0, _SPAN)
    axes[0, 0].set_ylim(0, 1.04)
    for ax in axes[-1]:
        ax.set_xlabel(f"{style.TIME},\nin units of t* of the highest ρ")
    style.rho_bar(figure, colours, axes)


def _panel(ax: Axes, panel: Numbers, rho: np.ndarray, colours: Any) -> None:
    critical = panel["critical_time"]
    first = critical[-1]
    for index in range(len(critical)):
        ax.plot(
            # The exact curves end just below 1 and stay there.
            np.append(panel["time"][:, index] / first, _SPAN),
            np.append(panel["gain_share"][:, index], panel["gain_share"][-1, index]),
            color=colours.to_rgba(rho[index]),
            lw=1.5,
        )
    style.corner(
        ax,
        f"t* of ρ = {rho[-1]:g}: {_short(first)}\n"
        f"t* of ρ = {rho[0]:g}: {_short(critical[0])}\n"
        f"ratio {critical[0] / first:.2f}",
        where="lower right",
    )


def _short(time: float) -> str:
    return f"{time:.3g}" if time < 1000 else f"{time:.0f}"


SPEC = FigureSpec(
    name="F2",
    stem="F02-learning-curves",
    title="At equal λ an MAE learns all features together; SALT and a deep JEPA learn the "
    "predictable ones first",
    caption="Gain of every feature over its final value, over time in units of the critical time "
    "of the most predictable feature. The MAE's curves nearly coincide at every depth, SALT's fan "
    "out at every depth, JEPA's hardly at L = 1 and widely at L = 5. A moving average as target "
    "delays all features, the more predictable ones more, which narrows the fan.",
    size=(10.5, 7.2),
    compute=compute,
    draw=draw,
)
