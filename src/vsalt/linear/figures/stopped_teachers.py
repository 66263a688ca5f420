"""F8: what a teacher that was stopped early passes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsalt.linear.closed_form import critical_time
from vsalt.linear.feature_sets import scattered
from vsalt.linear.figures import style
from vsalt.linear.figures.figure import FigureSpec, Numbers
from vsalt.linear.figures.methods import FRACTION, MAE, SALT, learning_times
from vsalt.linear.frozen import stop_time, stopped_teacher
from vsalt.linear.measures import time_law
from vsalt.linear.methods import Network, Salt
from vsalt.linear.problem import Features, Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PATIENCE = 10.0
"""A feature is inherited if the student learns it within this many median times of the student of
a converged teacher."""


def student_times(problem: Problem, network: Network, share: float) -> Features:
    """Return the student's times after a teacher that had learned this share of its features."""
    stop = stop_time(problem, network, share, fraction=FRACTION)
    teacher = Salt(stopped_teacher(problem, network, stop))
    return critical_time(problem, network, teacher, fraction=FRACTION)


def compute(
    *,
    num_features: int = 60,
    depth: int = 3,
    eps: float = 1e-3,
    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0),
    shown_share: float = 0.5,
    seeds: int = 20,
) -> Numbers:
    """Return exponents and counts over the teacher's stop, for several draws of the features."""
    network = Network(depth=depth, eps=eps)
    draws = [_one_draw(scattered(num_features, seed), network, shares) for seed in range(seeds)]
    problem = scattered(num_features, 0)
    times = student_times(problem, network, shown_share)
    note = (
        f"L = {depth}, ε = {eps:g}, d = {num_features}: λ log-uniform in [0.2, 2], ρ uniform in "
        f"[0.4, 0.95]. Left and middle: mean ± standard deviation over {seeds} seeds; right: seed "
        f"0.\nt* at {FRACTION:g} of the way from ε to the final gain. Inherited: learned within "
        f"{PATIENCE:g} median times of the student of a converged teacher."
    )
    parameters = {
        "L": depth,
        "eps": eps,
        "d": num_features,
        "seeds": list(range(seeds)),
        "fraction": FRACTION,
        "patience": PATIENCE,
        "shown_share": shown_share,
    }
    return {
        "parameters": parameters,
        "note": note,
        "shares": np.array(shares),
        **{key: np.array([row[key] for row in draws]) for key in ("a", "b", "inherited")},
        "converged": {key: np.array([row["converged"][key] for row in draws]) for key in "ab"},
        "mae": {key: np.array([row["mae"][key] for row in draws]) for key in "ab"},
        "shown": {
            "lambda": problem.lambda_,
            "rho": problem.rho,
            "is_inherited": times <= _limit(problem, network),
        },
    }


def _limit(problem: Problem, network: Network) -> float:
    times = learning_times(SALT, problem, network.depth, network.eps)
    return PATIENCE * float(np.median(times))


def _one_draw(problem: Problem, network: Network, shares: tuple[float, ...]) -> dict[str, Any]:
    limit = _limit(problem, network)
    students = [student_times(problem, network, share) for share in shares]
    laws = [time_law(problem, times) for times in students]
    row: dict[str, Any] = {
        "a": [law.lambda_ for law in laws],
        "b": [law.rho for law in laws],
        "inherited": [int(np.sum(times <= limit)) for times in students],
    }
    for key, name in (("converged", SALT), ("mae", MAE)):
        law = time_law(problem, learning_times(name, problem, network.depth, network.eps))
        row[key] = {"a": law.lambda_, "b": law.rho}
    return row


def draw(numbers: Numbers, figure: Figure) -> None:
    """Draw exponents, counts and the features of one draw."""
    left, middle, right = figure.subplots(1, 3)
    _draw_exponents(numbers, left)
    _draw_counts(numbers, middle)
    _draw_features(numbers, right)
    for ax in (left, middle):
        ax.set_xlim(0, 1.03)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        ax.set_xlabel("features the teacher had learned\nwhen it was stopped")


def _band(ax: Any, x: np.ndarray, rows: np.ndarray, **line: Any) -> None:
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    ax.plot(x, mean, **line)
    ax.fill_between(x, mean - deviation, mean + deviation, color=line["color"], alpha=0.18, lw=0)


def _draw_exponents(numbers: Numbers, ax: Any) -> None:
    colours = {"a": "#AA3377", "b": "#4477AA"}
    names = {"a": "a, of λ", "b": "b, of ρ"}
    for key, colour in colours.items():
        _band(ax, numbers["shares"], numbers[key], color=colour, marker="o", ms=4)
        ax.axhline(numbers["converged"][key].mean(), color=colour, ls=(0, (2, 2)), lw=1.2)
        at = len(numbers["shares"]) // 3
        style.label(
            ax,
            numbers["shares"][at],
            numbers[key].mean(axis=0)[at],
            names[key],
            color=colour,
            fontweight="bold",
            offset=(0, 16),
        )
    style.corner(ax, "dashed: converged teacher", where="upper right")
    ax.set_ylim(-5.4, 1.3)
    ax.set_ylabel("exponents of the student's t* ~ $λ^a ρ^b$")
    ax.set_title("what decides the student's order")


def _draw_counts(numbers: Numbers, ax: Any) -> None:
    num_features = numbers["parameters"]["d"]
    colour = style.COLOURS["SALT"]
    _band(ax, numbers["shares"], numbers["inherited"], color=colour, marker="o", ms=4)
    ax.plot([0, 1], [0, num_features], color=style.GREY, lw=1, ls=(0, (2, 2)))
    more = {"ha": "right", "va": "top", "color": style.GREY}
    style.label(ax, 1.0, 0.5 * num_features, "dashed: as many as\nthe teacher learned", **more)
    ax.set_ylim(0, num_features * 1.05)
    ax.set_ylabel(f"features inherited, of {num_features}")
    ax.set_title("how many come in time")


def _draw_features(numbers: Numbers, ax: Any) -> None:
    shown = numbers["shown"]
    got = shown["is_inherited"]
    ax.set_yscale("log")
    ax.scatter(
        shown["rho"][got],
        shown["lambda"][got],
        color=style.COLOURS["SALT"],
        s=24,
        label="inherited",
    )
    ax.scatter(
        *(shown["rho"][~got], shown["lambda"][~got]),
        facecolor="white",
        edgecolor=style.COLOURS["JEPA"],
        marker="s",
        s=22,
        label="lost",
    )
    style.log_ticks(ax.yaxis, [0.2, 0.5, 1, 2])
    ax.set_ylim(0.18, 3.3)
    ax.set_xlabel("ρ, regression coefficient")
    ax.set_ylabel("λ, covariance (log scale)")
    ax.set_title(f"teacher stopped at {numbers['parameters']['shown_share']:.0%}")
    ax.legend(loc="upper center", ncols=2, columnspacing=1, handletextpad=0.2, borderaxespad=0)


SPEC = FigureSpec(
    name="F8",
    stem="F08-stopped-teachers",
    title="A teacher that stops early passes on what is strong: predictable but weak features are "
    "lost",
    caption="Left: exponents of the student's critical time in λ and ρ over the share of features "
    "that the MAE teacher had learned; with a converged teacher they are −1 and −L/(L+1). Middle: "
    "features that the student learns in time. Right: which those are, with a teacher stopped "
    "when it had learned half of them; the border is one in λ, not in ρ.",
    size=(10.5, 4.3),
    compute=compute,
    draw=draw,
)
