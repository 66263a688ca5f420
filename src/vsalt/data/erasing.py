"""Random erasing: a box of a clip becomes noise.

As in V-JEPA 2's training of probes (facebookresearch/vjepa2; Zhong et al., arXiv 1708.04896, with
noise for every pixel): the box is the same for all frames, the noise is not. The original erases
after normalising and puts N(0, 1) into every value. Here clips have 8 bits, so the noise has
ImageNet's mean and standard deviation, is rounded, and is cut to 0 … 255. The cut concerns 2.8 to
4.0 % of a channel's values: those that would lie above 2.2 to 2.6 or below -2.1 to -1.8 standard
deviations, where no picture has any.
"""

import math

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vsalt.data.crop_box import CropBox

# The mean and deviation that the models normalise with.
NOISE_MEAN = (0.485, 0.456, 0.406)
NOISE_STD = (0.229, 0.224, 0.225)
ERASED_AREA = (0.02, 1 / 3)
ERASED_RATIO = (0.3, 1 / 0.3)
_MAX_TRIES = 100


def draw_erased_box(generator: np.random.Generator, *, height: int, width: int) -> CropBox | None:
    """Draw the box that is erased.

    Area = height * width * U(0.02, 1/3); log(box height / box width) = U(log 0.3, −log 0.3); the
    place is uniform. The box is not empty and smaller than the frame on both sides; None after
    100 draws that are not so.

    Args:
        generator: source of randomness.
        height: height of the frame in pixels.
        width: width of the frame in pixels.
    """
    for _ in range(_MAX_TRIES):
        area = height * width * generator.uniform(*ERASED_AREA)
        ratio = math.exp(generator.uniform(math.log(ERASED_RATIO[0]), math.log(ERASED_RATIO[1])))
        box_height = round(math.sqrt(area * ratio))
        box_width = round(math.sqrt(area / ratio))
        if 0 < box_height < height and 0 < box_width < width:
            top = int(generator.integers(height - box_height + 1))
            left = int(generator.integers(width - box_width + 1))
            return CropBox(top, left, box_height, box_width)
    return None


def random_erasing(
    clip: UInt8[Tensor, "3 T h w"], generator: np.random.Generator, *, probability: float
) -> UInt8[Tensor, "3 T h w"]:
    """Return a clip in which, with some probability, one box is noise.

    Args:
        clip: RGB frames; it is not changed.
        generator: source of randomness.
        probability: of erasing.
    """
    if generator.random() >= probability:
        return clip
    box = draw_erased_box(generator, height=clip.shape[2], width=clip.shape[3])
    if box is None:
        return clip
    erased = clip.clone()
    region = erased[:, :, box.top : box.top + box.height, box.left : box.left + box.width]
    region.copy_(_noise(generator, tuple(region.shape)))
    return erased


def _noise(generator: np.random.Generator, shape: tuple[int, ...]) -> UInt8[Tensor, "3 T h w"]:
    noise = generator.standard_normal(shape, dtype=np.float32)
    for channel, mean, std in zip(noise, NOISE_MEAN, NOISE_STD, strict=True):
        channel *= 255 * std
        channel += 255 * mean
    return torch.from_numpy(np.clip(np.rint(noise), 0, 255).astype(np.uint8))
