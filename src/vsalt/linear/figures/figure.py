"""What a figure is: numbers that are computed, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Numbers: TypeAlias = dict[str, Any]
"""Numbers of a figure by name: plain values, arrays, and lists and dicts of them."""

CLOCK = (
    "Times are those of gradient flow with rate 1 on every matrix: n steps of gradient descent with"
    " learning rate lr are t = n lr. The clock of arXiv 2407.03475 runs L times as fast."
)


@dataclass(frozen=True, kw_only=True)
class FigureSpec:
    """One figure.

    Attributes:
        name: F1 to F11.
        stem: name of its files without a suffix.
        title: what it finds.
        caption: what is seen, to be read with the picture alone.
        size: width and height, inches.
        compute: returns the numbers; its keyword arguments are the settings, all with defaults.
            `parameters` holds them, and `note` is what is printed of them on the figure.
        draw: draws the numbers on an empty figure; title and note are `write`'s.
    """

    name: str
    stem: str
    title: str
    caption: str
    size: tuple[float, float]
    compute: Callable[..., Numbers]
    draw: Callable[[Numbers, Figure], None]


def plain(value: object) -> object:
    """Return numbers as JSON has them: lists, and null for what is infinite or undefined."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
