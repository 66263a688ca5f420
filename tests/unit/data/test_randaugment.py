"""Which operations are drawn, how strong, and that a clip's frames are treated alike."""

import numpy as np
import pytest

from vsalt.data.probe_config import RandAugmentConfig
from vsalt.data.randaugment import (
    OPERATIONS,
    Operation,
    apply_operation,
    draw_operations,
    randaugment,
)
from vsalt.errors import ConfigError

# By hand from the original: the arguments at magnitudes 0, 7 and 10 of 10.
ARGUMENTS = {
    "autocontrast": (0, 0, 0),
    "equalize": (0, 0, 0),
    "invert": (0, 0, 0),
    "rotate": (0, 21, 30),
    "posterize": (4, 2, 0),
    "solarize": (256, 77, 0),
    "solarize_add": (0, 77, 110),
    "colour": (1, 1.63, 1.9),
    "contrast": (1, 1.63, 1.9),
    "brightness": (1, 1.63, 1.9),
    "sharpness": (1, 1.63, 1.9),
    "shear_x": (0, 0.21, 0.3),
    "shear_y": (0, 0.21, 0.3),
    "translate_x": (0, 0.315, 0.45),
    "translate_y": (0, 0.315, 0.45),
}
SIGNED = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}
FACTORS = {"colour", "contrast", "brightness", "sharpness"}
DRAWS = 6000


def noise(frames=3, height=20, width=26, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, size=(frames, height, width, 3))
    return values.astype(np.uint8)


@pytest.fixture(scope="module")
def drawn():
    settings = RandAugmentConfig()
    return [draw_operations(np.random.default_rng(seed), settings) for seed in range(DRAWS)]


def test_arguments_grow_with_the_magnitude():
    assert set(OPERATIONS) == set(ARGUMENTS)
    for column, magnitude in enumerate((0.0, 7.0, 10.0)):
        settings = RandAugmentConfig(magnitude=magnitude, magnitude_std=0.0)
        for seed in range(40):
            for name, argument in draw_operations(np.random.default_rng(seed), settings):
                away = argument - (1 if name in FACTORS else 0)
                expected = ARGUMENTS[name][column] - (1 if name in FACTORS else 0)
                if name in SIGNED | FACTORS:
                    away, expected = abs(away), abs(expected)
                assert away == pytest.approx(expected, abs=1e-12)


def test_every_kind_is_drawn_equally_often_and_used_half_of_the_time(drawn):
    counts = dict.fromkeys(OPERATIONS, 0)
    for operation in (one for clip in drawn for one in clip):
        counts[operation.name] += 1
    # 4 draws a clip, used with probability 1/2, out of 15: mean 800, deviation 27.8.
    expected = DRAWS * 4 * 0.5 / 15
    assert all(abs(count - expected) < 4.5 * np.sqrt(expected) for count in counts.values())
    lengths = np.bincount([len(clip) for clip in drawn], minlength=5) / DRAWS
    np.testing.assert_allclose(lengths, np.array([1, 4, 6, 4, 1]) / 16, atol=0.03)
    assert any(len({one.name for one in clip}) < len(clip) for clip in drawn)


def test_strengths_are_normal_about_the_magnitude(drawn):
    operations = [one for clip in drawn for one in clip]
    degrees = np.array([one.argument for one in operations if one.name == "rotate"])
    magnitudes = np.abs(degrees) / 3
    assert magnitudes.mean() == pytest.approx(7, abs=4.5 * 0.5 / np.sqrt(len(degrees)))
    assert magnitudes.std() == pytest.approx(0.5, rel=0.15)
    assert np.mean(degrees > 0) == pytest.approx(0.5, abs=4.5 * 0.5 / np.sqrt(len(degrees)))
    bits = np.array([one.argument for one in operations if one.name == "posterize"])
    # Magnitude 7.5, one deviation above the mean, costs one more bit.
    assert set(bits) <= {1, 2, 3}
    assert np.mean(bits == 1) == pytest.approx(0.1587, abs=0.06)
    factors = np.array([one.argument for one in operations if one.name == "contrast"])
    assert np.mean(factors > 1) == pytest.approx(0.5, abs=0.08)


def test_strengths_are_cut_to_the_range():
    settings = RandAugmentConfig(magnitude=10.0, magnitude_std=5.0)
    for seed in range(200):
        for name, argument in draw_operations(np.random.default_rng(seed), settings):
            assert name != "rotate" or abs(argument) <= 30
            assert name != "posterize" or 0 <= argument <= 4


@pytest.mark.parametrize("name", ARGUMENTS)
def test_frames_are_treated_one_by_one_with_the_same_argument(name):
    frames = noise() // np.array([1, 2, 3], dtype=np.uint8).reshape(3, 1, 1, 1)
    before = frames.copy()
    operation = Operation(name, float(ARGUMENTS[name][1]))
    found = apply_operation(frames, operation)
    assert found.dtype == np.uint8
    for frame, own in zip(frames, found, strict=True):
        np.testing.assert_array_equal(apply_operation(frame[None], operation)[0], own)
    np.testing.assert_array_equal(frames, before)
    assert np.any(found != frames)


def test_a_still_clip_stays_still_and_the_draws_are_used_in_order():
    still = np.repeat(noise(frames=1), 4, axis=0)
    settings = RandAugmentConfig(probability=1.0)
    for seed in range(10):
        found = randaugment(still, np.random.default_rng(seed), settings)
        np.testing.assert_array_equal(found, np.broadcast_to(found[:1], found.shape))
        expected = still
        for operation in draw_operations(np.random.default_rng(seed), settings):
            expected = apply_operation(expected, operation)
        np.testing.assert_array_equal(found, expected)


def test_nothing_drawn_changes_nothing():
    settings = RandAugmentConfig(num_ops=0)
    frames = noise()
    np.testing.assert_array_equal(randaugment(frames, np.random.default_rng(0), settings), frames)


def test_all_mistakes_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        RandAugmentConfig(num_ops=-1, magnitude=11.0, magnitude_std=-0.5, probability=1.5)
    flags = ("num-ops", "magnitude ", "magnitude-std", "probability")
    assert len(caught.value.problems) == 4
    for flag, problem in zip(flags, caught.value.problems, strict=True):
        assert f"randaugment.{flag}" in problem
