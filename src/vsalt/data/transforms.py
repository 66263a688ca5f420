"""From the decoded frames of a clip to the pixels that the model gets.

One crop box and one flip hold for all frames of a clip. Everything stays in 8 bits: the resize
rounds once per axis, so that its result is within one grey level of the exact one. (V-JEPA 2's
training views, of encoders and of probes, are resized in floats after normalising.)

Shapes: T frames, H x W pixels as decoded, h x w after the resize.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from vsalt.data.crop_box import CropBox

_MAX_TRIES = 10
# The usual ratio of validation: resize to 256 pixels, crop 224 of them.
_VALIDATION_ZOOM = 256 / 224


def draw_crop(
    generator: np.random.Generator,
    *,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> CropBox:
    """Draw a crop box, as V-JEPA 2's training pipeline does (facebookresearch/vjepa2).

    Area = height * width * U(scale); log(box width / box height) = U(log ratio); the place is
    uniform. After 10 draws that do not fit, the largest box in the middle whose ratio is allowed.

    Args:
        generator: source of randomness.
        height: height of the frame in pixels.
        width: width of the frame in pixels.
        scale: least and greatest share of the frame's area.
        ratio: least and greatest width over height.
    """
    for _ in range(_MAX_TRIES):
        area = height * width * generator.uniform(*scale)
        aspect = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        box_width = round(math.sqrt(area * aspect))
        box_height = round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(generator.integers(height - box_height + 1))
            left = int(generator.integers(width - box_width + 1))
            return CropBox(top, left, box_height, box_width)
    box_width = min(width, max(1, round(height * ratio[1])))
    box_height = min(height, max(1, round(width / ratio[0])))
    return CropBox((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def resize(
    frames: UInt8[np.ndarray, "T H W 3"], *, size: tuple[int, int], antialias: bool
) -> UInt8[Tensor, "T 3 h w"]:
    """Resize frames bilinearly, with pixel centres at half integers.

    Args:
        frames: RGB frames.
        size: (h, w) in pixels.
        antialias: when shrinking, average over all source pixels instead of the nearest four.
    """
    # The channels lie next to each other in memory; the fast path for 8 bits wants them so.
    channels_last = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    if tuple(channels_last.shape[-2:]) == size:
        return channels_last
    return F.interpolate(
        channels_last, size=size, mode="bilinear", align_corners=False, antialias=antialias
    )


def random_view(
    frames: UInt8[np.ndarray, "T H W 3"],
    generator: np.random.Generator,
    *,
    size: tuple[int, int],
    crop_scale: tuple[float, float],
    crop_ratio: tuple[float, float],
    flip: float,
    antialias: bool = True,
) -> UInt8[Tensor, "3 T h w"]:
    """Return a random crop, maybe flipped left to right, of a clip; the same for all frames.

    Args:
        frames: RGB frames.
        generator: source of randomness.
        size: (h, w) of the result in pixels.
        crop_scale: see `draw_crop`.
        crop_ratio: see `draw_crop`.
        flip: probability of a flip.
        antialias: see `resize`.
    """
    box = draw_crop(
        generator, height=frames.shape[1], width=frames.shape[2], scale=crop_scale, ratio=crop_ratio
    )
    region = frames[:, box.top : box.top + box.height, box.left : box.left + box.width]
    view = torch.empty((3, len(frames), *size), dtype=torch.uint8)
    write_view(region, view, flipped=generator.random() < flip, antialias=antialias)
    return view


def write_view(
    region: UInt8[np.ndarray, "T H W 3"],
    out: UInt8[Tensor, "3 T h w"],
    *,
    flipped: bool,
    antialias: bool = True,
) -> None:
    """Write a view of a region that has been cut out, maybe flipped left to right.

    Args:
        region: RGB frames within the crop box.
        out: takes the result, which it gives the size.
        flipped: whether to swap left and right.
        antialias: see `resize`.
    """
    view = resize(region, size=(out.shape[2], out.shape[3]), antialias=antialias)
    out.copy_((view.flip(-1) if flipped else view).permute(1, 0, 2, 3))


def centre_view(
    frames: UInt8[np.ndarray, "T H W 3"], *, size: tuple[int, int], antialias: bool = True
) -> UInt8[Tensor, "3 T h w"]:
    """Return the middle of a clip: resized to int(size * 256 / 224) and cropped to `size`.

    The resize keeps the aspect and is the smallest that covers the enlarged size on both sides;
    for a square size it brings the short side to int(size * 256 / 224). The other side is rounded
    down, as in V-JEPA 2's code, torchvision and transformers.

    Args:
        frames: RGB frames.
        size: (h, w) of the result in pixels.
        antialias: see `resize`.
    """
    height, width = frames.shape[1:3]
    enlarged = (int(size[0] * _VALIDATION_ZOOM), int(size[1] * _VALIDATION_ZOOM))
    scaled = _covering(enlarged, height=height, width=width)
    view = resize(frames, size=scaled, antialias=antialias)
    top, left = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    return _channels_first(view[:, :, top : top + size[0], left : left + size[1]])


def multi_view(
    frames: UInt8[np.ndarray, "T H W 3"],
    *,
    size: tuple[int, int],
    num_views: int,
    antialias: bool = True,
) -> UInt8[Tensor, "V 3 T h w"]:
    """Return evenly spaced crops along the long side of a clip, as V-JEPA 2's probes are tested.

    The clip is resized, keeping its aspect, to the smallest that covers `size`: for a square size
    its short side becomes the crop's. View i of V starts i * (slack // (V − 1)) pixels along the
    side on which pixels are left over, from the left or the top. A clip of the same aspect as
    `size` has no slack, and all its views are equal. For V = 1 see `centre_view`, which enlarges
    the clip by 256/224 before it crops.

    Args:
        frames: RGB frames.
        size: (h, w) of the result in pixels.
        num_views: V, at least 1.
        antialias: see `resize`.
    """
    if num_views == 1:
        return centre_view(frames, size=size, antialias=antialias)[None]
    height, width = frames.shape[1:3]
    scaled = _covering(size, height=height, width=width)
    whole = resize(frames, size=scaled, antialias=antialias)
    down, across = ((scaled[axis] - size[axis]) // (num_views - 1) for axis in (0, 1))
    views = [
        whole[:, :, i * down : i * down + size[0], i * across : i * across + size[1]]
        for i in range(num_views)
    ]
    return torch.stack([view.permute(1, 0, 2, 3) for view in views]).contiguous()


def _covering(size: tuple[int, int], *, height: int, width: int) -> tuple[int, int]:
    """Return the smallest size of the frames' aspect that covers `size`.

    One side becomes that of `size` exactly; the other is at least as long, rounded down.
    """
    if size[0] * width >= size[1] * height:
        return size[0], size[0] * width // height
    return size[1] * height // width, size[1]


def _channels_first(view: UInt8[Tensor, "T 3 h w"]) -> UInt8[Tensor, "3 T h w"]:
    return view.permute(1, 0, 2, 3).contiguous()
