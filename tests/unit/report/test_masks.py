"""Masks over a clip, and the marks that show them."""

import numpy as np
import pytest
import torch

from vsalt.data.types import Batch
from vsalt.masking.types import MaskBatch
from vsalt.report.layout import Layout
from vsalt.report.marks import blank, hatch
from vsalt.report.masks import mask_sheet, tokens_of

GRID = (2, 2, 3)
TUBELET = (2, 8, 8)
MASK = MaskBatch(context=torch.tensor([[0, 7]]), targets=torch.tensor([[1, 5, 6, 11]]))
BATCH = Batch(
    clips=torch.randint(256, (1, 3, 4, 16, 24), dtype=torch.uint8, generator=torch.manual_seed(0)),
    masks=(MASK,),
    rows=(0,),
)
LAYOUT = Layout(grid=GRID, tubelet=TUBELET, steps=(0, 1), enlarge=2)


def brightness(pixels: np.ndarray) -> np.ndarray:
    """What is left of colours on a grey screen, and nearly so for all colour-blind readers."""
    return pixels @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("mark", [hatch, blank])
@pytest.mark.parametrize("grey", [0, 64, 128, 192, 255])
def test_marks_differ_from_any_flat_frame_without_colour(mark, grey: int) -> None:
    frames = np.full((1, 32, 32, 3), grey, dtype=np.uint8)
    where = np.zeros((1, 32, 32), dtype=np.bool_)
    where[:, 8:24, 8:24] = True
    marked = mark(frames, where)
    np.testing.assert_array_equal(marked[~where], frames[~where])
    assert np.ptp(brightness(marked[where])) > 25


def test_hatched_and_blank_are_not_alike() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    everywhere = np.ones((1, 16, 16), dtype=np.bool_)
    hatched, empty = hatch(frames, everywhere), blank(frames, everywhere)
    # What lies below the veil is seen through it; of the board nothing is.
    assert not np.array_equal(hatched, hatch(frames[:, ::-1], everywhere))
    np.testing.assert_array_equal(empty, blank(frames[:, ::-1], everywhere))
    assert (np.ptp(empty, axis=-1) == 0).all()
    assert (np.ptp(hatched.astype(int), axis=-1) > 0).any()


def test_every_token_is_shown_as_what_it_is() -> None:
    sheet = mask_sheet(BATCH, ("short",), GRID, title="Masks", about="File: a.mp4.")
    clip, masked = sheet.draw(LAYOUT)
    assert sheet.rows == ("clip", "mask short")
    everywhere = np.ones(clip.shape[:3], dtype=np.bool_)
    looks = {
        "context": clip,
        "targets": hatch(clip, everywhere),
        "neither": blank(clip, everywhere),
    }
    for token in range(12):
        part = "context" if token in (0, 7) else "neither"
        part = "targets" if token in (1, 5, 6, 11) else part
        time, row, column = token // 6, token // 3 % 2, token % 3
        place = (time, slice(16 * row, 16 * row + 16), slice(16 * column, 16 * column + 16))
        np.testing.assert_array_equal(masked[place], looks[part][place])
    assert "2 x 2 x 3 = 12 tokens" in sheet.explanation
    assert "short: 2 tokens seen (17%), 4 predicted (33%)" in sheet.details


def test_every_token_is_one_of_three() -> None:
    parts = [tokens_of(MASK, part, GRID) for part in ("context", "targets", "neither")]
    np.testing.assert_array_equal(np.sum(parts, axis=0), np.ones(GRID))
    assert np.flatnonzero(parts[0]).tolist() == [0, 7]
    assert np.flatnonzero(parts[1]).tolist() == [1, 5, 6, 11]
