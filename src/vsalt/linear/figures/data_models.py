"""F10: order of learning and output variance on models of data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsalt.linear.asymptotics import slow_ema_time
from vsalt.linear.closed_form import critical_time, final_gain
from vsalt.linear.feature_sets import anti_correlated, even_rho, independent, named_sets
from vsalt.linear.figures import style
from vsalt.linear.figures.figure import FigureSpec, Numbers
from vsalt.linear.figures.methods import (
    FRACTION,
    JEPA,
    MAE,
    SALT,
    SALT_TWICE,
    learning_times,
    method,
)
from vsalt.linear.figures.sets import pretty
from vsalt.linear.frozen import stop_time, stopped_teacher
from vsalt.linear.generative import Autoregression, Generator, TwoViews, sampled_problem
from vsalt.linear.measures import earliness_correlation, output_variance_share
from vsalt.linear.methods import Network, Salt
from vsalt.linear.problem import Features, Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STOPPED, SLOW = "SALT, teacher at 50 %", "slow EMA"
METHODS = (MAE, SLOW, STOPPED, SALT, SALT_TWICE, JEPA)
NETWORKS = ((1, 1e-2), (2, 1e-2), (3, 1e-2), (5, 1e-3))
"""Depth and eps of the orders that are shown."""
NEAR = 0.1
"""An order whose times all lie within this share of the earliest is not called one."""


def order_times(name: str, problem: Problem, depth: int, eps: float) -> Features:
    """Return critical times of any of this figure's methods."""
    if name == SLOW:
        return slow_ema_time(problem, depth, eps, 1.0, FRACTION)
    if name == STOPPED:
        network = Network(depth=depth, eps=eps)
        stop = stop_time(problem, network, 0.5, fraction=FRACTION)
        teacher = Salt(stopped_teacher(problem, network, stop))
        return critical_time(problem, network, teacher, fraction=FRACTION)
    return learning_times(name, problem, depth, eps)


def compute(
    *,
    num_features: int = 24,
    networks: tuple[tuple[int, float], ...] = NETWORKS,
    variance_depths: tuple[int, ...] = (1, 2, 3, 5, 8),
    num_samples: int = 50_000,
    seeds: int = 50,
    seed: int = 0,
) -> Numbers:
    """Return Spearman's correlations of earliness and rho, and shares of the output variance."""
    models = _models(num_features)
    drawn = {name: [model.problem()] for name, model in models.items()}
    drawn["λ independent of ρ"] = [independent(num_features, s) for s in range(seeds)]
    rng = np.random.default_rng(seed)
    sampled = {
        name: [sampled_problem(*models[name].sample(num_samples, rng))]
        for name in ("λ = ρ^-0.5", "AR(1)")
    }
    problem = anti_correlated(num_features, 2.0)
    estimated = sampled_problem(*TwoViews.of(problem).sample(num_samples, rng))
    note = (
        f"d = {num_features}, ρ from 0.35 to 0.95, seen as two noisy views of one signal "
        f"(independent λ: mean over {seeds} seeds); AR(1): memory a = ρ, λ = 1/a, no added noise. "
        f"≈: all times within {NEAR:.0%}. Converged teachers of the same depth but where "
        f"stopped. Slow EMA: T → ∞. Right: λ = 1/ρ², crosses with λ, ρ estimated from "
        f"{num_samples} samples."
    )
    return {
        "parameters": {
            "d": num_features,
            "L_eps": networks,
            "variance_L": variance_depths,
            "num_samples": num_samples,
            "seeds": seeds,
            "seed": seed,
            "fraction": FRACTION,
        },
        "note": note,
        **_orders(drawn, networks),
        "spearman_sampled": _orders(sampled, networks)["spearman"],
        "variance_input": _share(problem, np.ones(num_features)),
        "variance": _variance(problem, variance_depths),
        "variance_sampled": _variance(estimated, variance_depths),
    }


def _models(num_features: int) -> dict[str, Generator]:
    models: dict[str, Generator] = {
        name: TwoViews.of(problem) for name, problem in named_sets(num_features, 0).items()
    }
    memory = even_rho(num_features)
    models["AR(1)"] = Autoregression(
        memory=memory, signal=memory**-2.0, noise=np.zeros(num_features)
    )
    return models


