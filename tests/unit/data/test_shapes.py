"""The outlines and textures of synthetic objects."""

import math

import numpy as np
import pytest

from vsalt.data.motions import Trajectory
from vsalt.data.shapes import coverage, second_colour
from vsalt.data.synthetic_config import SHAPES, TEXTURES

ANGLES = np.linspace(0, 2 * np.pi, 7)


def at(place, angles=ANGLES, radius=0.2):
    ones = np.ones(len(angles))
    return Trajectory(x=place * ones, y=place * ones, radius=radius * ones, angle=angles)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_the_area_of_their_disc_and_wrap(shape):
    inside = coverage(shape, at(0.5), size=128)
    assert inside.min() == 0
    assert inside.max() == 1
    area = inside.mean(axis=(1, 2))
    assert area == pytest.approx(np.full(7, math.pi * 0.2**2), rel=0.02)
    # Moved by half a picture, the same shape lies across the corners.
    corner = coverage(shape, at(0.0), size=128)
    np.testing.assert_allclose(np.roll(corner, (64, 64), axis=(1, 2)), inside, atol=1e-3)


def test_four_shapes_differ():
    masks = [coverage(shape, at(0.5, np.zeros(1)), size=64) for shape in SHAPES]
    for i, first in enumerate(masks):
        for other in masks[:i]:
            assert np.abs(first - other).sum() > 0.1 * first.sum()


@pytest.mark.parametrize("shape", SHAPES)
def test_textures_differ_on_every_shape(shape):
    """Each two of them by a tenth of the object or more, at the smallest size it has."""
    path = at(0.5, np.array([0.3]), radius=0.12)
    mask = coverage(shape, path, size=64)
    painted = [mask * second_colour(texture, path, size=64) for texture in TEXTURES]
    for i, first in enumerate(painted):
        for other in painted[:i]:
            assert np.abs(first - other).sum() > 0.1 * mask.sum()


def test_textures_are_as_wide_as_told():
    """Across the stripes, the colour changes every half radius; half of the checks have it."""
    path = at(0.5, np.zeros(1), radius=0.25)
    stripes = second_colour("stripes", path, size=256)[0]
    assert np.ptp(stripes, axis=1).max() < 1e-6
    changes = np.flatnonzero(np.diff(stripes[:, 0] > 0.5))
    assert set(np.diff(changes)) == {32}
    checks = second_colour("checks", path, size=256)[0]
    assert checks.mean() == pytest.approx(0.5, abs=0.01)
    assert set(np.diff(np.flatnonzero(np.diff(checks[:, 20] > 0.5)))) == {32}
    assert set(np.diff(np.flatnonzero(np.diff(checks[20] > 0.5)))) == {32}


def test_textures_turn_with_the_object():
    turned = second_colour("stripes", at(0.5, np.array([0.0, math.pi / 2])), size=64)
    np.testing.assert_allclose(turned[1], turned[0].T, atol=1e-3)
