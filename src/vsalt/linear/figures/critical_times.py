"""F4: critical times and the gap between two features, over the size of the start."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from vsalt.linear.asymptotics import jepa_gap, laurent_time
from vsalt.linear.figures import style
from vsalt.linear.figures.figure import FigureSpec, Numbers
from vsalt.linear.figures.methods import FRACTION, JEPA, MAE, SALT, learning_times
from vsalt.linear.problem import Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = (MAE, SALT, JEPA)


def compute(
    *,
    depths: tuple[int, ...] = (1, 2, 3, 5),
    rho: float = 0.8,
    rho_other: float = 0.4,
    eps: tuple[float, float] = (1e-9, 3e-2),
    num_eps: int = 40,
) -> Numbers:
    """Return exact times, the Laurent sum, gaps, and the slopes that they tend to."""
    grid = np.geomspace(*eps, num_eps)
    pair = Problem([1.0, 1.0], [rho, rho_other])
    panels = [_at_depth(depth, pair, grid) for depth in depths]
    parameters = {
        "L": depths,
        "lambda": 1.0,
        "rho": rho,
        "rho_other": rho_other,
        "fraction": FRACTION,
    }
    note = (
        f"λ = 1; above ρ = {rho:g}, below ρ = {rho:g} against ρ' = {rho_other:g}; exact times "
        f"to {FRACTION:g} of the way from ε to the final gain; SALT: converged MAE teacher of the "
        "same depth."
    )
    return {"parameters": parameters, "note": note, "eps": grid, "panels": panels}


def _at_depth(depth: int, pair: Problem, grid: np.ndarray) -> Numbers:
    times = {
        name: np.array([learning_times(name, pair, depth, eps) for eps in grid]) for name in METHODS
    }
    rho, other = (float(value) for value in pair.rho)
    leading = {JEPA: -(2 * depth - 1) / depth, MAE: -(depth - 1) / depth}
    gaps = {JEPA: -(2 * depth - 2) / depth, MAE: 0.0}
    return {
        "L": depth,
        "time": {name: value[:, 0] for name, value in times.items()},
        "gap": {name: np.abs(value[:, 1] - value[:, 0]) for name, value in times.items()},
        "laurent": np.array([laurent_time(pair, depth, eps)[0] for eps in grid]),
        "leading_gap": np.array([jepa_gap(1.0, rho, other, depth, eps) for eps in grid]),
        "slope": {**leading, SALT: leading[MAE]},
        # At L = 1 these are logarithms of eps.
        "gap_slope": {**gaps, SALT: leading[MAE]},
    }


def draw(numbers: Numbers, figure: Figure) -> None:
    """Draw times above and gaps below, one column for each depth."""
    panels = numbers["panels"]
    axes = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False)
    for column, panel in zip(axes.T, panels, strict=True):
        for ax in column:
            ax.set_xscale("log")
            ax.set_yscale("log")
        _curves(column[0], numbers["eps"], panel, "time")
        _name_times(column[0], numbers["eps"], panel)
        column[0].plot(
            *(numbers["eps"][::3], panel["laurent"][::3]),
            ls="none",
            marker="o",
            mfc="none",
            ms=4.5,
            color="black",
            label="sum of Theorem 4.5,\nwithout its O(log ε)",
        )
        _curves(column[1], numbers["eps"], panel, "gap")
        _name_gaps(column[1], numbers["eps"], panel)
        column[1].plot(
            *(numbers["eps"][::3], panel["leading_gap"][::3]),
            ls="none",
            marker="x",
            ms=4.5,
            color="black",
            label="leading gap of JEPA",
        )
        column[0].set_title(f"L = {panel['L']}")
        column[1].set_xlabel("ε, gain of the encoder at the start")
    axes[1, 0].set_ylim(3e-4, 3e15)
    axes[0, 0].set_ylim(5e-4, 3e16)
    axes[0, 0].set_xticks([1e-8, 1e-6, 1e-4, 1e-2])
    axes[0, 0].set_ylabel(f"critical time t*\n({style.TIME})")
    axes[1, 0].set_ylabel(f"gap |t*(ρ') − t*(ρ)|\n({style.TIME})")
    axes[0, 0].legend(loc="upper right", handletextpad=0.2, borderaxespad=0)
    axes[1, 0].legend(loc="upper right", handletextpad=0.2, borderaxespad=0)


def _curves(ax: Axes, eps: np.ndarray, panel: Numbers, what: str) -> None:
    for name in METHODS:
        ax.plot(eps, panel[what][name], color=style.COLOURS[name], ls=style.LINES[name], label="_")


def _name_times(ax: Axes, eps: np.ndarray, panel: Numbers) -> None:
    """Name lines above right or below left of themselves, where falling lines leave room."""
    times, slope = panel["time"], panel["slope"]
    _above(ax, eps, times[JEPA], f"JEPA: {_law(slope[JEPA])}", style.COLOURS[JEPA])
    _below(ax, eps, times[MAE], f"MAE and SALT:\n{_law(slope[MAE])}", "black")


def _name_gaps(ax: Axes, eps: np.ndarray, panel: Numbers) -> None:
    gaps, slope = panel["gap"], panel["gap_slope"]
    if slope[JEPA] == 0:
        _above(ax, eps, gaps[JEPA], f"JEPA and SALT: {_law(0.0)}", "black")
    else:
        _above(ax, eps, gaps[JEPA], f"JEPA: {_law(slope[JEPA])}", style.COLOURS[JEPA])
        _below(ax, eps, gaps[SALT], f"SALT: {_law(slope[SALT])}", style.COLOURS[SALT])
    _below(ax, eps, gaps[MAE], "MAE: constant", style.COLOURS[MAE])


def _law(slope: float) -> str:
    return style.power("ε", str(Fraction(slope).limit_denominator(20))) if slope else "ln 1/ε"


def _above(ax: Axes, eps: np.ndarray, values: np.ndarray, text: str, colour: str) -> None:
    at = int(0.3 * len(eps))
    style.label(ax, eps[at], values[at], text, color=colour, offset=(5, 5))


def _below(ax: Axes, eps: np.ndarray, values: np.ndarray, text: str, colour: str) -> None:
    at = int(0.55 * len(eps))
    place: Any = {"ha": "right", "va": "top", "offset": (-3, -4), "multialignment": "left"}
    style.label(ax, eps[at], values[at], text, color=colour, **place)


SPEC = FigureSpec(
    name="F4",
    stem="F04-critical-times",
    title="The smaller the start, the longer JEPA waits compared with MAE and SALT, and the wider "
    "is its gap between features",
    caption="Above: exact critical time of one feature over the size of the start, with the power "
    "of ε that it tends to; circles are the Laurent sum of arXiv 2407.03475, Theorem 4.5, "
    "divided by L for this clock. Below: how much later a feature of the same λ and half the ρ "
    "is learned. Crosses are the first term of JEPA's gap for small ε. It diverges and the "
    "MAE's stays finite, but relative to t* JEPA's goes to 0. SALT's gap keeps a fixed proportion "
    "to its t*. JEPA's line ends where the noisier feature starts above its final gain and is "
    "never learned.",
    size=(10.5, 6.0),
    compute=compute,
    draw=draw,
)
