"""F11: how the predictor starts decides whether JEPA collapses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsalt.linear.closed_form import final_gain
from vsalt.linear.dynamics import integrate
from vsalt.linear.figures import style
from vsalt.linear.figures.figure import FigureSpec, Numbers
from vsalt.linear.figures.methods import JEPA, SALT, method
from vsalt.linear.methods import Network
from vsalt.linear.problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = (JEPA, SALT)


def compute(
    *,
    depth: int = 1,
    layer_start: float = 0.1,
    rho: tuple[float, ...] = (0.3, 0.5, 0.6, 0.7, 0.8, 0.95),
    num_starts: int = 81,
    checked_starts: tuple[float, ...] = (0.0, 0.2, 0.4, 0.65, 0.85, 1.0),
    time: float = 3e3,
) -> Numbers:
    """Return end gains over the predictor's start, and the same by integration for some."""
    problem = Problem(np.ones(len(rho)), list(rho))
    threshold = np.sqrt(problem.rho**2 + layer_start**2)
    ends = threshold[threshold < 1]
    # A gain falls to 0 with an upright tangent, so starts lie close together there.
    near = np.multiply.outer(ends, 1 - np.linspace(0, 0.4, 25) ** 2).ravel()
    starts = np.sort(np.append(np.linspace(0, 1, num_starts), near))
    eps = layer_start**depth
    networks = [Network(depth=depth, eps=eps, predictor_start=float(v)) for v in starts]
    checked = [Network(depth=depth, eps=eps, predictor_start=v) for v in checked_starts]
    note = (
        f"L = {depth}, λ = 1, encoder starts at u₀ = {layer_start:g}; SALT: converged MAE teacher "
        f"of the same depth. Lines: fixed points; dots: integrated to {time:g} ({style.TIME})."
    )
    return {
        "parameters": {"L": depth, "u0": layer_start, "lambda": 1.0, "time": time, "P": 1},
        "note": note,
        "rho": problem.rho,
        "start": starts,
        "end_gain": {
            name: np.array([final_gain(problem, n, method(name, problem, n)) for n in networks])
            for name in METHODS
        },
        "checked_start": np.array(checked_starts),
        "integrated_gain": {
            name: np.array([_end(problem, n, name, time) for n in checked]) for name in METHODS
        },
        "integrated_product": {
            name: np.array([_end(problem, n, name, time, whole=True) for n in checked])
            for name in METHODS
        },
        "whole_wanted": method(SALT, problem, networks[0]).gain * problem.rho,  # type: ignore[union-attr]
        "threshold": threshold,
    }


def _end(
    problem: Problem, network: Network, name: str, time: float, *, whole: bool = False
) -> np.ndarray:
    """Integrate to a late time; `whole`: the gain of predictor and encoder together."""
    end = integrate(problem, network, method(name, problem, network), np.array([0.0, time]))
    gain: np.ndarray = end.encoder[-1] * (end.predictor[-1] if whole else 1.0)
    return gain


def draw(numbers: Numbers, figure: Figure) -> None:
    """Draw end gains of JEPA and SALT over the predictor's start."""
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    colours = style.rho_colours(numbers["rho"])
    for ax, name in zip(axes, METHODS, strict=True):
        _draw_gains(numbers, name, colours, ax)
        ax.set_xlabel("V(0), gain of the predictor at the start")
    axes[0].set_ylabel("end gain of the encoder m")
    axes[0].set_xlim(0, 1.02)
    axes[0].set_ylim(-0.02, 1.15)
    style.corner(axes[0], "▼ threshold V(0)² = ρ² + u₀²", where="upper right")
    style.corner(axes[1], "never 0: any start reaches V m = t ρ", where="upper right")
    style.rho_bar(figure, colours, axes)


def _draw_gains(numbers: Numbers, name: str, colours: Any, ax: Any) -> None:
    for index, rho in enumerate(numbers["rho"]):
        colour = colours.to_rgba(rho)
        ax.plot(numbers["start"], numbers["end_gain"][name][:, index], color=colour)
        ax.plot(
            numbers["checked_start"],
            numbers["integrated_gain"][name][:, index],
            "o",
            color=colour,
            ms=5,
            mec="white",
            zorder=3,
            clip_on=False,
        )
        if name == JEPA:
            ax.plot(numbers["threshold"][index], 0.0, marker=7, color=colour, ms=7, clip_on=True)
    ax.set_title(name, color=style.COLOURS[name], fontweight="bold")


SPEC = FigureSpec(
    name="F11",
    stem="F11-collapse",
    title="A predictor that starts large collapses JEPA feature by feature; SALT never collapses",
    caption="End gain of the encoder over the gain with which the predictor starts. V² − u² is "
    "kept by training, so JEPA, whose V must become ρ, has no room for a feature once V(0)² is "
    "above ρ² + u₀²; with V(0) = 1 every feature is lost. SALT's encoder shrinks, but predictor "
    "times encoder reach t ρ from any start.",
    size=(9.5, 4.3),
    compute=compute,
    draw=draw,
)
