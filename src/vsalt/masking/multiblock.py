"""Multi-block masks: hide the union of a few random blocks, keep the rest as context.

Algorithm of V-JEPA (arXiv 2404.08471, appendix; facebookresearch/vjepa2), for a grid of
T x H x W tokens: with k = floor(H W s) and aspect ratio a, a block is
h = round(sqrt(k a)) by w = round(sqrt(k / a)) tokens, clamped to the grid, and spans
max(1, floor(T s_t)) steps; blocks of one size are placed uniformly; targets = their union,
context = the complement. A draw without context is drawn again.

Deviation from the source: the block size is drawn anew for every clip (policy `budget`), where
the source draws one per batch.
"""

import math

import numpy as np

from vsalt.masking.config import BlocksConfig
from vsalt.masking.types import Grid


def draw_block_size(
    generator: np.random.Generator,
    grid: Grid,
    blocks: BlocksConfig,
    aspect_ratio: tuple[float, float],
) -> Grid:
    """Draw the size (steps, height, width) in tokens that all blocks of a clip share."""
    steps, height, width = grid
    ratio = generator.uniform(*aspect_ratio)
    area = int(height * width * blocks.spatial_scale)
    return (
        max(1, int(steps * blocks.temporal_scale)),
        min(height, max(1, round(math.sqrt(area * ratio)))),
        min(width, max(1, round(math.sqrt(area / ratio)))),
    )


def draw_hidden(
    generator: np.random.Generator, grid: Grid, block_size: Grid, num_blocks: int
) -> np.ndarray:
    """Return a boolean array of shape `grid`, True where one of the blocks lies."""
    hidden = np.zeros(grid, dtype=bool)
    room = np.subtract(grid, block_size)
    steps, height, width = block_size
    for start, top, left in generator.integers(0, room, (num_blocks, 3), endpoint=True).tolist():
        hidden[start : start + steps, top : top + height, left : left + width] = True
    return hidden