def _orders(
    problems: dict[str, list[Problem]], networks: tuple[tuple[int, float], ...]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return correlation and spread for each set, method and network: means over its problems."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {"spearman": {}, "spread": {}}
    for label, drawn in problems.items():
        for name in METHODS:
            measured = [_measured(name, drawn, *network) for network in networks]
            for key, values in zip(found, zip(*measured, strict=True), strict=True):
                found[key].setdefault(label, {})[name] = list(values)
    return found


def _measured(name: str, drawn: list[Problem], depth: int, eps: float) -> tuple[float, float]:
    """Return Spearman of earliness and rho, and by what share the last time exceeds the first."""
    times = [order_times(name, problem, depth, eps) for problem in drawn]
    orders = [earliness_correlation(t, p.rho) for t, p in zip(times, drawn, strict=True)]
    spreads = [float(t.max() / t.min() - 1) for t in times]
    return float(np.mean(orders)), float(np.mean(spreads))


def _share(problem: Problem, gain: Features) -> float:
    return output_variance_share(problem, gain, problem.rho > np.median(problem.rho))


def _variance(problem: Problem, depths: tuple[int, ...]) -> dict[str, list[float]]:
    shares = {}
    for name in (MAE, SALT, JEPA):
        networks = [Network(depth=depth, eps=1e-3) for depth in depths]
        shares[name] = [
            _share(problem, final_gain(problem, n, method(name, problem, n))) for n in networks
        ]
    return shares


def draw(numbers: Numbers, figure: Figure) -> None:
    """Draw a table of correlations and lines of shares."""
    left, right = figure.subplots(1, 2, width_ratios=[2.3, 1])
    _draw_orders(numbers, figure, left)
    _draw_variance(numbers, right)


def _draw_orders(numbers: Numbers, figure: Any, ax: Any) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    sets, networks = list(numbers["spearman"]), numbers["parameters"]["L_eps"]
    values = np.array([np.ravel([numbers["spearman"][s][m] for m in METHODS]) for s in sets])
    spreads = np.array([np.ravel([numbers["spread"][s][m] for m in METHODS]) for s in sets])
    # The outer shades of the map are too dark for the numbers.
    shades = ListedColormap(colormaps["PuOr"](np.linspace(0.12, 0.88, 256))).with_extremes(
        bad="#DDDDDD"
    )
    picture = ax.imshow(
        np.ma.masked_where(spreads < NEAR, values), cmap=shades, vmin=-1, vmax=1, aspect="auto"
    )
    width = len(networks)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        ax.text(
            *(column, row, _cell(float(value), float(spreads[row, column]))),
            ha="center",
            va="center",
            fontsize=9,
            color="white" if abs(value) > 0.7 and spreads[row, column] >= NEAR else "black",
        )
    for edge in range(width, values.shape[1], width):
        ax.axvline(edge - 0.5, color="white", lw=4)
    ax.set_yticks(range(len(sets)), [pretty(name) for name in sets])
    ax.set_xticks(range(values.shape[1]), [str(L) for L, _ in networks] * len(METHODS))
    top = ax.secondary_xaxis("top")
    top.set_xticks(
        [width * index + (width - 1) / 2 for index in range(len(METHODS))],
        ["MAE", "slow EMA", "SALT, teacher\nstopped at 50 %", "SALT", "SALT ×2", "JEPA"],
    )
    for axis in (ax, top):
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    ax.grid(visible=False)
    eps = ", ".join(f"{value:g}" for _, value in networks)
    ax.set_xlabel(f"L, layers of the encoder (ε = {eps})")
    bar = figure.colorbar(picture, ax=ax, orientation="horizontal", fraction=0.05, aspect=50)
    bar.set_label("Spearman of ρ with being learned early: +1 predictable first, −1 noisy first")
    bar.outline.set_visible(False)


def _cell(value: float, spread: float) -> str:
    text = f"{value:.1f}".replace("0.", ".").replace("1.0", "1").replace("-", "−")
    text = "0" if text in (".0", "−.0") else text
    return "≈" if spread < NEAR else text


def _draw_variance(numbers: Numbers, ax: Any) -> None:
    depths = numbers["parameters"]["variance_L"]
    for name, shares in numbers["variance"].items():
        colour = style.COLOURS[name]
        ax.plot(
            *(range(len(depths)), shares),
            color=colour,
            ls=style.LINES[name],
            marker=style.MARKERS[name],
        )
        ax.plot(range(len(depths)), numbers["variance_sampled"][name], "x", color="black", ms=5)
        style.label(
            *(ax, len(depths) - 1, shares[-1], name),
            color=colour,
            offset=(-2, -7),
            ha="right",
            va="top",
            fontweight="bold",
        )
    ax.axhline(numbers["variance_input"], color=style.GREY, lw=1, ls=(0, (2, 2)))
    style.label(
        ax, 0, numbers["variance_input"] - 0.015, "in the input", color=style.GREY, va="top"
    )
    ax.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    ax.set_ylim(0, 1.04)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set_xlabel("L, layers of the encoder")
    ax.set_ylabel("output variance in the predictable half")


SPEC = FigureSpec(
    name="F10",
    stem="F10-models-of-data",
    title="Where λ falls fast enough as ρ rises, every method learns the noisy first; what differs "
    "is how much of the predictable ends up in the output",
    caption="Left: Spearman's correlation of ρ and being learned early; SALT ×2 is taught by a "
    "SALT student. Right: share of the encoder's output variance in the half of the features "
    "with the higher ρ, after infinite time. Where all times lie within 10 % (≈), as an MAE's "
    "with equal λ, the order means little.",
    size=(11.5, 5.2),
    compute=compute,
    draw=draw,
)
