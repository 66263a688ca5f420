"""Blocks: their sizes against the closed form, their places against uniform counts."""

import math
from collections import Counter

import numpy as np
import pytest

from vsalt.masking.config import BlocksConfig
from vsalt.masking.multiblock import draw_block_size, draw_hidden

ASPECT = (0.75, 1.5)


def blocks_of(num_blocks: int, **given: float) -> BlocksConfig:
    return BlocksConfig(num_blocks=num_blocks, spatial_scale=0.5, **given)


def size_shares(area: int) -> dict[tuple[int, int], float]:
    """Probability of each (height, width), by a fine grid of aspect ratios."""
    ratios = np.linspace(*ASPECT, 100_001)
    counts = Counter((round(math.sqrt(area * a)), round(math.sqrt(area / a))) for a in ratios)
    return {size: count / len(ratios) for size, count in counts.items()}


@pytest.mark.parametrize(
    ("scale", "area", "sizes"),
    [
        # facts of V-JEPA's masks on a 14 x 14 grid: k = floor(196 s) = 29 and 137
        (0.15, 29, {(5, 5), (5, 6), (6, 4), (6, 5), (7, 4)}),
        (
            0.7,
            137,
            {(10, 13), (10, 14), (11, 12), (11, 13), (12, 11), (12, 12), (13, 10)}
            | {(13, 11), (14, 10)},
        ),
    ],
)
def test_block_sizes_have_the_shares_of_a_uniform_aspect_ratio(
    scale: float, area: int, sizes: set[tuple[int, int]]
) -> None:
    blocks = BlocksConfig(num_blocks=1, spatial_scale=scale)
    generator = np.random.default_rng(0)
    num_draws = 4000
    drawn = Counter(
        draw_block_size(generator, (8, 14, 14), blocks, ASPECT) for _ in range(num_draws)
    )
    assert {size[0] for size in drawn} == {8}
    assert {size[1:] for size in drawn} == sizes
    for size, share in size_shares(area).items():
        deviation = math.sqrt(share * (1 - share) / num_draws)
        assert abs(drawn[8, *size] / num_draws - share) < 4 * deviation + 1e-4


@pytest.mark.parametrize(
    ("grid", "scale", "temporal", "expected"),
    [
        ((8, 4, 4), 1.0, 1.0, (8, 4, 4)),  # clamped: aspect 2 would give 6 x 3 of 16 tokens
        ((8, 4, 4), 0.01, 0.3, (2, 1, 1)),  # at least one token; floor(8 * 0.3) steps
        ((4, 6, 6), 0.25, 0.1, (1, 3, 3)),  # at least one step
    ],
)
def test_block_sizes_stay_inside_the_grid(
    grid: tuple[int, int, int], scale: float, temporal: float, expected: tuple[int, int, int]
) -> None:
    blocks = BlocksConfig(num_blocks=1, spatial_scale=scale, temporal_scale=temporal)
    generator = np.random.default_rng(0)
    assert draw_block_size(generator, grid, blocks, (1.0, 1.0)) == expected
    steps, height, width = draw_block_size(generator, grid, blocks, (9.0, 9.0))
    assert steps == expected[0]
    assert 1 <= height <= grid[1]
    assert 1 <= width <= grid[2]


def test_a_block_is_placed_uniformly() -> None:
    grid, size, num_draws = (3, 5, 6), (2, 3, 3), 4800
    generator = np.random.default_rng(0)
    places: Counter[tuple[int, ...]] = Counter()
    for _ in range(num_draws):
        hidden = draw_hidden(generator, grid, size, blocks_of(1))
        assert hidden.sum() == math.prod(size)
        corner = np.argwhere(hidden).min(axis=0)
        start, top, left = corner
        assert hidden[start : start + 2, top : top + 3, left : left + 3].all()
        places[tuple(corner.tolist())] += 1
    # 2 x 3 x 4 places; chi-square with 23 degrees of freedom exceeds 49.7 once in 1000
    assert len(places) == 24
    expected = num_draws / 24
    assert sum((count - expected) ** 2 / expected for count in places.values()) < 49.7


def test_several_blocks_hide_their_union() -> None:
    """Every hidden token lies in a whole hidden block; with k blocks all k + 1 .. are reachable."""
    grid, size, num_blocks = (1, 9, 9), (1, 3, 4), 3
    generator = np.random.default_rng(0)
    counts = set()
    for _ in range(300):
        hidden = draw_hidden(generator, grid, size, blocks_of(num_blocks))[0]
        covered = np.zeros_like(hidden)
        for top in range(7):
            for left in range(6):
                if hidden[top : top + 3, left : left + 4].all():
                    covered[top : top + 3, left : left + 4] = True
        np.testing.assert_array_equal(covered, hidden)
        counts.add(int(hidden.sum()))
    assert min(counts) >= 12
    assert max(counts) == 36  # three blocks that do not overlap


@pytest.mark.parametrize(
    ("share", "num_steps"), [(1.0, 8), (0.999, 7), (0.75, 6), (0.5, 4), (0.13, 1), (0.01, 1)]
)
def test_context_lies_in_the_first_time_steps_only(share: float, num_steps: int) -> None:
    """V-JEPA's causal multi-block: later steps are hidden, earlier ones as without it."""
    grid, size = (8, 5, 6), (8, 3, 3)
    whole, early = (
        draw_hidden(np.random.default_rng(5), grid, size, blocks_of(2, max_temporal_keep=keep))
        for keep in (1.0, share)
    )
    assert not whole[-1].all()
    np.testing.assert_array_equal(early[:num_steps], whole[:num_steps])
    assert early[num_steps:].all()
