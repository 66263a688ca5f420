"""What is seen in the decoded frames: each motion, and what no label tells."""

import hashlib

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from vsalt.data.decode import read_frames
from vsalt.data.manifest import read_source
from vsalt.data.synthetic import DEFAULTS, plan_clips, synthesise
from vsalt.data.synthetic_config import MOTIONS, SynthConfig
from vsalt.data.synthetic_frames import draw_clip

SIZE, FRAMES = 64, 24
# On one colour, a pixel of the object is told by its colour alone. The disc's own outline tells no
# orientation, so that the stripes' is measured.
CLEAN = SynthConfig(
    motions=MOTIONS, shapes=("disc",), textures=("stripes",), background_contrast=0.0, qp=10
)


def make(folder, num_clips, config, **options):
    """Write a set and decode it: frames (clips, T, H, W, 3) as floats, and the rows."""
    manifest = synthesise(folder, num_clips=num_clips, config=config, **options)
    rows = read_source(manifest).rows
    times_s = (np.arange(options.get("num_frames", FRAMES)) + 0.5) / 12
    return np.stack([read_frames(row.path, times_s) for row in rows]).astype(np.float32), rows


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return make(tmp_path_factory.mktemp("clean") / "set", 84, CLEAN)


def object_mask(frames):
    """Where the colour is not the background's, (T, H, W)."""
    background = np.median(frames, axis=(0, 1, 2))
    return np.abs(frames - background).max(axis=-1) > 40


def centre(mask):
    """Its centre of mass on the torus in each frame, in picture sides, without jumps."""
    size = mask.shape[-1]
    wheel = np.exp(2j * np.pi * (np.arange(size) + 0.5) / size)
    across = np.angle((mask.sum(axis=1) * wheel).sum(axis=1)) / (2 * np.pi)
    down = np.angle((mask.sum(axis=2) * wheel).sum(axis=1)) / (2 * np.pi)
    return np.unwrap(across, period=1), np.unwrap(down, period=1)


def orientation(frames, mask):
    """The direction of the stripes' gradient, in radians, without jumps by half turns."""
    grey = frames.mean(axis=-1)
    slope_x = np.roll(grey, -1, axis=2) - np.roll(grey, 1, axis=2)
    slope_y = np.roll(grey, -1, axis=1) - np.roll(grey, 1, axis=1)
    double = ((slope_x + 1j * slope_y) ** 2 * mask).sum(axis=(1, 2))
    return np.unwrap(np.angle(double)) / 2


def seen_motions(frames):
    """The motions whose description fits the decoded frames."""
    mask = object_mask(frames)
    x, y = centre(mask)
    right, down = x[-1] - x[0], y[-1] - y[0]
    if max(np.ptp(x), np.ptp(y)) < 0.05:
        growth = np.median(np.diff(mask.sum(axis=(1, 2))))
        turned = np.diff(orientation(frames, mask)).sum()
        still = abs(turned) < 0.5
        rules = {
            "approach": still and growth > 0,
            "recede": still and growth < 0,
            "spin_clockwise": turned > 1.2,
            "spin_counter_clockwise": turned < -1.2,
        }
    elif min(np.ptp(x), np.ptp(y)) < 0.05:
        along = x if np.ptp(x) > np.ptp(y) else y
        # Over three frames, since the centre is known to about half a pixel.
        steps = along[3:] - along[:-3]
        gain = np.median(steps[3:] - steps[:-3]) * np.sign(np.median(steps))
        back = steps.min() < -0.03 and steps.max() > 0.03
        line = np.polynomial.Polynomial.fit(np.arange(FRAMES), along, 1)
        steady = np.abs(line(np.arange(FRAMES)) - along).max() < 0.02
        rules = {
            "left": steady and right < -0.4,
            "right": steady and right > 0.4,
            "up": steady and down < -0.4,
            "down": steady and down > 0.4,
            "accelerate": not steady and not back and gain > 0,
            "decelerate": not steady and not back and gain < 0,
            "oscillate": back,
        }
    else:
        side = np.diff(x)[:-1] * np.diff(y)[1:] - np.diff(x)[1:] * np.diff(y)[:-1]
        round_trip = np.mean(side > 0)
        onward = max(abs(right), abs(down)) > 0.4
        rules = {
            "clockwise": round_trip > 0.9,
            "counter_clockwise": round_trip < 0.1,
            "zigzag": onward and 0.1 <= round_trip <= 0.9,
        }
    return [name for name, fits in rules.items() if fits]


