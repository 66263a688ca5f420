"""How clips are brought to the size of a picture: which time steps, and how large.

Shapes: (T, H, W) the grid in tokens, S time steps that are shown, h x w pixels of a shown frame.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped, UInt8

from vsalt.masking.types import Grid
from vsalt.report.tiles import enlarge, reduce

MAX_STEPS = 8
"""Time steps that are shown."""
MAX_SIDE = 128
"""Small frames are enlarged as long as they stay within so many pixels."""
_FEWER_STEPS = 4
_MIN_SIDE = 48


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which time steps of a clip are shown, and at what size.

    Attributes:
        grid: size of a clip in tokens.
        tubelet: frames, height and width of a token in pixels.
        steps: numbers of the time steps, ascending.
        enlarge: how often a pixel is repeated along each side.
        reduce: of how many pixels along each side the mean is taken; divides the tubelet.
    """

    grid: Grid
    tubelet: tuple[int, int, int]
    steps: tuple[int, ...]
    enlarge: int = 1
    reduce: int = 1

    def frames(
        self, clip: UInt8[np.ndarray, "3 frames height width"]
    ) -> UInt8[np.ndarray, "S h w 3"]:
        """Return the first frame of every shown time step."""
        first = clip[:, :: self.tubelet[0]][:, list(self.steps)].transpose(1, 2, 3, 0)
        return enlarge(reduce(first, self.reduce), (self.enlarge, self.enlarge))

    def cells(self, tokens: Shaped[np.ndarray, "T H W *c"]) -> Shaped[np.ndarray, "S h w *c"]:
        """Return one value per token as an area of the token's size."""
        sides = [side * self.enlarge // self.reduce for side in self.tubelet[1:]]
        return enlarge(tokens[list(self.steps)], (sides[0], sides[1]))


def layouts(grid: Grid, tubelet: tuple[int, int, int]) -> Iterator[Layout]:
    """Yield layouts, the largest first: smaller ones have fewer time steps and smaller frames.

    A token is always a whole number of pixels.
    """
    height, width = grid[1] * tubelet[1], grid[2] * tubelet[2]
    common = math.gcd(tubelet[1], tubelet[2])
    for factor in range(1, common + 1):
        if common % factor or (factor > 1 and max(height, width) // factor < _MIN_SIDE):
            continue
        for num_steps in (MAX_STEPS, _FEWER_STEPS):
            yield Layout(
                grid=grid,
                tubelet=tubelet,
                steps=even_steps(grid[0], num_steps),
                enlarge=max(1, MAX_SIDE // max(height, width)) if factor == 1 else 1,
                reduce=factor,
            )


def even_steps(num_steps: int, at_most: int) -> tuple[int, ...]:
    """Return numbers of time steps from the first one on, evenly spaced."""
    shown = min(num_steps, at_most)
    return tuple(index * num_steps // shown for index in range(shown))
