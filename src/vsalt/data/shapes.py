"""Draws anti-aliased shapes on a torus by their signed distance."""

import math

import numpy as np
from jaxtyping import Float

APPEARANCES = ("disc", "square", "triangle", "cross")


def coverage(
    appearance: str,
    x: Float[np.ndarray, "T"],
    y: Float[np.ndarray, "T"],
    radius: Float[np.ndarray, "T"],
    angle: Float[np.ndarray, "T"],
    *,
    size: int,
) -> Float[np.ndarray, "T H W"]:
    """Return how much of each pixel the shape covers, in [0, 1], shape (T, size, size).

    Coverage = clip(1/2 − d, 0, 1) with the signed distance d in pixels, negative inside. The
    shapes have about the same area for the same radius.

    Args:
        appearance: one of `APPEARANCES`.
        x: the centre's place to the right, in picture sides, shape (T,).
        y: the centre's place downwards, likewise.
        radius: of a disc of the shape's size, in picture sides, below 1/4.
        angle: orientation in radians, shape (T,).
        size: height and width in pixels.
    """
    pixels = ((np.arange(size) + 0.5) / size).astype(np.float32)
    # The shortest way round the torus, in [-1/2, 1/2).
    across = (pixels[None, None, :] - _column(x) + 0.5) % 1.0 - 0.5
    down = (pixels[None, :, None] - _column(y) + 0.5) % 1.0 - 0.5
    cos, sin = _column(np.cos(angle)), _column(np.sin(angle))
    u, v = cos * across + sin * down, cos * down - sin * across
    distance = _DISTANCES[appearance](u, v, _column(radius))
    covered: np.ndarray = np.clip(0.5 - distance * size, 0.0, 1.0)
    return covered


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]


def _disc(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(u * u + v * v) - radius)


def _square(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    half = radius * np.float32(math.sqrt(math.pi) / 2)
    return np.asarray(np.maximum(np.abs(u), np.abs(v)) - half)


def _triangle(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    # Equilateral: its inscribed radius r has the area 3 sqrt(3) r^2.
    inner = radius * np.float32(math.sqrt(math.pi / (3 * math.sqrt(3))))
    slanted = np.float32(math.sqrt(3) / 2) * np.abs(u) - np.float32(0.5) * v
    return np.asarray(np.maximum(slanted, v) - inner)


def _cross(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    # Two bars of half length a and half width a / 3 have the area 20 a^2 / 9.
    length = radius * np.float32(math.sqrt(9 * math.pi / 20))
    u, v = np.abs(u), np.abs(v)
    return np.asarray(np.maximum(np.maximum(u, v) - length, np.minimum(u, v) - length / 3))


_DISTANCES = {"disc": _disc, "square": _square, "triangle": _triangle, "cross": _cross}