def test_every_motion_can_be_seen(clean):
    for frames, row in zip(*clean, strict=True):
        assert seen_motions(frames) == [row.label], row.path


def centre_of_change(frames):
    """Where the colours differ most from the frame's median colour, on the torus."""
    unlike = np.abs(frames - np.median(frames, axis=(1, 2), keepdims=True)).sum(-1) ** 4
    return centre(unlike)


@pytest.mark.parametrize("config", [CLEAN, DEFAULTS], ids=["all motions", "defaults"])
def test_one_frame_does_not_tell_the_motion_and_the_way_does(tmp_path, config):
    """First, middle and last frame: two classifiers are no better than guessing."""
    num_train, num_test = 400, 200
    videos, rows = make(tmp_path / "set", num_train + num_test, config, size=32, num_frames=6)
    labels = np.array([row.label for row in rows])
    # One in a thousand, with room for 12 looks.
    most = binom.ppf(1 - 1e-3 / 12, num_test, 1 / len(config.motions))

    def num_right(classifier, features):
        classifier.fit(features[:num_train], labels[:num_train])
        return (classifier.predict(features[num_train:]) == labels[num_train:]).sum()

    for frame in (0, 3, 5):
        pixels = videos[:, frame].reshape(len(videos), -1) / 255
        assert num_right(RidgeClassifier(alpha=10.0), pixels) <= most
        assert num_right(KNeighborsClassifier(5), pixels) <= most
    places = np.array([centre_of_change(frames) for frames in videos])
    ways = (places - places[:, :, :1]).reshape(len(videos), -1)
    assert num_right(KNeighborsClassifier(5), ways) > 2 * most


def test_the_pixels_move_as_the_label_says():
    """With the default background, too."""
    right = total = 0
    for clip in plan_clips(160, 0):
        if clip.motion not in ("left", "right", "up", "down"):
            continue
        across, down = centre_of_change(
            draw_clip(clip, DEFAULTS, seed=0, size=SIZE, num_frames=FRAMES).astype(float)
        )
        dx, dy = across[-1] - across[0], down[-1] - down[0]
        sideways, downwards = ("left", "right")[int(dx > 0)], ("up", "down")[int(dy > 0)]
        guess = sideways if abs(dx) > abs(dy) else downwards
        right += guess == clip.motion
        total += 1
    assert right / total > 0.85


@pytest.mark.parametrize("sigma", [4.0, 16.0, 40.0])
def test_noise_in_the_files_is_as_asked(tmp_path, sigma):
    options = {"background_contrast": 0.0, "qp": 1}
    quiet, _ = make(tmp_path / "quiet", 4, SynthConfig(**options))
    noisy, _ = make(tmp_path / "noisy", 4, SynthConfig(**options, noise=sigma))
    for before, after in zip(quiet, noisy, strict=True):
        background = ~object_mask(before).any(axis=0)
        noise = (after - before).mean(axis=-1)[:, background]
        assert noise.std() == pytest.approx(sigma, rel=0.05)
        # Anew in every frame and pixel: neither the frame before nor the neighbour tells it.
        assert abs(np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]) < 0.05


def test_flicker_is_as_asked():
    spreads = []
    for clip in plan_clips(40, 0):
        first, second = (
            draw_clip(clip, SynthConfig(flicker=level), seed=0, size=16, num_frames=FRAMES)
            for level in (0.0, 10.0)
        )
        change = np.median(second.astype(float) - first, axis=(1, 2, 3))
        spreads.append(np.mean(change**2))
    # 960 draws: their spread is known to 2.3 %.
    assert np.sqrt(np.mean(spreads)) == pytest.approx(10, rel=0.08)


def test_distractors_are_smaller_and_pass_behind():
    few = SynthConfig(background_contrast=0.0)
    many = SynthConfig(background_contrast=0.0, distractors=4)
    added = []
    for clip in plan_clips(32, 0):
        alone, among = (
            draw_clip(clip, config, seed=0, size=SIZE, num_frames=FRAMES).astype(float)
            for config in (few, many)
        )
        changed = np.abs(among - alone).max(axis=-1) > 8
        # Where the labelled object covers all of a pixel, it hides what is behind it.
        unlike = np.abs(alone - np.median(alone, axis=(0, 1, 2))).sum(axis=-1)
        assert not (changed & (unlike == unlike.max())).any()
        added.append(changed.sum(axis=(1, 2)))
        # Four discs of the greatest radius, with a rim of half a pixel.
        assert added[-1].max() < 4 * np.pi * (0.09 * SIZE + 1) ** 2
    assert np.mean(added) > 2 * np.pi * (0.05 * SIZE) ** 2
    # They move, though not all of them do.
    assert np.mean([np.ptp(counts) > 0 for counts in added]) > 0.5


