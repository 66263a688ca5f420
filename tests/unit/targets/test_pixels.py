"""Pixel targets against a slow reference, channel by channel and pixel by pixel."""

import numpy as np
import pytest
import torch

from support import slow
from support.tiny import TUBELET, make_clips, make_masks
from vsalt.targets.pixels import PixelNorm, PixelTarget

GRID = (2, 2, 3)


@pytest.mark.parametrize("normalise", ["per_channel", "joint", "none"])
def test_targets_are_the_formula(normalise: PixelNorm) -> None:
    clips = make_clips(2)
    # A dark cube of one grey level more at one place, where the epsilons matter most.
    slow.cube(clips[1].numpy(), 4, TUBELET, GRID)[:] = 3
    clips[1, 0, 0, 8, 8] = 4
    ids = torch.stack([make_masks(1, GRID, 5, 1).context[0], torch.tensor([0, 3, 4, 8, 11])])
    target = PixelTarget(TUBELET, normalise)
    ours = target.open(clips)(ids)
    assert ours.shape == (2, 5, target.width) == (2, 5, 3 * 2 * 8 * 8)
    assert ours.dtype == torch.float32
    for clip in range(2):
        for place, token in enumerate(ids[clip].tolist()):
            pixels = slow.cube(clips[clip].numpy(), token, TUBELET, GRID) / 255
            expected = slow.pixel_target(pixels, normalise)
            np.testing.assert_allclose(ours[clip, place], expected, atol=1e-4, rtol=1e-5)


def test_a_cube_of_one_colour_is_zero() -> None:
    clips = torch.full((1, 3, 2, 8, 8), 200, dtype=torch.uint8)
    ids = torch.zeros(1, 1, dtype=torch.int64)
    flat = PixelTarget(TUBELET, "per_channel").open(clips)(ids)
    assert flat.isfinite().all()
    assert flat.abs().max() < 0.1
    assert torch.allclose(PixelTarget(TUBELET, "none").open(clips)(ids), torch.tensor(200 / 255))


def test_standardised_cubes_have_mean_zero_and_deviation_one() -> None:
    clips, ids = make_clips(2), torch.arange(12).expand(2, 12)
    by_channel = PixelTarget(TUBELET, "per_channel").open(clips)(ids).unflatten(-1, (-1, 3))
    assert by_channel.mean(dim=2).abs().max() < 1e-5
    torch.testing.assert_close(by_channel.std(dim=2), torch.ones(2, 12, 3), atol=1e-4, rtol=0)
    jointly = PixelTarget(TUBELET, "joint").open(clips)(ids)
    assert jointly.mean(dim=2).abs().max() < 1e-5
    torch.testing.assert_close(jointly.std(dim=2), torch.ones(2, 12), atol=1e-4, rtol=0)
    # Channels keep their own means when standardised together.
    assert jointly.unflatten(-1, (-1, 3)).mean(dim=2).abs().max() > 0.01
