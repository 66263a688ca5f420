"""Targets and losses against numbers from the official functions, on inputs made by `det`.

Sources: MCG-NJU/VideoMAE at 14ef8d8 (its training engine's target), facebookresearch/vjepa2 at
c2963a4 (its training loop's loss).
"""

import numpy as np
import pytest
import torch

from support import slow
from support.fill import det
from vsalt.models.config import EncoderConfig
from vsalt.models.tokenizer import gather_tubelets
from vsalt.models.vit import Encoder
from vsalt.objectives.masked_prediction import token_distance
from vsalt.targets.frozen import FrozenTeacher
from vsalt.targets.pixels import PixelNorm, PixelTarget, standardise_pixels

# VideoMAE's cubes of 2 x 16 x 16 pixels of det(2, 3, 4, 32, 32), un-normalised by ImageNet's
# mean and deviation: the first values of the first token, and the mean absolute value.
FIRST_VALUES = [0.1475562, 1.3305858, 0.8275090, 0.6437386]
MEAN_ABS = 0.8999894
TUBELET, GRID = (2, 16, 16), (2, 2, 2)


def test_det_is_the_published_formula() -> None:
    expected = [0.10977830, 0.46177092, 0.75118226, 0.93884063, 0.99985832]
    torch.testing.assert_close(det(5), torch.tensor(expected), atol=1e-8, rtol=0)
    expected = [0.21955660, 1.14571965, 1.79126513]
    torch.testing.assert_close(det(2, 3, k=2, s=0.5)[0], torch.tensor(expected), atol=2e-7, rtol=0)


def videomae_pixels() -> np.ndarray:
    return det(2, 3, 4, 32, 32).numpy() * slow.IMAGENET_STD + slow.IMAGENET_MEAN


def test_pixel_targets_are_videomaes_cubes() -> None:
    pixels = videomae_pixels()
    tokens = [
        [
            slow.pixel_target(slow.cube(clip, token, TUBELET, GRID), "per_channel")
            for token in range(8)
        ]
        for clip in pixels
    ]
    np.testing.assert_allclose(tokens[0][0][:4], FIRST_VALUES, rtol=1e-5)
    np.testing.assert_allclose(np.abs(tokens).mean(), MEAN_ABS, rtol=1e-6)

    # The formula itself, on the same cubes before they are rounded to grey levels.
    cubes = gather_tubelets(torch.from_numpy(pixels).float(), TUBELET).flatten(3).mT
    ours = standardise_pixels(cubes, "per_channel").flatten(2)
    np.testing.assert_allclose(ours[0, 0, :4], FIRST_VALUES, rtol=1e-5)
    np.testing.assert_allclose(ours.abs().mean(), MEAN_ABS, rtol=1e-6)
    np.testing.assert_allclose(ours, tokens, atol=1e-5)

    # Ours takes uint8: half a grey level is 0.0020 of 1, and a cube's deviation is about 0.16.
    rounded = torch.from_numpy(np.rint(pixels * 255).astype(np.uint8))
    ours = PixelTarget(TUBELET, "per_channel").open(rounded)(torch.arange(8).expand(2, 8))
    np.testing.assert_allclose(ours, tokens, atol=0.016)
    np.testing.assert_allclose(ours.abs().mean(), MEAN_ABS, atol=2e-4)


def test_joint_targets_are_maes_formula() -> None:
    """MAE (arXiv 2111.06377): (x - mean) / (unbiased variance + 1e-6) ** 0.5 of all values."""
    pixels = videomae_pixels()
    pixels[1] *= 0.004  # where the variance is below the 1e-6
    cubes = gather_tubelets(torch.from_numpy(pixels).float(), TUBELET).flatten(3).mT
    ours = standardise_pixels(cubes, "joint").flatten(2)
    flat = np.array(
        [[slow.cube(clip, token, TUBELET, GRID) for token in range(8)] for clip in pixels]
    ).reshape(2, 8, 3, -1)
    expected = flat - flat.mean(axis=(2, 3), keepdims=True)
    expected /= (flat.var(axis=(2, 3), keepdims=True, ddof=1) + 1e-6) ** 0.5
    np.testing.assert_allclose(ours, expected.swapaxes(2, 3).reshape(2, 8, -1), atol=1e-5)
    assert (flat[1].var(axis=(1, 2)) < 1e-6).all()


@pytest.mark.parametrize(
    ("normalise", "standardised_together"), [("per_channel", 512), ("joint", 1536)]
)
def test_a_prediction_of_zero_has_the_loss_that_the_formula_gives(
    normalise: PixelNorm, standardised_together: int
) -> None:
    """The mean of squares over n values of unbiased deviation 1 is (n - 1) / n."""
    clips = torch.from_numpy(np.rint(videomae_pixels() * 255).astype(np.uint8))
    target = PixelTarget(TUBELET, normalise).open(clips)(torch.arange(8).expand(2, 8))
    squares = token_distance(torch.zeros_like(target), target, "mse")
    mean_square = 1 - 1 / standardised_together
    np.testing.assert_allclose(squares.mean(), mean_square, rtol=1e-4)
    distances = token_distance(torch.zeros_like(target), target, "l1")
    np.testing.assert_allclose(distances.double().square().mean(), mean_square, rtol=1e-4)
    if normalise == "per_channel":
        np.testing.assert_allclose(distances.mean(), MEAN_ABS, atol=2e-4)


def test_the_latent_loss_is_vjepas(monkeypatch: pytest.MonkeyPatch) -> None:
    config = EncoderConfig(size="Ti", width=16, depth=1, heads=2, mlp_width=16, tubelet=(2, 8, 8))
    teacher = FrozenTeacher(Encoder(config), "layer_norm")
    monkeypatch.setattr(teacher.encoder, "forward", lambda clips: det(2, 30, 16, s=0.53))
    clips = torch.zeros(2, 3, 4, 8, 8, dtype=torch.uint8)
    target = teacher.open(clips)(torch.arange(30).expand(2, 30))
    distances = token_distance(det(2, 30, 16, s=0.77), target, "l1")
    np.testing.assert_allclose(distances.mean(), 1.01605189, rtol=1e-6)
