"""Draws anti-aliased shapes and what is painted on them, on a torus, by their signed distance."""

import math

import numpy as np
from jaxtyping import Float

from vsalt.data.motions import Trajectory
from vsalt.data.synthetic_config import Shape, Texture


def coverage(shape: Shape, path: Trajectory, *, size: int) -> Float[np.ndarray, "T H W"]:
    """Return how much of each pixel a shape covers, in [0, 1], shape (T, size, size).

    Coverage = clip(1/2 − d, 0, 1) with the signed distance d in pixels, negative inside. The
    shapes have about the same area for the same radius.

    Args:
        shape: one of `vsalt.data.synthetic_config.SHAPES`.
        path: the centre's place, the radius of a disc of the shape's size (below 1/4), and the
            orientation, in T frames.
        size: height and width in pixels.
    """
    u, v = _own_axes(path, size)
    distance = _DISTANCES[shape](u, v, _column(path.radius))
    covered: np.ndarray = np.clip(0.5 - distance * size, 0.0, 1.0)
    return covered


def second_colour(texture: Texture, path: Trajectory, *, size: int) -> Float[np.ndarray, "T H W"]:
    """Return how much of each pixel has an object's second colour, shape (T, size, size).

    Stripes are half a radius wide and checks are squares of that side; both move, turn and grow
    with the object.

    Args:
        texture: one of `vsalt.data.synthetic_config.TEXTURES`.
        path: where the object is in T frames.
        size: height and width in pixels.
    """
    if texture == "plain":
        return np.zeros((len(path.x), size, size), dtype=np.float32)
    u, v = _own_axes(path, size)
    stripes = _stripes(v, _column(path.radius), size)
    if texture == "stripes":
        return stripes
    crossing = _stripes(u, _column(path.radius), size)
    either: np.ndarray = stripes + crossing - 2 * stripes * crossing
    return either


def _stripes(across: np.ndarray, period: np.ndarray, size: int) -> np.ndarray:
    distance = (np.abs(across / period % 1.0 - 0.5) - 0.25) * period
    return np.asarray(np.clip(0.5 - distance * size, 0.0, 1.0))


def _own_axes(path: Trajectory, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each pixel's place in picture sides along the object's own axes, shapes (T, H, W)."""
    pixels = ((np.arange(size) + 0.5) / size).astype(np.float32)
    # The shortest way round the torus, in [-1/2, 1/2).
    across = (pixels[None, None, :] - _column(path.x) + 0.5) % 1.0 - 0.5
    down = (pixels[None, :, None] - _column(path.y) + 0.5) % 1.0 - 0.5
    cos, sin = _column(np.cos(path.angle)), _column(np.sin(path.angle))
    return cos * across + sin * down, cos * down - sin * across


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
