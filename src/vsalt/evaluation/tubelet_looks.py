"""What a direction in the space of tubelets looks like: fast or still, fine or smooth, colourful.

Shapes: k directions; a tubelet is 3 colours x t frames x h x w pixels, d = 3 t h w.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True, kw_only=True, eq=False)
class Looks:
    """Of every direction, weighted by its squares.

    Attributes:
        change: share that is not the mean over the tubelet's frames; 0 is still.
        colour: share that is not the mean over the three colours; 0 is grey.
        cycles: mean spatial frequency, in cycles per side of a tubelet; 0 is even.
    """

    change: Float64[np.ndarray, "k"]
    colour: Float64[np.ndarray, "k"]
    cycles: Float64[np.ndarray, "k"]


def looks(basis: Float64[np.ndarray, "d k"], tubelet: tuple[int, int, int]) -> Looks:
    """Describe the columns of a basis.

    Args:
        basis: of unit vectors, colours first, then frames, rows and columns.
        tubelet: (t, h, w).
    """
    pictures = basis.T.reshape(-1, 3, *tubelet)
    down, across = (_cosines(side) for side in tubelet[1:])
    power = np.square(down @ pictures @ across.T).sum(axis=(1, 2))
    # Cosine number k has k half cycles over the side.
    cycles = np.hypot(*np.meshgrid(*(np.arange(side) / 2 for side in tubelet[1:]), indexing="ij"))
    return Looks(
        change=1 - tubelet[0] * np.square(pictures.mean(axis=2)).sum(axis=(1, 2, 3)),
        colour=1 - 3 * np.square(pictures.mean(axis=1)).sum(axis=(1, 2, 3)),
        cycles=(power * cycles).sum(axis=(1, 2)),
    )


def _cosines(side: int) -> Float64[np.ndarray, "side side"]:
    """Return the orthonormal cosines (DCT-II) as rows."""
    number, place = np.arange(side)[:, None], np.arange(side)[None]
    waves = np.cos(np.pi * number * (2 * place + 1) / (2 * side)) * np.sqrt(2 / side)
    waves[0] /= np.sqrt(2)
    return np.asarray(waves, dtype=np.float64)
