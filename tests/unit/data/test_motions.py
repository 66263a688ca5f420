"""Where synthetic objects go: nothing to be told from one frame, everything from several."""

import math

import numpy as np
import pytest

from vsalt.data.motions import draw_trajectory
from vsalt.data.synthetic_config import MOTIONS


def paths(motion, count=3000):
    return [
        draw_trajectory(motion, np.random.default_rng(seed), num_frames=24) for seed in range(count)
    ]


def wrapped(steps):
    return (steps + 0.5) % 1.0 - 0.5


@pytest.mark.parametrize("motion", MOTIONS)
def test_one_frame_says_nothing_of_the_motion(motion):
    """Place, log radius and angle are uniform in each frame, whatever the motion is."""
    found = paths(motion)
    ranks = (np.arange(len(found)) + 0.5) / len(found)
    low, high = math.log(0.12), math.log(0.26)
    for frame in (0, 11, 23):
        samples = {
            "x": [path.x[frame] for path in found],
            "y": [path.y[frame] for path in found],
            "radius": [(math.log(path.radius[frame]) - low) / (high - low) for path in found],
            "angle": [path.angle[frame] / (2 * math.pi) % 1 for path in found],
        }
        for name, sample in samples.items():
            distance = np.abs(np.sort(sample) - ranks).max()
            # Kolmogorov-Smirnov at one in a thousand, with room for 168 looks.
            assert distance < 2.4 / math.sqrt(len(found)), (name, frame)


def test_two_frames_do_not_tell_accelerate_from_decelerate():
    """The way between any two frames has one distribution."""
    count = 4000
    ways = {}
    for motion in ("accelerate", "decelerate"):
        found = paths(motion, count)
        # Before it was wrapped: no step is half a picture long.
        places = np.unwrap([path.x for path in found], period=1)
        ways[motion] = places + np.unwrap([path.y for path in found], period=1)
    for first, last in ((0, 1), (3, 11), (0, 23)):
        one, other = (np.sort(way[:, last] - way[:, first]) for way in ways.values())
        both = np.concatenate([one, other])
        shares = [np.searchsorted(part, both, side="right") / count for part in (one, other)]
        # Two-sample Kolmogorov-Smirnov at one in a thousand.
        assert np.abs(shares[0] - shares[1]).max() < 1.95 * math.sqrt(2 / count)


def angle_between(dx, dy):
    """The change of direction at each frame, in radians."""
    steps = dx + 1j * dy
    return np.angle(steps[1:] / steps[:-1])


def goes_on_and_weaves(along, across):
    steady = np.allclose(along, along[0]) and abs(along[0]) > 0.01
    return steady and across.min() < -0.01 < 0.01 < across.max()


def told_by_rules(path):
    """Every motion whose definition holds for a path; y points down."""
    dx, dy = wrapped(np.diff(path.x)), wrapped(np.diff(path.y))
    length = np.hypot(dx, dy)
    growth, spin = np.sign(np.diff(path.radius)), np.diff(path.angle)
    if length.max() < 1e-9:
        return [
            name
            for name, holds in {
                "approach": np.median(growth) > 0,
                "recede": np.median(growth) < 0,
                "spin_clockwise": (spin > 0).all(),
                "spin_counter_clockwise": (spin < 0).all(),
            }.items()
            if holds
        ]
    turn = angle_between(dx, dy)
    one_axis = np.allclose(dx, 0) or np.allclose(dy, 0)
    steady = np.allclose(length, length[0])
    forth = (np.abs(turn) < 1e-6).all()
    faster = np.median(np.diff(length))
    rules = {
        "left": steady and forth and one_axis and (dx < 0).all(),
        "right": steady and forth and one_axis and (dx > 0).all(),
        "up": steady and forth and one_axis and (dy < 0).all(),
        "down": steady and forth and one_axis and (dy > 0).all(),
        # A turn from right (x) to down (y) is clockwise to the eye.
        "clockwise": (turn > 0).all() and (turn < 1).all(),
        "counter_clockwise": (turn < 0).all() and (turn > -1).all(),
        "accelerate": forth and one_axis and faster > 1e-6,
        "decelerate": forth and one_axis and faster < -1e-6,
        "oscillate": one_axis and (np.abs(turn) > 3).any(),
        "zigzag": goes_on_and_weaves(dx, dy) or goes_on_and_weaves(dy, dx),
    }
    return [name for name, holds in rules.items() if holds]


@pytest.mark.parametrize("motion", MOTIONS)
def test_paths_tell_their_motion_and_no_other(motion):
    for path in paths(motion, 100):
        assert told_by_rules(path) == [motion]
