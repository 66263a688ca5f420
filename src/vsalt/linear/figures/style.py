"""How all figures look: colours that colour-blind readers can tell apart, sizes, labels.

Colours of methods are Okabe and Ito's, and every method has a line of its own as well. rho is
always viridis, from dark (noisy) to light (predictable). matplotlib is imported when drawing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

COLOURS = {
    "MAE": "#0072B2",
    "SALT": "#009E73",
    "SALT ×2": "#CC79A7",
    "JEPA": "#D55E00",
    "EMA": "#9A6A00",
}
LINES: dict[str, Any] = {
    "MAE": "-",
    "SALT": (0, (5, 1.5)),
    "SALT ×2": (0, (3, 1, 1, 1)),
    "JEPA": "-",
    "EMA": (0, (1, 1)),
}
MARKERS = {"MAE": "s", "SALT": "o", "SALT ×2": "D", "JEPA": "^", "EMA": "v"}
# From light to dark with depth.
DEPTH_COLOURS = {1: "#F89540", 2: "#DE5F65", 3: "#B12A90", 5: "#6A00A8", 8: "#0D0887"}
GREY = "#555555"
DPI = 150
TIME = "time, gradient flow"

_RC = {
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "vsalt",
    "figure.constrained_layout.use": True,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Let figures be made, drawn and saved in this style, and leave matplotlib's as it was."""
    import matplotlib as mpl

    settings: Any = {**mpl.rcParamsDefault, **_RC, "backend": mpl.rcParams["backend"]}
    with mpl.rc_context(settings):
        yield


def frame(figure: Figure, title: str, parameters: str) -> None:
    """Give a figure its finding above and its parameters below, broken to its width."""
    width = float(figure.get_figwidth())
    figure.suptitle(_broken(title, width / 0.101), x=0.008, ha="left", fontsize=12, weight="bold")
    notes = _broken(parameters, width / 0.0715)
    figure.supxlabel(notes, x=0.008, ha="left", fontsize=9, color=GREY, linespacing=1.3)


def _broken(text: str, num_characters: float) -> str:
    return "\n".join(textwrap.wrap(text, int(num_characters)))


def power(base: str, exponent: float | str) -> str:
    """Return a power as matplotlib sets it."""
    shown = exponent if isinstance(exponent, str) else f"{exponent:.3g}"
    return f"{base}$^{{{shown}}}$"


def rho_colours(rho: Sequence[float] | np.ndarray) -> ScalarMappable:
    """Return the colours of rho, for lines (`to_rgba`) and for a colour bar."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    # The last tenth of viridis is too light on white.
    shades = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)), name="rho")
    return ScalarMappable(Normalize(float(np.min(rho)), float(np.max(rho))), shades)


def rho_bar(figure: Any, colours: ScalarMappable, axes: Any) -> None:
    """Draw the colour bar of rho beside some axes."""
    bar = figure.colorbar(colours, ax=axes, fraction=0.05, pad=0.02, aspect=30)
    bar.set_label("ρ (low: noisy, high: predictable)")
    bar.outline.set_visible(False)


def log_ticks(axis: Any, values: Sequence[float | int]) -> None:
    """Label a logarithmic axis with these plain numbers and no others."""
    from matplotlib.ticker import NullFormatter, NullLocator

    axis.set_ticks(values, labels=[f"{value:g}" for value in values])
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def label(axes: Axes, x: float | int, y: float | int, text: str, **more: Any) -> None:
    """Write a direct label at a point of the data, or `offset` points from it."""
    offset = more.pop("offset", (0, 0))
    axes.annotate(text, (x, y), xytext=offset, textcoords="offset points", **more)


def corner(axes: Axes, text: str, *, where: str = "upper left", **more: Any) -> None:
    """Write a note in a corner of the axes."""
    x, ha = (0.03, "left") if "left" in where else (0.97, "right")
    y, va = (0.97, "top") if "upper" in where else (0.03, "bottom")
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    more = {"fontsize": 9, "bbox": ground, **more}
    axes.text(x, y, text, ha=ha, va=va, transform=axes.transAxes, **more)
