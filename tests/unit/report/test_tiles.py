"""Tiles, and clips brought to the size of a picture."""

import numpy as np
import pytest

from vsalt.report.layout import MAX_SIDE, Layout, even_steps, layouts
from vsalt.report.tiles import BACKGROUND, OUTLINE, enlarge, lay_out, reduce


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(200, 256, size=shape, dtype=np.uint8)


def test_every_tile_is_there_once_with_a_line_around_it() -> None:
    rows = [noise(4, 5, 7, 3, seed=i) for i in range(2)]
    image = lay_out(rows)
    inside = image.min(axis=2) >= 200  # neither background nor line
    assert inside.sum() == 2 * 4 * 5 * 7
    expected = [np.concatenate(list(row), axis=1) for row in rows]
    kept_rows, kept_columns = inside.any(axis=1), inside.any(axis=0)
    np.testing.assert_array_equal(image[kept_rows][:, kept_columns], np.concatenate(expected))
    # A tile's line has two pixels more on each side than the tile.
    assert (image == OUTLINE).all(axis=2).sum() == 2 * 4 * (7 * 9 - 5 * 7)
    assert (image[0] == BACKGROUND).all()
    assert (image[:, -1] == BACKGROUND).all()


def test_enlarged_pixels_are_blocks() -> None:
    tiles = noise(2, 3, 4, 3)
    np.testing.assert_array_equal(
        enlarge(tiles, (2, 5)), np.kron(tiles, np.ones((1, 2, 5, 1), dtype=np.uint8))
    )


def test_reduced_pixels_are_means_of_blocks() -> None:
    tiles = np.random.default_rng(3).integers(0, 256, size=(2, 6, 9, 3), dtype=np.uint8)
    small = reduce(tiles, 3)
    assert small.shape == (2, 2, 3, 3)
    for s, i, j, c in np.ndindex(small.shape):
        mean = tiles[s, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3, c].astype(float).sum() / 9
        assert abs(small[s, i, j, c] - mean) <= 0.5


@pytest.mark.parametrize(
    ("num_steps", "expected"),
    [
        (1, (0,)),
        (5, (0, 1, 2, 3, 4)),
        (8, tuple(range(8))),
        (12, (0, 1, 3, 4, 6, 7, 9, 10)),
        (16, (0, 2, 4, 6, 8, 10, 12, 14)),
    ],
)
def test_time_steps_are_spread_evenly(num_steps: int, expected: tuple[int, ...]) -> None:
    assert even_steps(num_steps, 8) == expected


@pytest.mark.parametrize(
    ("grid", "tubelet", "largest"),
    [
        ((8, 8, 8), (2, 8, 8), (8, 128, 128)),
        ((2, 4, 6), (2, 8, 8), (2, 64, 96)),  # 32 x 48 pixels, twice
        ((1, 5, 5), (2, 7, 7), (1, 105, 105)),
        ((8, 14, 14), (2, 16, 16), (8, 224, 224)),
        ((32, 16, 16), (2, 14, 14), (8, 224, 224)),
        ((3, 4, 2), (2, 8, 24), (3, 64, 96)),
    ],
)
def test_frames_and_tokens_cover_each_other_at_every_size(
    grid: tuple[int, int, int], tubelet: tuple[int, int, int], largest: tuple[int, int, int]
) -> None:
    # Every token has its own number as its pixels, so frames and cells must be the same.
    numbers = np.arange(np.prod(grid)).reshape(grid) % 251
    clip = np.kron(numbers, np.ones(tubelet, dtype=np.int64)).astype(np.uint8)
    found = list(layouts(grid, tubelet))
    for layout in found:
        frames = layout.frames(np.stack([clip] * 3))
        cells = layout.cells(numbers.astype(np.uint8))
        np.testing.assert_array_equal(frames, np.stack([cells] * 3, axis=-1))
        assert len(frames) == len(layout.steps)
    sizes = [layout.cells(numbers).shape for layout in found]
    assert sizes[0] == largest
    areas = [size[0] * size[1] * size[2] for size in sizes]
    assert max(areas) == areas[0]
    assert max(largest[1:]) <= max(MAX_SIDE, grid[1] * tubelet[1], grid[2] * tubelet[2])


def test_the_first_frame_of_a_tubelet_is_shown() -> None:
    clip = np.zeros((3, 6, 8, 8), dtype=np.uint8)
    clip[:] = np.arange(6)[:, None, None]
    layout = Layout(grid=(3, 1, 1), tubelet=(2, 8, 8), steps=(0, 2))
    assert layout.frames(clip)[:, 0, 0, 0].tolist() == [0, 4]
