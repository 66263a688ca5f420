"""The `batch_min` policy: V-JEPA's own way to equal numbers of tokens in a batch.

The clips of a batch share one block size per mask kind, and the aspect ratio behind it is the
same for all kinds. Every list of ids is cut to the shortest one of the batch, keeping the first
ids in raster order, time slowest. So the numbers of tokens change from batch to batch and with
the batch size, some tokens are neither context nor target, and late time steps are seen and
predicted less (facebookresearch/vjepa2, `src/masks/multiseq_multiblock3d.py`; arXiv 2404.08471).

A batch is here a group: `group_size` consecutive positions of the global batch.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import TypeAlias

import numpy as np

from vsalt.errors import ConfigError
from vsalt.masking.config import BlocksConfig, MultiblockConfig
from vsalt.masking.multiblock import (
    block_size,
    block_sizes,
    draw_block_size,
    draw_corners,
    draw_hidden,
    hide_blocks,
    room_of,
)
from vsalt.masking.refusals import NoContextError, no_context_problem
from vsalt.masking.types import Grid, Mask
from vsalt.randomness import keyed_generator

DrawCorners: TypeAlias = Callable[[Grid, int], Iterable[Sequence[int]]]
"""Draws the first token (step, row, column) of a number of blocks, given the last possible one."""

MAX_REDRAWS = 10_000
"""Draws of one clip that leave no context before its configuration is given up."""

MIN_WITH_CONTEXT = 5
NUM_TRIALS = 500
"""Of so many keyed draws of a block size, `MIN_WITH_CONTEXT` must leave context.

One hit in `MAX_REDRAWS` would not do: a clip of the run could still miss as often. A size of
which one draw in 500 leaves context passes once in 300 times, and then fails one clip in 5e8.
"""

VJEPA_GROUP_SIZE = 24
"""Clips per device in V-JEPA's published runs."""


class BatchMinMasker:
    """Draws masks of one kind, cut to the smallest numbers of tokens in a group of clips.

    The block size is a function of (seed, step, group), the places of blocks one of
    (seed, step, group, kind). The last group is kept, because its clips are asked for in turn.

    Args:
        grid: size of a clip in tokens (T, H, W).
        blocks: the kind; its `num_context` and `num_targets` are not used.
        aspect_ratio: range of height over width of a block.
        group_size: clips that share their block size and their numbers of tokens.
    """

    def __init__(
        self, grid: Grid, blocks: BlocksConfig, aspect_ratio: tuple[float, float], group_size: int
    ) -> None:
        self.grid = grid
        self.blocks = blocks
        self.aspect_ratio = aspect_ratio
        self.group_size = group_size
        self._last: tuple[tuple[int, int, int, str], list[Mask]] | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Expected numbers of (context, target) tokens; those of a group vary around them."""
        return truncated_means(
            self.grid, self.blocks, self.aspect_ratio, group_size=self.group_size
        )

    def draw(self, seed: int, step: int, position: int, kind: str) -> Mask:
        """Return the mask of the clip at a position of the global batch of a step."""
        group, index = divmod(position, self.group_size)
        key = (seed, step, group, kind)
        if self._last is None or self._last[0] != key:
            self._last = (key, self._draw_group(*key))
        return self._last[1][index]

    def _draw_group(self, seed: int, step: int, group: int, kind: str) -> list[Mask]:
        ratio = keyed_generator("aspect", seed, step, group).uniform(*self.aspect_ratio)
        generator = keyed_generator("group", seed, step, group, kind)
        size = block_size(self.grid, self.blocks, ratio)
        draw = partial(draw_corners, generator)
        return cut_to_minimum(draw_clips(self.grid, size, self.blocks, draw, self.group_size))


def draw_clips(
    grid: Grid, size: Grid, blocks: BlocksConfig, draw: DrawCorners, num_clips: int
) -> list[np.ndarray]:
    """Draw the hidden tokens of clips one after the other, each until it leaves some context.

    This and `cut_to_minimum` are V-JEPA's algorithm, wherever the places of blocks come from.

    Args:
        grid: size of a clip in tokens.
        size: size of a block in tokens.
        blocks: the kind.
        draw: returns the corners of a clip's blocks.
        num_clips: clips of the group.

    Returns:
        Boolean arrays of shape `grid`, True where no context may lie.

    Raises:
        NoContextError: if blocks of this size leave no context in nearly every draw.
    """
    if size == grid:
        raise NoContextError(grid, size, blocks)
    clips = []
    for _ in range(num_clips):
        for _ in range(MAX_REDRAWS):
            corners = draw(room_of(grid, size), blocks.num_blocks)
            hidden = hide_blocks(grid, size, corners, blocks.max_temporal_keep)
            if not hidden.all():
                break
        else:
            raise NoContextError(grid, size, blocks)
        clips.append(hidden)
    return clips


def cut_to_minimum(clips: list[np.ndarray]) -> list[Mask]:
    """Return masks that keep the first ids in raster order, as many as every clip has."""
    targets = [np.flatnonzero(hidden) for hidden in clips]
    contexts = [np.flatnonzero(~hidden) for hidden in clips]
    num_context, num_targets = min(map(len, contexts)), min(map(len, targets))
    return [
        Mask(context=context[:num_context], targets=target[:num_targets])
        for context, target in zip(contexts, targets, strict=True)
    ]


def check_batch_min(config: MultiblockConfig, grid: Grid, *, flag: str) -> None:
    """Refuse kinds of which a block size, however rare, leaves too little context to go on.

    Raises:
        ConfigError: with one problem per such kind.
    """
    problems = []
    for name, blocks in config.kinds.items():
        for size in block_sizes(grid, blocks, config.aspect_ratio):
            if not _leaves_context(grid, size, blocks):
                error = NoContextError(grid, size, blocks)
                problems.append(no_context_problem(error, f"{flag}.{name}"))
                break
    if problems:
        raise ConfigError(problems)


def _leaves_context(grid: Grid, size: Grid, blocks: BlocksConfig) -> bool:
    if size == grid:
        return False
    generator = keyed_generator("context", *size)
    num_found = 0
    for _ in range(NUM_TRIALS):
        num_found += not draw_hidden(generator, grid, size, blocks).all()
        if num_found == MIN_WITH_CONTEXT:
            return True
    return False


@lru_cache(maxsize=64)
def truncated_means(
    grid: Grid,
    blocks: BlocksConfig,
    aspect_ratio: tuple[float, float],
    num_groups: int = 250,
    group_size: int = VJEPA_GROUP_SIZE,
) -> tuple[int, int]:
    """Mean number of (context, target) tokens that V-JEPA's truncation leaves in a group.

    The groups are keyed, so the result is a constant of the arguments. It is at least 1.

    Raises:
        NoContextError: if blocks leave no context in nearly every draw.
    """
    totals = np.zeros(2)
    for group in range(num_groups):
        generator = keyed_generator("truncation", group)
        size = draw_block_size(generator, grid, blocks, aspect_ratio)
        clips = draw_clips(grid, size, blocks, partial(draw_corners, generator), group_size)
        num_hidden = [int(hidden.sum()) for hidden in clips]
        totals += (grid[0] * grid[1] * grid[2] - max(num_hidden), min(num_hidden))
    context, targets = np.maximum(1, np.floor(totals / num_groups + 0.5)).astype(int).tolist()
    return context, targets
