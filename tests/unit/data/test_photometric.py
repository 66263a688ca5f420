"""Photometric operations against plain loops over pixels and values."""

import numpy as np
import pytest

from vsalt.data import photometric


def noise(height=9, width=13, low=0, high=256, seed=0):
    values = np.random.default_rng(seed).integers(low, high, size=(height, width, 3))
    return values.astype(np.uint8)


PICTURES = [noise(), noise(40, 50, 30, 90), noise(2, 1), noise(30, 30, 7, 8), noise(3, 3, 250, 256)]


def per_value(frame, change):
    """`change(value, channel)` of every value, cut to 0 … 255 and towards zero."""
    out = np.empty_like(frame)
    for place in np.ndindex(frame.shape):
        out[place] = int(min(255, max(0, change(int(frame[place]), place[2]))))
    return out


def blended(start, frame, factor):
    start = np.broadcast_to(start, frame.shape).astype(float)
    values = np.clip(start + factor * (frame - start), 0, 255)
    return values.astype(np.uint8)


def luma(frame):
    return np.floor(frame @ np.array([0.299, 0.587, 0.114]) + 0.5)


def smooth(frame):
    out = frame.astype(float)
    for y in range(1, frame.shape[0] - 1):
        for x in range(1, frame.shape[1] - 1):
            square = frame[y - 1 : y + 2, x - 1 : x + 2].astype(float)
            out[y, x] = np.floor((square.sum((0, 1)) + 4 * out[y, x]) / 13 + 0.5)
    return out


@pytest.mark.parametrize("frame", PICTURES)
def test_autocontrast_stretches_each_channel(frame):
    low, high = frame.min((0, 1)).astype(int), frame.max((0, 1)).astype(int)

    def stretched(value, c):
        # The small number stands for the product of two rounded floats.
        return value if high[c] == low[c] else (value - low[c]) * 255 / (high[c] - low[c]) + 1e-9

    found = photometric.autocontrast(frame).astype(int)
    # Where the exact quotient is an integer, rounding decides.
    assert np.abs(found - per_value(frame, stretched)).max() <= 1
    assert np.mean(found != per_value(frame, stretched)) < 0.02


@pytest.mark.parametrize("frame", PICTURES)
def test_equalize_evens_the_histogram(frame):
    def table(channel):
        counts = [int((channel == value).sum()) for value in range(256)]
        last = max(value for value in range(256) if counts[value])
        step = (sum(counts) - counts[last]) // 255
        if step == 0:
            return list(range(256))
        return [(step // 2 + sum(counts[:value])) // step for value in range(256)]

    tables = [table(frame[..., c]) for c in range(3)]
    expected = per_value(frame, lambda value, c: tables[c][value])
    np.testing.assert_array_equal(photometric.equalize(frame), expected)


def test_an_equalized_histogram_is_even():
    found = photometric.equalize(noise(120, 120, 30, 90))
    assert found.min() <= 4
    assert found.max() >= 251
    assert abs(found.mean() - 127.5) < 3


def test_operations_by_a_table():
    frame = noise()
    inverted = per_value(frame, lambda v, c: 255 - v)
    np.testing.assert_array_equal(photometric.invert(frame), inverted)
    for bits in range(9):
        kept = per_value(frame, lambda v, c, step=2 ** (8 - bits): v // step * step)
        np.testing.assert_array_equal(photometric.posterize(frame, bits), kept)
    for threshold in (0, 77, 255, 256):
        solarized = per_value(frame, lambda v, c, t=threshold: v if v < t else 255 - v)
        np.testing.assert_array_equal(photometric.solarize(frame, threshold), solarized)
    for added in (0, 77, 110):
        bright = per_value(frame, lambda v, c, a=added: min(255, v + a) if v < 128 else v)
        np.testing.assert_array_equal(photometric.solarize_add(frame, added), bright)


@pytest.mark.parametrize("frame", PICTURES)
@pytest.mark.parametrize("factor", [0.1, 0.37, 1.0, 1.63, 1.9])
def test_enhancements_move_away_from_something_plain(frame, factor):
    grey = luma(frame)
    plain = {
        "colour": grey[..., None],
        "contrast": np.floor(grey.mean() + 0.5),
        "brightness": 0.0,
        "sharpness": smooth(frame),
    }
    for name, start in plain.items():
        found = getattr(photometric, name)(frame, factor).astype(int)
        error = np.abs(found - blended(start, frame, factor))
        # 32 bits and 64 differ where the exact value is nearly an integer.
        assert error.max() <= 1
        assert np.mean(error) < 0.02 or frame.size < 100
