"""The tables and the figure of `vsalt linear data`."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsalt.cli.linear_data_words import Result

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PANELS = 4
"""Methods side by side in the figure."""


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
