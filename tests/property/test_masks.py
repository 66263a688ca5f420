"""Masks of every family, on any grid, at any scale and seed."""

import itertools
import math
from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vsalt.errors import ConfigError
from vsalt.masking.budget import BudgetMasker
from vsalt.masking.config import (
    BlocksConfig,
    CausalConfig,
    MultiblockConfig,
    RandomConfig,
    RatioConfig,
    TubeConfig,
)
from vsalt.masking.multiblock import draw_block_size, draw_hidden
from vsalt.masking.sampler import MaskSampler, build_mask_sampler, resolve_masks
from vsalt.masking.types import Mask
from vsalt.randomness import keyed_generator

grids = st.tuples(st.integers(1, 6), st.integers(2, 10), st.integers(2, 10))
seeds = st.integers(0, 2**32)
scales = st.floats(0.05, 0.8)
shares = st.floats(0.05, 1.0)


ratios = st.one_of(st.floats(0.01, 0.99), st.integers(1, 99).map(lambda n: n / 100))
families = st.sampled_from([TubeConfig, RandomConfig, CausalConfig])
block_settings = st.fixed_dictionaries(
    {
        "num_blocks": st.integers(1, 6),
        "spatial_scale": st.floats(0.05, 0.5),
        "temporal_scale": shares,
        "max_temporal_keep": st.sampled_from([1.0, 0.7, 0.3]),
    }
)


def check(mask: Mask, num_tokens: int) -> None:
    """Both lists ascend inside the grid, none is empty, no id is in both."""
    for ids in (mask.context, mask.targets):
        assert ids.dtype == np.int64
        assert ids.ndim == 1
        assert len(ids) > 0
        assert ids[0] >= 0
        assert ids[-1] < num_tokens
        assert (np.diff(ids) > 0).all()
    assert len(np.intersect1d(mask.context, mask.targets)) == 0


def same(one: tuple[Mask, ...], two: tuple[Mask, ...]) -> bool:
    return all(
        np.array_equal(a.context, b.context) and np.array_equal(a.targets, b.targets)
        for a, b in zip(one, two, strict=True)
    )


def sampler(config: RatioConfig, grid: tuple[int, int, int], seed: int) -> MaskSampler:
    """A sampler, where the grid allows the config."""
    try:
        return build_mask_sampler(resolve_masks(config, grid), grid, seed)
    except ConfigError:
        assume(False)
        raise


def draw_group(draw: MaskSampler, step: int, size: int) -> list[tuple[Mask, ...]]:
    """The second group of a step, where its blocks leave some context."""
    try:
        return [draw(step, size + index) for index in range(size)]
    except ConfigError:
        assume(False)
        raise


@settings(max_examples=150)
@given(family=families, ratio=ratios, num_masks=st.integers(1, 3), grid=grids, seed=seeds)
def test_masks_of_a_ratio_keep_their_promises(
    family: type[RatioConfig],
    ratio: float,
    num_masks: int,
    grid: tuple[int, int, int],
    seed: int,
) -> None:
    config = family(ratio=ratio, num_masks=num_masks)
    draw = sampler(config, grid, seed)
    steps, num_places = grid[0], grid[1] * grid[2]
    num_tokens = steps * num_places
    # The counts by whole numbers: the ratio as a decimal fraction of its own digits.
    digits = repr(ratio)
    scale = 10 ** len(digits.partition(".")[2])
    hidden = int(digits.replace(".", ""))
    num_items = num_places if config.name == "tube" else num_tokens
    kept = num_items * (scale - hidden) // scale
    num_context = kept * steps if config.name == "tube" else kept
    assert draw.counts == ((num_context, num_tokens - num_context),) * config.num_masks

    drawn = [draw(step, 3) for step in range(6)]
    for masks in drawn:
        assert len(masks) == config.num_masks == len(config.kind_names)
        for mask in masks:
            check(mask, num_tokens)
            assert len(mask.context) == num_context
            assert len(mask.context) + len(mask.targets) == num_tokens
    assert same(drawn[4], sampler(config, grid, seed)(4, 3))

    if config.name == "causal":
        num_items, kept = num_places, kept % num_places
    if math.comb(num_items, kept) > 10**6:
        assert len({mask.context.tobytes() for masks in drawn for mask in masks}) == (
            6 * config.num_masks
        )


