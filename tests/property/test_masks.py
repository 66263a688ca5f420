"""Masks on any grid and at any scale."""

import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vsalt.masking.budget import BudgetMasker
from vsalt.masking.config import BlocksConfig
from vsalt.masking.multiblock import draw_block_size, draw_hidden
from vsalt.randomness import keyed_generator

grids = st.tuples(st.integers(1, 6), st.integers(2, 10), st.integers(2, 10))
scales = st.floats(0.05, 0.8)
shares = st.floats(0.05, 1.0)


@settings(max_examples=60)
@given(
    grid=grids,
    num_blocks=st.integers(1, 8),
    spatial=scales,
    temporal=shares,
    low=st.floats(0.3, 1.5),
    spread=st.floats(0, 2),
    budgets=st.tuples(shares, shares),
    seed=st.integers(0, 2**32),
)
def test_masks_keep_their_promises(
    grid: tuple[int, int, int],
    num_blocks: int,
    spatial: float,
    temporal: float,
    low: float,
    spread: float,
    budgets: tuple[float, float],
    seed: int,
) -> None:
    blocks = BlocksConfig(num_blocks=num_blocks, spatial_scale=spatial, temporal_scale=temporal)
    aspect = (low, low + spread)
    generator = keyed_generator("property", seed)
    size = draw_block_size(generator, grid, blocks, aspect)
    hidden = draw_hidden(generator, grid, size, num_blocks)
    assert hidden.shape == grid
    assert math.prod(size) <= hidden.sum() <= min(math.prod(grid), num_blocks * math.prod(size))

    num_tokens = math.prod(grid)
    num_targets = max(1, math.floor(budgets[0] * hidden.sum()))
    num_context = max(1, math.floor(budgets[1] * (num_tokens - hidden.sum())))
    masker = BudgetMasker(
        grid,
        BlocksConfig(
            num_blocks=num_blocks,
            spatial_scale=spatial,
            temporal_scale=temporal,
            num_context=num_context,
            num_targets=num_targets,
        ),
        aspect,
    )
    assume(masker.acceptance(40) >= 0.25)
    for key in range(3):
        mask = masker.draw("clip", seed, key)
        assert len(mask.context) == num_context
        assert len(mask.targets) == num_targets
        both = np.concatenate([mask.context, mask.targets])
        assert len(np.unique(both)) == num_context + num_targets
        assert both.min() >= 0
        assert both.max() < num_tokens
        assert (np.diff(mask.context) > 0).all()
        assert (np.diff(mask.targets) > 0).all()
        again = masker.draw("clip", seed, key)
        np.testing.assert_array_equal(mask.context, again.context)
        np.testing.assert_array_equal(mask.targets, again.targets)
