"""F1: the feature sets on which methods are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from vsalt.linear.feature_sets import named_sets
from vsalt.linear.figures import style
from vsalt.linear.figures.figure import FigureSpec, Numbers
from vsalt.linear.frozen import round_exponent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def compute(*, num_features: int = 24, seed: int = 4, teacher_depth: int = 3) -> Numbers:
    """Return lambda and rho of the sets and, for each, one curve of equal learning time.

    As eps goes to 0 an MAE learns in the order of lambda and SALT in that of lambda rho^e, so
    their curves are lambda = c and lambda = c rho^-e; c puts both through the middle of the set.
    """
    exponent = round_exponent(1, depth=teacher_depth)
    sets = []
    for name, problem in named_sets(num_features, seed).items():
        middle = float(np.exp(np.log(problem.rho).mean()))
        level = float(np.exp(np.log(problem.lambda_).mean()))
        varies = np.ptp(problem.lambda_) > 0
        sets.append(
            {
                "name": name,
                "lambda": problem.lambda_,
                "rho": problem.rho,
                "spearman": float(spearmanr(problem.lambda_, problem.rho).statistic)
                if varies
                else np.nan,
                "mae_curve": np.full(num_features, level),
                "salt_curve": level * (problem.rho / middle) ** -exponent,
            }
        )
    parameters = {"d": num_features, "seed": seed, "L_T": teacher_depth, "e": exponent}
    note = (
        f"d = {num_features} features in each set; λ of the second drawn with seed {seed}. Lines: "
        "features that are learned at the same time as ε → 0 (those above sooner); "
        f"SALT with a teacher of depth {teacher_depth}, e = {exponent:.2f}."
    )
    return {"parameters": parameters, "note": note, "sets": sets}


def draw(numbers: Numbers, figure: Figure) -> None:
    """Draw one panel for each set."""
    sets = numbers["sets"]
    axes = figure.subplots(1, len(sets), sharex=True, sharey=True)
    colours = style.rho_colours(sets[0]["rho"])
    for ax, row in zip(axes, sets, strict=True):
        _panel(ax, row, colours)
    axes[0].set_ylabel("λ, covariance (log scale)")
    style.log_ticks(axes[0].yaxis, [0.5, 1, 2, 4, 8])
    axes[0].set_ylim(0.4, 10)
    axes[0].set_xlim(0.29, 1.01)
    axes[0].set_xticks([0.4, 0.6, 0.8])
    style.rho_bar(figure, colours, axes)


def _panel(ax: Axes, row: Numbers, colours: object) -> None:
    ax.set_yscale("log")
    for curve, method in (("mae_curve", "MAE"), ("salt_curve", "SALT")):
        ax.plot(row["rho"], row[curve], color=style.COLOURS[method], ls=style.LINES[method], lw=1.5)
        if row["name"].startswith("equal"):
            at = 0 if method == "SALT" else -1
            style.label(
                ax,
                row["rho"][at],
                row[curve][at],
                method,
                color=style.COLOURS[method],
                offset=(0, 5),
                ha="left" if at == 0 else "right",
            )
    ax.scatter(row["rho"], row["lambda"], c=colours.to_rgba(row["rho"]), s=22, zorder=3)  # type: ignore[attr-defined]
    ax.set_title(pretty(row["name"]))
    ax.set_xlabel("ρ")
    value = row["spearman"]
    text = "no order by λ" if np.isnan(value) else f"Spearman(λ, ρ)\n{value:+.2f}".replace("-", "−")
    style.corner(ax, text, where="upper right")


def pretty(name: str) -> str:
    """Return the name of a set with its power as matplotlib sets it."""
    base, sign, exponent = name.partition("^")
    return style.power(base, exponent) if sign else base


SPEC = FigureSpec(
    name="F1",
    stem="F01-feature-sets",
    title="Where λ falls as ρ rises, the strong features and the predictable ones are not the same",
    caption="Covariance λ over regression coefficient ρ of five sets of features. Features on one "
    "line are learned at the same time as ε goes to 0, by an MAE (λ alone counts) or by SALT "
    "(λ ρ^e); features above it come sooner. In the three sets to the right the order by λ is "
    "that by ρ turned around.",
    size=(10.5, 3.5),
    compute=compute,
    draw=draw,
)
