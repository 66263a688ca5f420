"""Affine maps against a plain loop over pixels, and their directions."""

import numpy as np
import pytest

from vsalt.data import affine


def noise(frames=2, height=14, width=19, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, size=(frames, height, width, 3))
    return values.astype(np.uint8)


def cubic(values, t):
    """The cubic through values[1], values[2] at t = 0, 1 with slopes by Keys' parameter -1."""
    slope_0, slope_1 = values[2] - values[0], values[3] - values[1]
    rise = values[2] - values[1]
    return (
        values[1]
        + slope_0 * t
        + (3 * rise - 2 * slope_0 - slope_1) * t**2
        + (slope_0 + slope_1 - 2 * rise) * t**3
    )


def slow_transform(frame, by, fill):
    height, width = frame.shape[:2]
    out = np.full(frame.shape, float(fill))
    for row in range(height):
        for column in range(width):
            x = by.a * (column + 0.5) + by.b * (row + 0.5) + by.c
            y = by.d * (column + 0.5) + by.e * (row + 0.5) + by.f
            if not (0 <= x < width and 0 <= y < height):
                continue
            left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
            lines = []
            for j in range(top - 1, top + 3):
                line = frame[min(max(j, 0), height - 1)].astype(float)
                taps = [line[min(max(i, 0), width - 1)] for i in range(left - 1, left + 3)]
                lines.append(cubic(taps, x - 0.5 - left))
            out[row, column] = np.clip(cubic(lines, y - 0.5 - top), 0, 255)
    return out


MAPS = {
    "shear x": affine.shear_x(0.23),
    "shear y": affine.shear_y(-0.17),
    "shift": affine.translation(3.4, -2.7),
    "turn": affine.rotation(17.0, height=14, width=19),
    "any": affine.AffineMap(0.8, 0.3, -1.1, -0.2, 1.3, 0.7),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_those_of_a_plain_loop(name):
    frames = noise()
    found = affine.transform(frames, MAPS[name], fill=128)
    expected = np.stack([slow_transform(frame, MAPS[name], 128) for frame in frames])
    # Towards zero, but for what is an integer within the precision of 32 bits.
    error = expected - found
    assert error.min() >= -1e-3
    assert error.max() < 1
    assert np.any(found != 128)


def test_long_clips_are_moved_in_pieces(monkeypatch):
    frames = noise(frames=7)
    whole = affine.transform(frames, MAPS["any"], fill=0)
    monkeypatch.setattr(affine, "_MAX_VALUES", 2 * 14 * 19 * 3)
    np.testing.assert_array_equal(affine.transform(frames, MAPS["any"], fill=0), whole)


def test_no_map_changes_nothing():
    frames = noise()
    for by in (affine.shear_x(0.0), affine.translation(0.0, 0.0)):
        np.testing.assert_array_equal(affine.transform(frames, by, fill=9), frames)


def spot(by):
    """Where a bright spot at row 8, column 30 of 41 x 61 pixels goes."""
    frame = np.zeros((1, 41, 61, 3), dtype=np.uint8)
    frame[0, 7:10, 29:32] = 255
    weight = affine.transform(frame, by, fill=0)[0, ..., 0].astype(float)
    rows, columns = np.indices(weight.shape)
    return (rows * weight).sum() / weight.sum(), (columns * weight).sum() / weight.sum()


def test_directions():
    # To the left by 5 and up by 3 pixels; pixel centres are at half integers.
    assert spot(affine.translation(5.0, 3.0)) == pytest.approx((5, 25))
    assert spot(affine.shear_x(0.2)) == pytest.approx((8, 30 - 0.2 * 8.5), abs=0.1)
    assert spot(affine.shear_y(0.1)) == pytest.approx((8 - 0.1 * 30.5, 30), abs=0.1)
    # From twelve o'clock, counter-clockwise, 30 degrees: radius 12 about (20, 30).
    turned = spot(affine.rotation(30.0, height=41, width=61))
    assert turned == pytest.approx((20 - 12 * np.cos(np.pi / 6), 30 - 12 * 0.5), abs=0.1)


def test_what_lies_outside_is_filled():
    white = np.full((1, 10, 12, 3), 255, dtype=np.uint8)
    moved = affine.transform(white, affine.translation(4.0, 0.0), fill=128)
    assert np.all(moved[:, :, :8] == 255)
    assert np.all(moved[:, :, 8:] == 128)
