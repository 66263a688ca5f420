"""Rows of small images laid out as one, with gaps that show on light and on dark pages."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped, UInt8

BACKGROUND = 128
"""Grey level between the tiles."""
OUTLINE = 64
"""Grey level of the line around each tile."""
GAP = 3
"""Pixels between neighbours in a row, and around all."""
ROW_GAP = 8
"""Pixels between rows."""


def lay_out(rows: Sequence[UInt8[np.ndarray, "S h w 3"]]) -> UInt8[np.ndarray, "H W 3"]:
    """Return rows of equally large tiles as one image, each tile with a line around it.

    Args:
        rows: at least one; all of one shape.
    """
    num_tiles, height, width, _ = rows[0].shape
    assert all(row.shape == rows[0].shape for row in rows), [row.shape for row in rows]
    # The line lies outside of the tile, and takes one pixel on every side.
    down, across = height + 2 + ROW_GAP, width + 2 + GAP
    size = (len(rows) * down - ROW_GAP + 2 * GAP, num_tiles * across + GAP, 3)
    image = np.full(size, BACKGROUND, np.uint8)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            top, left = GAP + i * down, GAP + j * across
            image[top : top + height + 2, left : left + width + 2] = OUTLINE
            image[top + 1 : top + 1 + height, left + 1 : left + 1 + width] = tile
    return image


def enlarge(
    tiles: Shaped[np.ndarray, "S h w *c"], factor: tuple[int, int]
) -> Shaped[np.ndarray, "S H W *c"]:
    """Repeat every pixel `factor` times (down, across)."""
    return tiles.repeat(factor[0], axis=1).repeat(factor[1], axis=2)


def reduce(tiles: UInt8[np.ndarray, "S H W 3"], factor: int) -> UInt8[np.ndarray, "S h w 3"]:
    """Return the mean of every `factor` x `factor` pixels, rounded; both sides are multiples."""
    if factor == 1:
        return tiles
    num, height, width, _ = tiles.shape
    blocks = tiles.reshape(num, height // factor, factor, width // factor, factor, 3)
    means: np.ndarray = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)
    return means
