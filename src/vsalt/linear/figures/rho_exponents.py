"""F5: how strongly rho decides what JEPA learns first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq

from vsalt.linear.closed_form import critical_time
from vsalt.linear.figures import style
from vsalt.linear.figures.figure import FigureSpec, Numbers
from vsalt.linear.figures.methods import FRACTION
from vsalt.linear.frozen import round_exponent
from vsalt.linear.measures import rho_exponent
from vsalt.linear.methods import Jepa, Network
from vsalt.linear.problem import Features, Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RHO = 0.8
"""Where the exponent is taken; it depends on rho by x only."""


def jepa_kappa(depth: int, x: Features) -> Features:
    """Return -d ln t* / d ln rho of JEPA, where a layer starts at x times its final gain rho."""
    return np.array([_kappa_at(depth, float(value)) for value in x])


def _kappa_at(depth: int, x: float) -> float:
    network = Network(depth=depth, eps=(x * _RHO) ** depth)

    def times(problem: Problem) -> Features:
        return critical_time(problem, network, Jepa(), fraction=FRACTION)

    return float(rho_exponent(Problem([1.0], [_RHO]), times)[0])


def crossing(depth: int) -> float:
    """Return the x above which JEPA's exponent is larger than SALT's e = L/(L+1); nan if none is.

    SALT's teacher has the student's depth here.
    """
    exponent = round_exponent(1, depth=depth)

    def excess(x: float) -> float:
        return _kappa_at(depth, x) - exponent

    above = next((float(x) for x in np.linspace(0.1, 0.9, 17) if excess(float(x)) > 0), None)
    return float("nan") if above is None else float(brentq(excess, 0.02, above, xtol=1e-6))


def compute(*, depths: tuple[int, ...] = (1, 2, 3, 5, 8), num_x: int = 60) -> Numbers:
    """Return kappa over x, SALT's exponents and where the two cross."""
    x = np.linspace(0.02, 0.9, num_x)
    curves = [
        {
            "L": depth,
            "kappa": jepa_kappa(depth, x),
            "salt": round_exponent(1, depth=depth),
            "crossing": crossing(depth),
        }
        for depth in depths
    ]
    note = (
        "t* ~ ρ$^{−κ}$ at fixed λ, t* at 0.9 of the way from ε to the final gain. SALT: ε → 0, "
        "converged teacher of the same depth, e = L/(L+1). MAE: |κ| < 0.06 for L ≥ 2."
    )
    parameters = {"L": depths, "fraction": FRACTION}
    return {"parameters": parameters, "note": note, "x": x, "curves": curves}


def draw(numbers: Numbers, figure: Figure) -> None:
    """Draw kappa over x, one line for each depth."""
    ax = figure.subplots()
    for curve in numbers["curves"]:
        colour = style.DEPTH_COLOURS[curve["L"]]
        ax.plot(numbers["x"], curve["kappa"], color=colour)
        _name_the_end(ax, numbers["x"], curve, colour)
        cross = curve["crossing"]
        stop = cross if np.isfinite(cross) else numbers["x"][-1]
        ax.plot([0, stop], [curve["salt"]] * 2, color=colour, ls=(0, (4, 2)), lw=1.2)
        if np.isfinite(cross):
            ax.plot(cross, curve["salt"], "o", color=colour, ms=7, mec="white", zorder=4)
    ax.axhline(0, color="black", lw=1.5)
    style.label(ax, 0.9, 0.0, "MAE, every L: κ ≈ 0", ha="right", offset=(0, 4))
    style.label(ax, 0.01, 0.93, "SALT, L = 1 (lowest) to 8: e = L/(L+1)")
    found = [c for c in numbers["curves"] if np.isfinite(c["crossing"])]
    text = (
        "Right of its dot, at $x_c$, JEPA's bias\nis stronger than SALT's (dashed):\n"
        + "\n".join(
            f"    L = {c['L']}:  $x_c$ = {c['crossing']:.2f},  e = {c['salt']:.2f}" for c in found
        )
    )
    style.corner(ax, text, linespacing=1.4)
    ax.set_xlim(0, 1.03)
    ax.set_ylim(-0.06, 3.2)
    ax.set_xlabel(
        f"x = {style.power('ε', '1/L')} / ρ, start of a layer over its final gain under JEPA"
    )
    ax.set_ylabel("κ = −d ln t* / d ln ρ, exponent of ρ in\nthe critical time t* (gradient flow)")


def _name_the_end(ax: Any, x: np.ndarray, curve: Numbers, colour: str) -> None:
    """Name a line where it leaves the picture or ends; the steepest on its free left side."""
    at = int(np.flatnonzero(curve["kappa"] < 3.0)[-1])
    offset, side = (7, -7), "left"
    if curve["L"] == 8:
        offset, side = (-6, 2), "right"
    if curve["L"] == 1:
        offset, side = (0, 5), "right"
    name = f"JEPA, L = {curve['L']}"
    more: Any = {"ha": side, "offset": offset, "fontweight": "bold", "annotation_clip": False}
    style.label(ax, x[at], curve["kappa"][at], name, color=colour, **more)


SPEC = FigureSpec(
    name="F5",
    stem="F05-rho-exponents",
    title="JEPA's preference for predictable features has no fixed strength: SALT's is stronger "
    "where the start is small, weaker where it is not",
    caption="Exponent with which the critical time falls as rho rises, over the start of a layer "
    "relative to its end. For JEPA it goes to 0 with the start and comes to a little less than L "
    "as the two meet; for SALT it is L/(L+1) whatever the start; for an MAE it is about 0. At "
    "L = 1 JEPA's never reaches SALT's.",
    size=(8.2, 5.4),
    compute=compute,
    draw=draw,
)