@settings(max_examples=60)
@given(
    short=block_settings,
    long=block_settings,
    group_size=st.integers(1, 8),
    grid=grids,
    seed=seeds,
)
def test_masks_cut_to_the_minimum_keep_their_promises(
    short: dict[str, float],
    long: dict[str, float],
    group_size: int,
    grid: tuple[int, int, int],
    seed: int,
) -> None:
    config = MultiblockConfig(
        policy="batch_min",
        group_size=group_size,
        short=BlocksConfig(**short),
        long=BlocksConfig(**long),
    )
    draw = build_mask_sampler(config, grid, seed)
    num_tokens = math.prod(grid)
    by_step = []
    for step in range(3):
        group = draw_group(draw, step, config.group_size)
        by_step.append(group)
        for kind, blocks in enumerate(config.kinds.values()):
            masks = [clip[kind] for clip in group]
            for mask in masks:
                check(mask, num_tokens)
                last = max(1, int(grid[0] * blocks.max_temporal_keep)) * grid[1] * grid[2]
                assert mask.context[-1] < last
            assert len({(len(mask.context), len(mask.targets)) for mask in masks}) == 1
            # Raster order without gaps: up to where the shorter list ends, every id is in one.
            for mask in masks:
                end = min(mask.context[-1], mask.targets[-1])
                ids = np.union1d(mask.context, mask.targets)
                assert ids[: end + 1].tolist() == list(range(end + 1))
    again = build_mask_sampler(config, grid, seed)
    for index in reversed(range(config.group_size)):
        assert same(again(1, config.group_size + index), by_step[1][index])

    room = [n - size for n, size in zip(grid, _block(config.short, grid), strict=True)]
    if math.prod(n + 1 for n in room) ** config.group_size > 10**6:
        assert any(
            not same(a, b)
            for one, two in itertools.combinations(by_step, 2)
            for a, b in zip(one, two, strict=True)
        )


def _block(blocks: BlocksConfig, grid: tuple[int, int, int]) -> tuple[int, int, int]:
    return draw_block_size(keyed_generator("any"), grid, blocks, (1.0, 1.0))


@settings(max_examples=60)
@given(
    grid=grids,
    num_blocks=st.integers(1, 8),
    spatial=scales,
    temporal=shares,
    early=st.sampled_from([1.0, 0.6]),
    low=st.floats(0.3, 1.5),
    spread=st.floats(0, 2),
    budgets=st.tuples(shares, shares),
    seed=seeds,
)
def test_masks_of_a_budget_keep_their_promises(
    grid: tuple[int, int, int],
    num_blocks: int,
    spatial: float,
    temporal: float,
    early: float,
    low: float,
    spread: float,
    budgets: tuple[float, float],
    seed: int,
) -> None:
    blocks = BlocksConfig(
        num_blocks=num_blocks,
        spatial_scale=spatial,
        temporal_scale=temporal,
        max_temporal_keep=early,
    )
    aspect = (low, low + spread)
    generator = keyed_generator("property", seed)
    size = draw_block_size(generator, grid, blocks, aspect)
    hidden = draw_hidden(generator, grid, size, blocks)
    assert hidden.shape == grid
    late = math.prod(grid[1:]) * (grid[0] - max(1, int(grid[0] * early)))
    assert max(math.prod(size), late) <= hidden.sum()
    assert hidden.sum() <= min(math.prod(grid), num_blocks * math.prod(size) + late)

    num_tokens = math.prod(grid)
    num_targets = max(1, math.floor(budgets[0] * hidden.sum()))
    num_context = max(1, math.floor(budgets[1] * (num_tokens - hidden.sum())))
    masker = BudgetMasker(
        grid, replace(blocks, num_context=num_context, num_targets=num_targets), aspect
    )
    assume(masker.acceptance(40) >= 0.25)
    drawn = [masker.draw(seed, step, 5, "kind") for step in range(4)]
    for mask in drawn:
        check(mask, num_tokens)
        assert len(mask.context) == num_context
        assert len(mask.targets) == num_targets
    assert same((drawn[2],), (masker.draw(seed, 2, 5, "kind"),))
    if math.comb(int(hidden.sum()), num_targets) > 10**6:
        assert len({mask.targets.tobytes() for mask in drawn}) == 4