def background_pixels(config, clip, size=SIZE):
    """A clip's frames (T, H, W, 3) and the pixels where its object never is."""
    frames = draw_clip(clip, config, seed=0, size=size, num_frames=FRAMES).astype(float)
    flat = SynthConfig(background_contrast=0.0)
    drawn = draw_clip(clip, flat, seed=0, size=size, num_frames=FRAMES).astype(float)
    return frames, ~(drawn != np.median(drawn, axis=(0, 1, 2))).any(axis=(0, 3))


def flow(frames, where):
    """The velocity that explains the change of the grey levels best, in pixels per frame."""
    grey = frames.mean(axis=-1)
    # Centred differences of all three axes, at the times between the first and the last frame.
    slopes = [
        (np.roll(grey, -1, axis=axis) - np.roll(grey, 1, axis=axis))[1:-1, where].ravel() / 2
        for axis in (2, 1, 0)
    ]
    return np.linalg.lstsq(np.stack(slopes[:2], axis=1), -slopes[2], rcond=None)[0]


def test_the_background_drifts_steadily_at_the_speed_asked_for():
    for clip in list(plan_clips(8, 0)):
        still, where = background_pixels(SynthConfig(background_speed=0.0), clip)
        assert np.ptp(still[:, where], axis=0).max() <= 1
        slow = flow(*background_pixels(SynthConfig(), clip))
        fast = flow(*background_pixels(SynthConfig(background_speed=2.0), clip))
        np.testing.assert_allclose(fast, 2 * slow, atol=0.05)
        assert np.abs(slow).max() < SIZE / 8 / FRAMES + 0.02


def test_contrast_of_the_background():
    clip = next(plan_clips(1, 0))
    spread = {}
    for contrast in (0.0, 0.5, 1.0):
        frames, where = background_pixels(SynthConfig(background_contrast=contrast), clip)
        spread[contrast] = frames[:, where].std(axis=(0, 1))
    assert spread[0.0].max() == 0
    np.testing.assert_allclose(spread[1.0], 2 * spread[0.5], rtol=0.03)


@pytest.mark.parametrize(
    ("config", "num_clips", "expected"),
    [
        (DEFAULTS, 6, "7fdc4457fbbdfa7d8946ad87474ea86f557bbf4ff5111ca38f25e1ce59c18928"),
        (
            SynthConfig(textures=("stripes",), distractors=2, noise=5.0),
            3,
            "ebb461c794f4a95b024f6a3d489bd892f08b2030304fca1c127bd3e3b6eac908",
        ),
        (
            SynthConfig(background_contrast=0.0),
            6,
            "aaae7314aaef0f1f0538f1f4e6869c429d3803e445764d37e46d90185e9168e7",
        ),
    ],
    ids=["defaults", "all settings", "one colour behind"],
)
def test_frames_of_one_seed_never_change(config, num_clips, expected):
    """Hashes of what was drawn before `colours` was a setting."""
    drawn = [
        draw_clip(clip, config, seed=11, size=32, num_frames=8).tobytes()
        for clip in plan_clips(num_clips, 11, config)
    ]
    assert hashlib.sha256(b"".join(drawn)).hexdigest() == expected


def test_colours_change_neither_labels_nor_ways():
    grey = SynthConfig(background_contrast=0.0, colours="grey")
    any_ = SynthConfig(background_contrast=0.0)
    assert list(plan_clips(64, 0, grey)) == list(plan_clips(64, 0, any_))
    sides, hues = set(), set()
    for clip in plan_clips(64, 0):
        drawn, coloured = (
            draw_clip(clip, config, seed=0, size=SIZE, num_frames=4) for config in (grey, any_)
        )
        where, same = (object_pixels(frames) for frames in (drawn, coloured))
        # Nearly whole pixels may round to the colour of whole ones.
        assert (where != same).sum() <= 0.02 * where.sum()
        inside = drawn[where]
        assert (inside < 45).all() or (inside > 210).all()
        sides.add(bool(inside.mean() > 128))
        hues.add(tuple(coloured[same].mean(axis=0) > 128))
    assert sides == {False, True}
    assert len(hues) == 8


def object_pixels(frames):
    """The pixels that the object covers whole, (T, H, W): no other is as unlike the background."""
    background = np.median(frames, axis=(0, 1, 2))
    unlike = np.abs(frames.astype(float) - background).sum(axis=-1)
    return unlike == unlike.max()
