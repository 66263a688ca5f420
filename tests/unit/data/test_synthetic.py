"""The made videos: their labels can be seen in the pixels, and not in a single frame."""

import csv
import hashlib
import math
from collections import Counter

import numpy as np
import pytest

from vsalt.data.decode import Video
from vsalt.data.manifest import read_source
from vsalt.data.shapes import APPEARANCES, coverage
from vsalt.data.synthetic import (
    MOTIONS,
    draw_clip,
    draw_trajectory,
    plan_clips,
    synthesise,
)
from vsalt.errors import DataError


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_the_files_are_what_the_manifest_says(tmp_path):
    made = []
    manifest = synthesise(
        tmp_path / "set", num_clips=20, seed=3, num_frames=10, on_clip=lambda: made.append(1)
    )
    assert len(made) == 20
    rows = read_source(manifest).rows
    assert len(rows) == 20
    for row, clip in zip(rows, plan_clips(20, 3), strict=True):
        assert row.label == row.columns["motion"] == clip.motion
        assert row.columns["appearance"] == clip.appearance
        assert row.split == clip.split
        with Video(row.path) as video:
            info = video.info
            assert (info.num_frames, info.fps, info.height, info.width) == (10, 12.0, 64, 64)
            decoded = video.read((np.arange(10) + 0.5) / 12).astype(float)
        drawn = draw_clip(clip, seed=3, size=64, num_frames=10).astype(float)
        assert np.abs(decoded - drawn).mean() < 12  # compression and halved colour resolution
    assert not list((tmp_path / "set").glob("*.tmp"))


def test_bytes_are_a_function_of_the_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        synthesise(tmp_path / name, num_clips=4, seed=seed, num_frames=6)
    first, second, other = (digest(tmp_path / name) for name in "abc")
    assert first == second
    assert len(first) == 5
    assert not set(first.values()) & {v for k, v in other.items() if k.suffix == ".mp4"}


def test_bytes_do_not_depend_on_the_state_of_memory(tmp_path):
    """An encoder whose look-ahead is on gives other bytes in about one of six runs."""
    noise = np.random.default_rng(0)
    held = []
    found = set()
    for attempt in range(60):
        held.append(np.ones(noise.choice([100, 3000, 7000, 60000, 200000]), dtype=np.uint8))
        if len(held) > 20:
            held.pop(noise.integers(20))
        synthesise(tmp_path / str(attempt), num_clips=1, num_frames=6)
        found |= set(digest(tmp_path / str(attempt)).values())
    assert len(found) == 2


def test_labels_are_balanced_and_independent_in_each_split():
    clips = list(plan_clips(640, 0))
    for split, expected in (("train", 16), ("test", 4)):
        pairs = Counter((c.motion, c.appearance) for c in clips if c.split == split)
        assert set(pairs) == {(m, a) for m in MOTIONS for a in APPEARANCES}
        assert set(pairs.values()) == {expected}
    train = {c.scene for c in clips if c.split == "train"}
    test = {c.scene for c in clips if c.split == "test"}
    assert not train & test
    assert Counter(Counter(c.scene for c in clips).values()) == {8: 80}


@pytest.mark.parametrize("num_clips", [10, 16, 40])
def test_small_sets_have_both_splits(num_clips):
    assert {clip.split for clip in plan_clips(num_clips, 0)} == {"train", "test"}


def paths(motion, count=3000):
    return [
        draw_trajectory(motion, np.random.default_rng(seed), num_frames=24) for seed in range(count)
    ]


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("frame", [0, 11, 23])
def test_one_frame_says_nothing_of_the_motion(motion, frame):
    """Place, log radius and angle are uniform in each frame, whatever the motion is."""
    found = paths(motion)
    ranks = (np.arange(len(found)) + 0.5) / len(found)
    low, high = math.log(0.12), math.log(0.26)
    samples = {
        "x": [path.x[frame] for path in found],
        "y": [path.y[frame] for path in found],
        "radius": [(math.log(path.radius[frame]) - low) / (high - low) for path in found],
        "angle": [path.angle[frame] / (2 * math.pi) for path in found],
    }
    for name, sample in samples.items():
        distance = np.abs(np.sort(sample) - ranks).max()
        # Kolmogorov-Smirnov at one in a thousand, with room for 96 looks.
        assert distance < 2.4 / math.sqrt(len(found)), name


