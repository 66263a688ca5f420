"""Parity with V-JEPA 2: whole batches of masks, bit for bit as its own generator draws them.

The block size of a batch comes from a generator of its own, seeded 0, 1, 2, ... (one per call);
the places of blocks come from another generator that runs on, one `torch.randint` each for row,
column and step of every block of every clip (facebookresearch/vjepa2,
`src/masks/multiseq_multiblock3d.py`). This is for comparing with that code. Training uses the
policy `batch_min`, which is the same algorithm with keyed draws.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from vsalt.masking.batch_min import cut_to_minimum, draw_clips
from vsalt.masking.config import BlocksConfig
from vsalt.masking.multiblock import block_size
from vsalt.masking.types import Grid, MaskBatch


class VJepa2Masks:
    """Draws the masks of one kind, one batch per call.

    Example:
        >>> torch.manual_seed(0)
        >>> masks = VJepa2Masks((8, 14, 14), BlocksConfig(num_blocks=8, spatial_scale=0.15))
        >>> masks.draw(4).context.shape
        torch.Size([4, 416])

    Args:
        grid: size of a clip in tokens (T, H, W).
        blocks: the kind; its `num_context` and `num_targets` are not used.
        aspect_ratio: range of height over width of a block.
    """

    def __init__(
        self, grid: Grid, blocks: BlocksConfig, aspect_ratio: tuple[float, float] = (0.75, 1.5)
    ) -> None:
        self.grid = grid
        self.blocks = blocks
        self.aspect_ratio = aspect_ratio
        self.num_calls = 0

    def draw(self, num_clips: int, generator: torch.Generator | None = None) -> MaskBatch:
        """Return the masks of the next batch.

        Args:
            num_clips: clips of the batch (per device).
            generator: where the places of blocks come from; by default torch's global one.
        """
        size = block_size(self.grid, self.blocks, self._next_ratio())
        draw = partial(_draw_corners, generator)
        masks = cut_to_minimum(draw_clips(self.grid, size, self.blocks, draw, num_clips))
        return MaskBatch(
            context=torch.from_numpy(np.stack([mask.context for mask in masks])),
            targets=torch.from_numpy(np.stack([mask.targets for mask in masks])),
        )

    def _next_ratio(self) -> float:
        own = torch.Generator().manual_seed(self.num_calls)
        self.num_calls += 1
        # The source draws the scales in time and space first, from ranges of one value each.
        share = [torch.rand(1, generator=own).item() for _ in range(3)][-1]
        low, high = self.aspect_ratio
        return low + share * (high - low)


def _draw_corners(
    generator: torch.Generator | None, room: Grid, num_blocks: int
) -> Iterator[tuple[int, int, int]]:
    steps, height, width = room
    for _ in range(num_blocks):
        top, left, start = (
            int(torch.randint(0, last + 1, (1,), generator=generator))
            for last in (height, width, steps)
        )
        yield start, top, left
