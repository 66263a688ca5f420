"""What `vsalt linear data` found: JSON, tables, a figure, and what it means in words."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsalt import __version__

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from vsalt.linear.estimate import Estimate, Misfit
    from vsalt.linear.forecast import Forecast

Result = dict[str, Any]
_LARGE_MISFIT = 0.1
"""Share off the diagonals above which the model is called a poor guide."""
_PANELS = 4
"""Methods side by side in the figure."""
_SAME_ORDER = 0.95
"""Spearman's correlation above which two orders of learning are called the same."""


def as_json(
    settings: Mapping[str, Any],
    estimate: "Estimate",
    forecasts: "Sequence[Forecast]",
    *,
    shrunk: tuple[int, int, int] | None,
) -> Result:
    """Return all that was found.

    Args:
        settings: where the pairs came from.
        estimate: lambda and rho.
        forecasts: of its predictable features.
        shrunk: (t, h, w) of a tubelet, to describe features in pixels.
    """
    result: Result = {
        "vsalt": __version__,
        "settings": dict(settings),
        "misfit": _misfit(estimate.misfit),
        "held_out_misfit": None if estimate.held_out is None else _misfit(estimate.held_out),
        "kept_variance": estimate.kept_variance,
        "features": _features(estimate, forecasts, shrunk),
        "agreement": _agreement(estimate, forecasts),
        "methods": {own.name: _method(own, estimate) for own in forecasts},
    }
    result["counts"] = _counts(result["features"])
    result["conclusion"] = conclusion(result)
    result["limits"] = limits(result)
    return result


def _misfit(misfit: "Misfit") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(misfit)


def _features(
    estimate: "Estimate", forecasts: "Sequence[Forecast]", shrunk: tuple[int, int, int] | None
) -> list[dict[str, Any]]:
    import numpy as np

    predictable = estimate.is_predictable()
    columns: dict[str, Any] = {
        "lambda": estimate.lambda_,
        "rho": estimate.rho,
        "variance": estimate.variance,
        "variance_share": estimate.variance / estimate.variance.sum() * estimate.kept_variance,
    }
    if estimate.lambda_error is not None and estimate.rho_error is not None:
        columns |= {"lambda_error": estimate.lambda_error, "rho_error": estimate.rho_error}
    if shrunk is not None:
        from vsalt.evaluation.tubelet_looks import looks

        found = looks(estimate.basis, shrunk)
        columns |= {"change": found.change, "colour": found.colour, "cycles": found.cycles}
    features: list[dict[str, Any]] = [
        {name: float(values[index]) for name, values in columns.items()}
        | {"predictable": bool(predictable[index])}
        for index in range(len(predictable))
    ]
    for place, index in enumerate(np.flatnonzero(predictable)):
        ranks = {own.name: own.ranks[place] for own in forecasts}
        times = {own.name: _finite(own.times[place]) for own in forecasts}
        features[index] |= {"rank": ranks, "time": times}
    return features


def _finite(value: float) -> float | None:
    import math

    return float(value) if math.isfinite(value) else None