def test_two_frames_tell_the_motion():
    def wrapped(steps):
        return (steps + 0.5) % 1.0 - 0.5

    for motion in MOTIONS:
        for path in paths(motion, 40):
            dx, dy = wrapped(np.diff(path.x)), wrapped(np.diff(path.y))
            growth = np.sign(np.diff(path.radius))
            turn = np.sign(dx[:-1] * dy[1:] - dy[:-1] * dx[1:])
            moves = {
                "left": (dx < 0).all() and np.allclose(dy, 0),
                "right": (dx > 0).all() and np.allclose(dy, 0),
                "up": (dy < 0).all() and np.allclose(dx, 0),
                "down": (dy > 0).all() and np.allclose(dx, 0),
                # y points down: a turn from right (x) to down (y) is clockwise to the eye.
                "clockwise": (turn > 0).all() and not np.allclose(dx, 0),
                "counter_clockwise": (turn < 0).all() and not np.allclose(dx, 0),
                "approach": np.median(growth) > 0,
                "recede": np.median(growth) < 0,
            }
            assert [name for name, holds in moves.items() if holds] == [motion]


def centre_of_change(frames):
    """Where the colours differ most from the frame's median colour, on the torus."""
    size = frames.shape[1]
    unlike = np.abs(frames - np.median(frames, axis=(1, 2), keepdims=True)).sum(-1) ** 4
    wheel = np.exp(2j * np.pi * np.arange(size) / size)
    across = np.angle((unlike.sum(1) * wheel).sum(1)) / (2 * np.pi)
    down = np.angle((unlike.sum(2) * wheel).sum(1)) / (2 * np.pi)
    return np.unwrap(across, period=1), np.unwrap(down, period=1)


def test_the_pixels_move_as_the_label_says():
    right = total = 0
    for clip in plan_clips(160, 0):
        if clip.motion not in ("left", "right", "up", "down"):
            continue
        across, down = centre_of_change(
            draw_clip(clip, seed=0, size=64, num_frames=24).astype(float)
        )
        dx, dy = across[-1] - across[0], down[-1] - down[0]
        sideways, downwards = ("left", "right")[int(dx > 0)], ("up", "down")[int(dy > 0)]
        guess = sideways if abs(dx) > abs(dy) else downwards
        right += guess == clip.motion
        total += 1
    assert right / total > 0.85


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_shapes_have_the_area_of_their_disc_and_wrap(appearance):
    angles = np.linspace(0, 2 * np.pi, 7)
    ones = np.ones(7)
    inside = coverage(appearance, 0.5 * ones, 0.5 * ones, 0.2 * ones, angles, size=128)
    assert inside.min() == 0
    assert inside.max() == 1
    area = inside.mean(axis=(1, 2))
    assert area == pytest.approx(np.full(7, math.pi * 0.2**2), rel=0.02)
    # Moved by half a picture, the same shape lies across the corners.
    corner = coverage(appearance, 0.0 * ones, 0.0 * ones, 0.2 * ones, angles, size=128)
    np.testing.assert_allclose(np.roll(corner, (64, 64), axis=(1, 2)), inside, atol=1e-3)


def test_four_shapes_differ():
    one = np.ones(1)
    masks = [
        coverage(name, 0.5 * one, 0.5 * one, 0.2 * one, 0.0 * one, size=64) for name in APPEARANCES
    ]
    for i, first in enumerate(masks):
        for other in masks[:i]:
            assert np.abs(first - other).sum() > 0.1 * first.sum()


def test_refusals(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(DataError, match="not an empty folder"):
        synthesise(tmp_path / "used", num_clips=1)
    for options in ({"size": 15}, {"size": 33}, {"num_frames": 0}, {"fps": 0}, {"num_clips": 0}):
        with pytest.raises(DataError, match="must be"):
            synthesise(tmp_path / "new", **{"num_clips": 1, **options})
    assert not (tmp_path / "new").exists()


def test_the_header(tmp_path):
    manifest = synthesise(tmp_path / "set", num_clips=1, num_frames=2)
    with manifest.open() as file:
        header = next(csv.reader(file))
    assert header == ["path", "label", "motion", "appearance", "split", "group"]
