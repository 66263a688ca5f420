"""F6: which of two features comes first when lambda and rho disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsalt.linear.feature_sets import conflict_pairs
from vsalt.linear.figures import style
from vsalt.linear.figures.figure import FigureSpec, Numbers
from vsalt.linear.figures.methods import FRACTION, JEPA, MAE, SALT, SALT_TWICE, learning_times
from vsalt.linear.measures import conflict_share
from vsalt.linear.problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = (MAE, SALT, SALT_TWICE, JEPA)


def critical_ratio(name: str, rho: tuple[float, float], depth: int, eps: float) -> float:
    """Return the ratio lambda_A / lambda_B above which A, of the first rho, is learned first.

    Times are exactly proportional to 1 / lambda, so it is the ratio of the times at equal lambda.
    0 where B is never learned.
    """
    times = learning_times(name, Problem([1.0, 1.0], list(rho)), depth, eps)
    return float(times[0] / times[1]) if np.isfinite(times[0]) else float("inf")


def compute(
    *,
    panel_depths: tuple[int, ...] = (2, 3, 5),
    depths: tuple[int, ...] = (1, 2, 3, 5, 8),
    rho: tuple[float, float] = (0.9, 0.45),
    eps: tuple[float, ...] = (1e-2, 1e-3, 1e-4),
    num_eps: int = 240,
    num_pairs: int = 4000,
    seed: int = 0,
) -> Numbers:
    """Return the border between A first and B first, and shares of random pairs."""
    grid = np.geomspace(1e-6, 3e-2, num_eps)
    borders = [
        {"L": L, **{name: [critical_ratio(name, rho, L, e) for e in grid] for name in METHODS}}
        for L in panel_depths
    ]
    first, second = conflict_pairs(num_pairs, seed)
    shares = [
        {"eps": e, **{name: _shares(name, first, second, depths, e) for name in METHODS}}
        for e in eps
    ]
    note = (
        f"Above: ρ = {rho[0]:g} of A, {rho[1]:g} of B. Below: {num_pairs} pairs with λ log-uniform "
        f"in [0.3, 3], ρ uniform in [0.3, 0.95], seed {seed}. "
        "t* at 0.9 of the way from ε to the final gain; teachers converged, of the same depth; "
        "SALT ×2: taught by a SALT student."
    )
    parameters: dict[str, Any] = {
        "L": depths,
        "eps": eps,
        "rho": rho,
        "num_pairs": num_pairs,
        "seed": seed,
        "fraction": FRACTION,
    }
    return {
        "parameters": parameters,
        "note": note,
        "border_eps": grid,
        "borders": borders,
        "shares": shares,
    }


def _shares(
    name: str, first: Problem, second: Problem, depths: tuple[int, ...], eps: float
) -> list[float]:
    return [
        conflict_share(
            learning_times(name, first, depth, eps), learning_times(name, second, depth, eps)
        )
        for depth in depths
    ]


def draw(numbers: Numbers, figure: Figure) -> None:
    """Draw borders above and shares below."""
    columns = max(len(numbers["borders"]), len(numbers["shares"]))
    upper, lower = figure.subplots(2, columns, sharey="row", squeeze=False)
    _draw_borders(numbers, upper)
    _draw_shares(numbers, lower)


def _draw_borders(numbers: Numbers, axes: Any) -> None:
    for index, (ax, row) in enumerate(zip(axes, numbers["borders"], strict=False)):
        ax.set_xscale("log")
        for name in METHODS:
            ax.plot(
                numbers["border_eps"],
                row[name],
                color=style.COLOURS[name],
                ls=style.LINES[name],
                label=f"border of {name}",
            )
        ax.set_title(f"L = {row['L']}")
        ax.set_xlabel("ε, gain of the encoder at the start")
        ax.set_ylim(0, 1.28)
        if index == 0:
            style.corner(ax, "above a border the predictable A is learned first")
            ax.legend(loc="lower left", borderaxespad=0.2)
        if index == 1:
            style.corner(ax, "below a border the strong B is learned first", where="lower left")
        if 0 in row[JEPA]:
            never = numbers["border_eps"][row[JEPA].index(0)]
            more = {"color": style.COLOURS[JEPA], "ha": "right", "offset": (-4, 4)}
            style.label(ax, never, 0, "JEPA: B decays", **more)
    axes[0].set_ylabel("λ of A over λ of B")


def _draw_shares(numbers: Numbers, axes: Any) -> None:
    depths = numbers["parameters"]["L"]
    for ax, row in zip(axes, numbers["shares"], strict=False):
        for name in METHODS:
            ax.plot(
                range(len(depths)),
                row[name],
                color=style.COLOURS[name],
                ls=style.LINES[name],
                marker=style.MARKERS[name],
                ms=5,
                clip_on=False,
            )
        ax.set_xticks(range(len(depths)), [str(depth) for depth in depths])
        ax.set_ylim(0, 0.72)
        ax.set_xlabel("L, layers of the encoder")
        ax.set_title(f"ε = {row['eps']:g}")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes[0].set_ylabel("random pairs in conflict:\nthe predictable one first")


SPEC = FigureSpec(
    name="F6",
    stem="F06-conflicts",
    title="Strong and noisy against weak and predictable: SALT's verdict hardly depends on the "
    "start, JEPA's on start and depth",
    caption="Above: two features, A predictable and B noisy; each line is the ratio of their λ at "
    "which a method learns both at once. An MAE's is 1, SALT's hardly depends on the start, "
    "JEPA's is near 1 for small starts and falls to 0, where B decays instead of being learned. "
    "Below: share of random pairs in conflict whose predictable feature is learned first; pairs "
    "of which neither is learned count against it.",
    size=(10.5, 7.0),
    compute=compute,
    draw=draw,
)
