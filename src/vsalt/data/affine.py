"""Affine maps of all frames of a clip with bicubic interpolation, as Pillow computes them.

A map is given backwards, as in Pillow: the pixel at (x, y) of the result is taken from
(a x + b y + c, d x + e y + f) of the frame, in pixels from the upper left corner, with pixel
centres at half integers. What lies outside of the frame gets a fill value.

Interpolation is cubic convolution over 4 x 4 pixels with Keys' parameter -1 (torch's `grid_sample`
and OpenCV have -0.75); past the edge the outermost pixels are repeated. Results are within one grey
level of Pillow's; where a pixel comes from exactly the edge, one may fill and the other not.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

# So many float32 values are moved at once, 64 MiB of them.
_MAX_VALUES = 1 << 24
# Pillow computes in 64 bits and cuts towards zero: what 32 bits give just below an integer is
# meant to be the integer. The error of a sum of 16 products of values up to 255 stays below.
_ROUNDING = 2.0**-11


class AffineMap(NamedTuple):
    """From a place (x, y) of the result to (a x + b y + c, d x + e y + f) of the frame."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float


def shear_x(amount: float) -> AffineMap:
    """Return the map that moves the content of row y to the left by `amount * y`."""
    return AffineMap(1.0, amount, 0.0, 0.0, 1.0, 0.0)


def shear_y(amount: float) -> AffineMap:
    """Return the map that moves the content of column x up by `amount * x`."""
    return AffineMap(1.0, 0.0, 0.0, amount, 1.0, 0.0)


def translation(left: float, up: float) -> AffineMap:
    """Return the map that moves the content to the left and up, in pixels."""
    return AffineMap(1.0, 0.0, left, 0.0, 1.0, up)


def rotation(degrees: float, *, height: int, width: int) -> AffineMap:
    """Return the map that turns the content counter-clockwise about the middle of the frame."""
    angle = -math.radians(degrees)
    # As Pillow does, so that a half is a half for 30 degrees.
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    return AffineMap(cos, sin, -cos * x - sin * y + x, -sin, cos, sin * x - cos * y + y)


def transform(
    frames: UInt8[np.ndarray, "T H W 3"], by: AffineMap, *, fill: int
) -> UInt8[np.ndarray, "T H W 3"]:
    """Return all frames under the same map.

    Args:
        frames: RGB frames.
        by: the map from the result to the frames.
        fill: value of all channels outside of the frames, 0 to 255.
    """
    count, height, width, _ = frames.shape
    pixels, weights, inside = _taps(by, height, width)
    moved = np.full_like(frames, fill)
    step = max(1, _MAX_VALUES // (height * width * 3))
    for first in range(0, count, step):
        some = frames[first : first + step]
        # One row of values per pixel; every result is a weighted sum of up to 16 rows.
        table = np.ascontiguousarray(some.transpose(1, 2, 0, 3), dtype=np.float32)
        sums = F.embedding_bag(
            torch.from_numpy(pixels),
            torch.from_numpy(table.reshape(height * width, -1)),
            per_sample_weights=torch.from_numpy(weights),
            mode="sum",
        )
        values = (sums + _ROUNDING).clamp_(0, 255).to(torch.uint8).numpy()
        values = values.reshape(height, width, len(some), 3).transpose(2, 0, 1, 3)
        np.copyto(moved[first : first + step], values, where=inside[..., None])
    return moved


def _taps(
    by: AffineMap, height: int, width: int
) -> tuple[Int32[np.ndarray, "P K"], Float32[np.ndarray, "P K"], Bool[np.ndarray, "H W"]]:
    """Return, for the P = H W pixels of the result, K pixels of the frame and their weights.

    The third result says which pixels of the result come from inside of the frame.
    """
    x = np.arange(width) + 0.5
    y = np.arange(height)[:, None] + 0.5
    from_x = by.a * x + by.b * y + by.c
    from_y = by.d * x + by.e * y + by.f
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    columns, across = _cubic(from_x.ravel(), width)
    rows, down = _cubic(from_y.ravel(), height)
    pixels = (rows[:, :, None] * width + columns[:, None, :]).reshape(height * width, 16)
    weights = (down[:, :, None] * across[:, None, :]).reshape(height * width, 16)
    # A shear or a translation leaves one axis as it is, and 12 weights are 0 everywhere.
    used = np.any(weights != 0, axis=0)
    return (
        np.ascontiguousarray(pixels[:, used], dtype=np.int32),
        np.ascontiguousarray(weights[:, used], dtype=np.float32),
        inside,
    )


def _cubic(
    places: Float64[np.ndarray, "P"], size: int
) -> tuple[Int32[np.ndarray, "P 4"], Float64[np.ndarray, "P 4"]]:
    """Return the four neighbours on one axis and their weights.

    With t the distance from the second neighbour: t³ − 2t² + t times -1, t³ − 2t² + 1,
    −t³ + t² + t, t³ − t² (R. Keys, IEEE Trans. ASSP 29, 1981, eq. 4 with parameter -1).
    """
    low = np.floor(places - 0.5)
    t = places - 0.5 - low
    square, cube = t * t, t * t * t
    weights = np.stack(
        [
            2 * square - cube - t,
            1 - 2 * square + cube,
            t + square - cube,
            cube - square,
        ],
        axis=1,
    )
    neighbours = low[:, None] + np.arange(-1, 3)
    return np.clip(neighbours, 0, size - 1).astype(np.int32), weights
