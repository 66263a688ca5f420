"""F7: repeated freezing, from an MAE over SALT to JEPA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsalt.linear.closed_form import final_gain
from vsalt.linear.feature_sets import equal_lambda
from vsalt.linear.figures import style
from vsalt.linear.figures.figure import FigureSpec, Numbers
from vsalt.linear.figures.methods import JEPA, MAE, SALT, method
from vsalt.linear.frozen import frozen_rounds, round_exponent
from vsalt.linear.methods import Network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = (MAE, SALT, JEPA)


def compute(
    *,
    depths: tuple[int, ...] = (1, 2, 3, 5, 8),
    num_rounds: int = 12,
    gain_depth: int = 3,
    num_features: int = 24,
    eps: float = 1e-3,
) -> Numbers:
    """Return exponents of rho in the final gains: of each round, and of the three methods."""
    problem = equal_lambda(num_features)
    network = Network(depth=gain_depth, eps=eps)
    gains = {name: final_gain(problem, network, method(name, problem, network)) for name in METHODS}
    staircases = []
    for depth in depths:
        frozen = frozen_rounds(problem, Network(depth=depth, eps=eps), num_rounds)
        staircases.append(
            {
                "L": depth,
                "measured": [_slope(problem.rho, gain) for gain in frozen],
                "formula": [round_exponent(k, depth=depth) for k in range(1, num_rounds + 1)],
            }
        )
    note = (
        f"Final gains do not depend on λ or ε. ρ from {problem.rho[0]:g} to {problem.rho[-1]:g}, "
        f"d = {num_features}; teacher and student of the same depth. Round 1 is an MAE, round 2 is "
        "SALT."
    )
    parameters = {"L": depths, "gain_L": gain_depth, "rounds": num_rounds, "d": num_features}
    return {
        "parameters": parameters,
        "note": note,
        "staircases": staircases,
        "rho": problem.rho,
        "gains": gains,
        "slopes": {name: _slope(problem.rho, gain) for name, gain in gains.items()},
    }


def _slope(rho: np.ndarray, gain: np.ndarray) -> float:
    """Fit the exponent of gain ~ rho^e."""
    return float(np.polyfit(np.log(rho), np.log(gain), 1)[0])


def draw(numbers: Numbers, figure: Figure) -> None:
    """Draw final gains, the staircase, and the staircase relative to JEPA."""
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.15, 1])
    _draw_gains(numbers, left)
    _draw_staircase(numbers, middle)
    _draw_shares(numbers, right)


def _draw_gains(numbers: Numbers, ax: Any) -> None:
    depth = numbers["parameters"]["gain_L"]
    ax.set_xscale("log")
    ax.set_yscale("log")
    for name, gain in numbers["gains"].items():
        colour = style.COLOURS[name]
        ax.plot(numbers["rho"], gain, color=colour, ls=style.LINES[name])
        at, side = (13, "above") if name == MAE else (4, "below")
        at = min(at, len(gain) - 1)
        place = {"ha": "right", "va": "bottom", "offset": (-4, 4)}
        if side == "below":
            place = {"ha": "left", "va": "top", "offset": (5, -3)}
        text = f"{name}: {style.power('ρ', numbers['slopes'][name])}"
        style.label(ax, numbers["rho"][at], gain[at], text, color=colour, **place)
    style.log_ticks(ax.xaxis, [0.4, 0.6, 0.8, 1])
    style.log_ticks(ax.yaxis, [0.05, 0.1, 0.2, 0.5, 1])
    ax.set_xlabel("ρ (log scale)")
    ax.set_ylabel("final gain m* (log scale)")
    ax.set_title(f"final gains, L = {depth}")


def _draw_staircase(numbers: Numbers, ax: Any) -> None:
    ax.set_yscale("log")
    for row in numbers["staircases"]:
        colour = style.DEPTH_COLOURS[row["L"]]
        rounds = np.arange(1, len(row["formula"]) + 1)
        ax.step(rounds, row["formula"], where="mid", color=colour, lw=1.2)
        ax.plot(rounds, row["measured"], "o", color=colour, ms=4.5)
        ax.plot([rounds[-1] + 0.5, rounds[-1] + 1.6], [row["L"]] * 2, color=colour, lw=3)
        style.label(
            ax, rounds[-1] + 1.8, row["L"], f"JEPA, L = {row['L']}", color=colour, va="center"
        )
    style.log_ticks(ax.yaxis, [0.5, 1, 2, 3, 5, 8])
    ax.set_xticks([1, 2, 4, 8, 12], ["1", "2", "4", "8", "12"])
    ax.set_xlim(0.4, len(numbers["staircases"][0]["formula"]) + 6.5)
    ax.set_xlabel("round of freezing k (1: MAE, 2: SALT)")
    ax.set_ylabel(r"exponent $e_k$ of m* = ρ$^{e_k}$ (log scale)")
    ax.set_title("each round climbs towards JEPA's L")


def _draw_shares(numbers: Numbers, ax: Any) -> None:
    rows = numbers["staircases"]
    for index, name in ((0, MAE), (1, SALT)):
        shares = [row["measured"][index] / row["L"] for row in rows]
        ax.plot(
            range(len(rows)),
            shares,
            color=style.COLOURS[name],
            ls=style.LINES[name],
            marker=style.MARKERS[name],
        )
        for at, share in enumerate(shares):
            style.label(
                ax,
                at,
                share,
                f"{share:.0%}",
                color=style.COLOURS[name],
                offset=(0, 7 if name == SALT else -7),
                ha="center",
                va="bottom" if name == SALT else "top",
            )
    ax.axhline(1, color=style.COLOURS[JEPA])
    style.label(ax, -0.4, 0.985, "JEPA", fontweight="bold", color=style.COLOURS[JEPA], va="top")
    style.label(ax, 0.45, 0.7, "SALT", color=style.COLOURS[SALT], fontweight="bold")
    style.label(ax, 0.42, 0.26, "MAE", color=style.COLOURS[MAE], fontweight="bold", ha="right")
    ax.set_xlim(-0.5, len(rows) - 0.5)
    ax.set_xticks(range(len(rows)), [str(row["L"]) for row in rows])
    ax.set_ylim(0, 1.05)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set_xlabel("L, layers of the encoder")
    ax.set_ylabel("exponent of ρ over JEPA's")
    ax.set_title("suppression that is kept")


SPEC = FigureSpec(
    name="F7",
    stem="F07-rounds-of-freezing",
    title="SALT's output suppresses noise more than an MAE's and less than JEPA's; each new round "
    "of freezing comes closer to JEPA",
    caption="Left: the encoder's final gain over ρ; a steeper line suppresses noisy features more. "
    "Middle: the exponent after k rounds, each student frozen as the next teacher; dots are slopes "
    "fitted to computed gains, steps are L (1 − (L/(L+1))^k). Right: the exponents of MAE and SALT "
    "relative to JEPA's, which is L.",
    size=(10.5, 4.2),
    compute=compute,
    draw=draw,
)
