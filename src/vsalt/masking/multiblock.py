"""Multi-block masks: hide the union of a few random blocks, keep the rest as context.

Algorithm of V-JEPA (arXiv 2404.08471, appendix; facebookresearch/vjepa2), for a grid of
T x H x W tokens: with k = floor(H W s) and aspect ratio a, a block is
h = round(sqrt(k a)) by w = round(sqrt(k / a)) tokens, clamped to the grid, and spans
max(1, floor(T s_t)) steps; blocks of one size are placed uniformly; targets = their union and
all steps from max(1, floor(T m)) on, where m is `max_temporal_keep`; context = the complement.
A draw without context is drawn again.

Deviation from the source: with the policy `budget` the block size is drawn anew for every clip,
where the source, and the policy `batch_min`, draw one per batch.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from vsalt.masking.config import BlocksConfig
from vsalt.masking.types import Grid


def block_size(grid: Grid, blocks: BlocksConfig, ratio: float) -> Grid:
    """Return the size (steps, height, width) in tokens of a block of this aspect ratio."""
    steps, height, width = grid
    area = int(height * width * blocks.spatial_scale)
    return (
        max(1, int(steps * blocks.temporal_scale)),
        min(height, max(1, round(math.sqrt(area * ratio)))),
        min(width, max(1, round(math.sqrt(area / ratio)))),
    )


def block_sizes(grid: Grid, blocks: BlocksConfig, aspect_ratio: tuple[float, float]) -> list[Grid]:
    """Return every size that blocks may have, ascending.

    The height changes only where sqrt(k a) crosses a half-integer, the width where sqrt(k / a)
    does. So all sizes are met at the ends of the range and halfway between these places.
    """
    _, height, width = grid
    low, high = aspect_ratio
    area = int(height * width * blocks.spatial_scale)
    places = {low, high}
    if area:
        places |= {(side + 0.5) ** 2 / area for side in range(height)}
        places |= {area / (side + 0.5) ** 2 for side in range(width)}
    ratios = sorted(place for place in places if low <= place <= high)
    halfway = [(one + other) / 2 for one, other in pairwise(ratios)]
    return sorted({block_size(grid, blocks, ratio) for ratio in [low, high, *halfway]})


def draw_block_size(
    generator: np.random.Generator,
    grid: Grid,
    blocks: BlocksConfig,
    aspect_ratio: tuple[float, float],
) -> Grid:
    """Draw the size (steps, height, width) in tokens that all blocks of a clip share."""
    return block_size(grid, blocks, generator.uniform(*aspect_ratio))


def hide_blocks(
    grid: Grid, size: Grid, corners: Iterable[Sequence[int]], max_temporal_keep: float = 1.0
) -> np.ndarray:
    """Return a boolean array of shape `grid`, True where no context may lie.

    Args:
        grid: size of a clip in tokens.
        size: size of a block in tokens.
        corners: the first token (step, row, column) of every block.
        max_temporal_keep: share of the time steps, from the first one, that may hold context.
    """
    hidden = np.zeros(grid, dtype=bool)
    hidden[max(1, int(grid[0] * max_temporal_keep)) :] = True
    steps, height, width = size
    for start, top, left in corners:
        hidden[start : start + steps, top : top + height, left : left + width] = True
    return hidden


def draw_corners(generator: np.random.Generator, room: Grid, num_blocks: int) -> list[list[int]]:
    """Draw the first token (step, row, column) of every block, uniformly over `room`.

    Args:
        generator: where the draws come from.
        room: the last possible (step, row, column).
        num_blocks: blocks of the clip.
    """
    corners: list[list[int]] = generator.integers(0, room, (num_blocks, 3), endpoint=True).tolist()
    return corners


def room_of(grid: Grid, size: Grid) -> Grid:
    """Return the last (step, row, column) where a block may begin."""
    return (grid[0] - size[0], grid[1] - size[1], grid[2] - size[2])


def draw_hidden(
    generator: np.random.Generator, grid: Grid, size: Grid, blocks: BlocksConfig
) -> np.ndarray:
    """Return a boolean array of shape `grid`, True where no context may lie."""
    corners = draw_corners(generator, room_of(grid, size), blocks.num_blocks)
    return hide_blocks(grid, size, corners, blocks.max_temporal_keep)