def _counts(features: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {
        "features": len(features),
        "predictable": sum(own["predictable"] for own in features),
        "lambda_below_zero": sum(own["lambda"] < 0 for own in features),
        "lambda_unclear": sum(not own["predictable"] and own["lambda"] >= 0 for own in features),
        "rho_above_one": sum(own["predictable"] and own["rho"] > 1 for own in features),
    }


def _agreement(estimate: "Estimate", forecasts: "Sequence[Forecast]") -> dict[str, Any] | None:
    """Return how alike lambda and rho, and the orders of learning, are; None for few features.

    Spearman's correlation of lambda and rho, and of the MAE's order with all others; and by what
    factor the features at the ninth decile exceed those at the first.
    """
    import numpy as np

    from vsalt.linear.measures import order_correlation

    problem = estimate.problem()
    if len(problem) < 3:
        return None
    mae, *others = forecasts
    deciles = {
        name: np.quantile(values, [0.1, 0.9])
        for name, values in (("lambda", problem.lambda_), ("rho", problem.rho))
    }
    return {
        "lambda_rho": order_correlation(problem.lambda_, problem.rho),
        "order": {own.name: order_correlation(mae.times, own.times) for own in others},
        "spread": {name: float(high / low) for name, (low, high) in deciles.items()},
    }


def _method(own: "Forecast", estimate: "Estimate") -> dict[str, Any]:
    import numpy as np

    problem = estimate.problem()
    learned = np.isfinite(own.times)
    result: dict[str, Any] = {
        "num_learned": int(learned.sum()),
        "earliness_lambda": own.earliness(problem.lambda_),
        "earliness_rho": own.earliness(problem.rho),
        "first_time": _finite(float(own.times.min())),
        "last_time": float(own.times[learned].max()) if learned.any() else None,
    }
    if own.stop is not None:
        passed = own.stop.passed_on
        weak = is_predictable_but_weak(problem.lambda_, problem.rho)
        result |= {
            "stop": {
                "share_of_features": own.stop.share,
                "share_of_time": own.stop.time_share,
                "num_passed_on": int(passed.sum()),
                "num_features": len(passed),
                "mean_rho_passed_on": _mean(problem.rho[passed]),
                "mean_rho_lost": _mean(problem.rho[~passed]),
                "num_weak": int(weak.sum()),
                "num_weak_passed_on": int((weak & passed).sum()),
                "passed_on": passed.tolist(),
            }
        }
    return result


def is_predictable_but_weak(lambda_: "np.ndarray", rho: "np.ndarray") -> "np.ndarray":
    """Return which features have a rho above the median and a lambda below it."""
    import numpy as np

    return np.asarray((rho > np.median(rho)) & (lambda_ < np.median(lambda_)))


def _mean(values: "np.ndarray") -> float | None:
    return float(values.mean()) if len(values) else None


def conclusion(result: Result) -> list[str]:
    """Return what the numbers mean, in sentences."""
    agreement, methods = result["agreement"], result["methods"]
    number = result["counts"]["predictable"]
    if agreement is None:
        return [f"Only {number} features can be predicted: too few to speak of an order."]
    spread, alike = agreement["spread"], agreement["order"]
    lines = [
        f"lambda and rho: Spearman {agreement['lambda_rho']:+.2f} over {number} features; lambda "
        f"differs by a factor of {spread['lambda']:.3g}, rho by {spread['rho']:.3g} "
        "(first to ninth decile).",
        f"The order of the MAE is that of JEPA by {alike['jepa']:+.2f} and that of SALT by "
        f"{alike['salt']:+.2f} (Spearman)"
        + (
            ": the target hardly changes what is learned first."
            if min(alike["jepa"], alike["salt"]) > _SAME_ORDER
            else ": the target changes what is learned first."
        ),
    ]
    orders = ", ".join(
        f"{name} {methods[name]['earliness_lambda']:+.2f} / {methods[name]['earliness_rho']:+.2f}"
        for name in ("mae", "jepa", "salt")
    )
    lines.append(f"Early goes with lambda / rho (Spearman): {orders}.")
    never = result["counts"]["predictable"] - methods["jepa"]["num_learned"]
    if never:
        lines.append(f"JEPA never learns {never} of them: their rho is below its start.")
    lines += [
        _of_stop(own["stop"]) for own in methods.values() if own.get("stop", {}).get("num_features")
    ]
    return lines


def _of_stop(stop: Mapping[str, Any]) -> str:
    lost = stop["num_features"] - stop["num_passed_on"]
    text = (
        f"A teacher stopped with {stop['share_of_features']:.0%} of its features learned "
        f"({stop['share_of_time']:.1%} of the time for all) passes on {stop['num_passed_on']} of "
        f"{stop['num_features']}"
    )
    if not lost:
        return text + ": nothing is lost."
    passed, rho = stop["mean_rho_passed_on"], stop["mean_rho_lost"]
    kept = "" if passed is None else f" against {passed:.2f} of what it passes on"
    return (
        f"{text}; what it loses has a mean rho of {rho:.2f}{kept}. Of the {stop['num_weak']} "
        f"predictable but weak features it passes on {stop['num_weak_passed_on']}."
    )


def limits(result: Result) -> list[str]:
    """Return where the linear model stops being a guide here."""
    misfit, counts, settings = result["misfit"], result["counts"], result["settings"]
    worst = max(misfit["scaled_xx"], misfit["scaled_yx"])
    lines = [
        f"No basis fits both matrices: {misfit['off_diagonal_xx']:.1%} and "
        f"{misfit['off_diagonal_yx']:.1%} of their squares lie off the diagonal, "
        f"{misfit['scaled_xx']:.1%} and {misfit['scaled_yx']:.1%} once features are scaled alike"
        + (": the order of weak features is a poor guide." if worst > _LARGE_MISFIT else "."),
        f"{misfit['antisymmetric']:.1%} of the squares of Sigma_yx are antisymmetric, which the "
        "model has no place for.",
    ]
    left_out = counts["lambda_below_zero"] + counts["lambda_unclear"]
    if left_out:
        lines.append(
            f"{left_out} of {counts['features']} features are left out: "
            f"{counts['lambda_below_zero']} have a lambda below 0 "
            f"({misfit['negative_share']:.1%} of the sum of lambda²), "
            f"{counts['lambda_unclear']} one within two standard errors of it."
        )
    fast = [own for own in result["features"] if own.get("change", 0) > 0.5]
    if fast:
        negative = sum(own["lambda"] < 0 for own in fast)
        lines.append(
            f"{len(fast)} features are mostly differences between the frames of a tubelet; "
            f"{negative} of them have a lambda below 0. What moves is in them, and the model has "
            "nothing to say of those."
        )
    if counts["rho_above_one"]:
        lines.append(
            f"{counts['rho_above_one']} features have a rho above 1: y varies more than x there, "
            "and is not another view of the same thing."
        )
    if settings.get("num_ending_in_equal_frames"):
        lines.append(
            f"{settings['num_ending_in_equal_frames']} of {settings['num_clips']} clips end in "
            "equal frames, as those of videos do that are shorter than a clip. That makes rho too "
            "large; fewer or closer frames help (--clip.num-frames, --clip.frame-step)."
        )
    lines += [
        "Only means and covariances enter. Motion in unknown directions is hardly in them: a "
        "linear network cannot tell it from noise, a trained one can.",
        "Times hold for small, balanced starts in which predictor and encoder are aligned; from "
        "other starts JEPA's order blurs, that of the MAE hardly.",
    ]
    return lines


def print_tables(result: Result, console: "Console", *, top: int) -> None:
    """Print the leading features, the misfit and the conclusion."""
    settings = result["settings"]
    console.print(
        f"{settings['num_pairs']} pairs from {settings['num_clips']} clips of "
        f"{settings['num_rows']} rows ({settings['num_unreadable']} unreadable), "
        f"{settings['space']}, lag {settings['lag']}; linear encoders of depth "
        f"{settings['depth']}, eps {settings['eps']:g}",
        soft_wrap=True,
    )
    console.print(_feature_table(result, top))
    console.print(_order_table(result, top))
    console.print(_misfit_table(result))
    for title, lines in (
        ("What follows", result["conclusion"]),
        ("Where the linear model stops being a guide", result["limits"]),
    ):
        console.print(title)
        for line in lines:
            console.print(f"  - {line}", soft_wrap=True)


def _feature_table(result: Result, top: int) -> "Table":
    features = result["features"]
    looks = ("change", "colour", "cycles") if "change" in features[0] else ()
    table = _table(
        f"{min(top, len(features))} of {len(features)} features, by variance",
        ("", "lambda", "rho", "sigma²", "share", *looks),
    )
    for number, own in enumerate(features[:top], start=1):
        table.add_row(
            str(number),
            f"{own['lambda']:.3g}",
            f"{own['rho']:.2f} ± {own['rho_error']:.2f}",
            f"{own['variance']:.3g}",
            f"{own['variance_share']:.1%}",
            *(f"{own[name]:.2f}" for name in looks),
        )
    return table


def _order_table(result: Result, top: int) -> "Table":
    """Ranks of the same features; brackets: a stopped teacher does not pass it on."""
    names = list(result["methods"])
    table = _table("order of learning (in brackets: not passed on; -: no guess)", ("", *names))
    place = 0
    for number, own in enumerate(result["features"][:top], start=1):
        if not own["predictable"]:
            table.add_row(str(number), *("-" for _ in names))
            continue
        cells = []
        for name in names:
            text = str(own["rank"][name] or "never")
            stop = result["methods"][name].get("stop")
            cells.append(f"({text})" if stop and not stop["passed_on"][place] else text)
        table.add_row(str(number), *cells)
        place += 1
    return table


def _table(title: str, columns: Sequence[str]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _misfit_table(result: Result) -> "Table":
    columns = {
        "off_diagonal_xx": "xx off",
        "off_diagonal_yx": "yx off",
        "scaled_xx": "xx scaled",
        "scaled_yx": "yx scaled",
        "antisymmetric": "antisymm.",
        "negative_share": "lambda < 0",
    }
    table = _table("misfit: shares of squares", ("", *columns.values()))
    for title, key in (("fitted", "misfit"), ("held out", "held_out_misfit")):
        if result[key] is not None:
            table.add_row(title, *(f"{result[key][name]:.2%}" for name in columns))
    return table


def write_figure(result: Result, path: Path) -> bool:
    """Draw lambda against rho, coloured by the order of learning; False without matplotlib."""
    if find_spec("matplotlib") is None:
        return False
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    names = list(result["methods"])
    num_rows = -(-len(names) // _PANELS)
    figure = Figure(figsize=(3.1 * _PANELS + 0.8, 2.9 * num_rows + 0.5), layout="constrained")
    axes = figure.subplots(num_rows, _PANELS, sharex=True, sharey=True, squeeze=False).ravel()
    for axis in axes[len(names) :]:
        axis.remove()
    number = result["counts"]["predictable"]
    scale = ScalarMappable(norm=Normalize(1, number), cmap="viridis_r")
    for axis, name in zip(axes, names, strict=False):
        _draw(axis, result, name, scale)
    figure.colorbar(scale, ax=list(axes[: len(names)]), label="order of learning (1: first)")
    settings = result["settings"]
    figure.suptitle(
        f"{settings['space']}, lag {settings['lag']}, L = {settings['depth']}, "
        f"ε = {settings['eps']:g}, {settings['num_pairs']} pairs; hollow: not passed on by the "
        "stopped teacher; red: never learned",
        fontsize=9,
    )
    figure.savefig(path, dpi=120)
    return True


def _draw(axis: Any, result: Result, name: str, scale: Any) -> None:
    """Draw one method; `scale` gives the colour of a rank."""
    drawn = [own for own in result["features"] if own["predictable"]]
    stop = result["methods"][name].get("stop")
    passed = stop["passed_on"] if stop else [True] * len(drawn)
    lambdas, rhos = ([own[key] for own in drawn] for key in ("lambda", "rho"))
    ranks = [own["rank"][name] for own in drawn]
    edges = [scale.to_rgba(rank or len(drawn)) for rank in ranks]
    faces = [edge if ok else "white" for edge, ok in zip(edges, passed, strict=True)]
    axis.scatter(lambdas, rhos, facecolors=faces, edgecolors=edges, s=16)
    never = [index for index, rank in enumerate(ranks) if rank is None]
    axis.scatter(
        [lambdas[i] for i in never], [rhos[i] for i in never], marker="x", color="tab:red", s=16
    )
    axis.set_xscale("log")
    axis.set_title(name, fontsize=9)
    axis.set_xlabel("λ = cov(y, x)")
    axis.set_ylabel("ρ = λ / var(x)")
    axis.label_outer()
