"""Makes a small labelled set of videos: one moving shape on a drifting texture.

Every clip has two independent labels, its motion and its appearance, in equal numbers. The motion
cannot be told from one frame: the picture is a torus, so that at every moment the shape's place,
size and orientation are distributed alike for all motions.
"""

import csv
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags as CodecFlags
from jaxtyping import Float, UInt8

from vsalt.data.shapes import APPEARANCES, coverage
from vsalt.errors import DataError
from vsalt.randomness import keyed_generator, keyed_permutation

MOTIONS = ("left", "right", "up", "down", "clockwise", "counter_clockwise", "approach", "recede")

_NUM_CLASSES = len(MOTIONS) * len(APPEARANCES)
_GROUP_SIZE = 8
_TEST_EVERY = 5
# With its look-ahead the encoder's output depends on where its buffers happen to lie: about one
# file in six differed between runs. Without B-frames and at a constant quantiser nothing needs it.
_NO_LOOKAHEAD = "scenecut=0:rc-lookahead=0:sync-lookahead=0:mbtree=0:weightp=0"
# Radius of the shape, as a share of the picture's side.
_RADII = (0.12, 0.26)


@dataclass(frozen=True, kw_only=True)
class SyntheticClip:
    """What is in one clip.

    Attributes:
        index: number of the clip in its set.
        motion: one of `MOTIONS`.
        appearance: one of `APPEARANCES`.
        scene: number of the background; the clips of a scene share it.
        split: train or test; a scene lies in one split.
    """

    index: int
    motion: str
    appearance: str
    scene: int
    split: str


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """Where the shape is in each of T frames.

    Attributes:
        x: place to the right, in picture sides, wrapped to [0, 1), shape (T,).
        y: place downwards, likewise.
        radius: in picture sides, shape (T,).
        angle: orientation in radians, shape (T,).
    """

    x: Float[np.ndarray, "T"]
    y: Float[np.ndarray, "T"]
    radius: Float[np.ndarray, "T"]
    angle: Float[np.ndarray, "T"]


def synthesise(
    out: Path,
    *,
    num_clips: int,
    seed: int = 0,
    size: int = 64,
    num_frames: int = 24,
    fps: int = 12,
    on_clip: Callable[[], object] | None = None,
) -> Path:
    """Write a set of clips and its manifest; the same bytes for the same arguments and libraries.

    The manifest `labels.csv` has the columns path, label (= motion), motion, appearance, split
    (every fifth scene is test) and group (= scene). A left-right flip turns left into right and
    clockwise into counter-clockwise: where motion matters, train with `--data.flip 0`.

    Args:
        out: folder to make; must not exist or be empty.
        num_clips: number of clips.
        seed: everything drawn is a function of the seed and the clip's number.
        size: height and width in pixels; even.
        num_frames: frames per clip.
        fps: frames per second.
        on_clip: called after every clip, for a progress bar.

    Returns:
        The path of the manifest, which is written last.

    Raises:
        DataError: `out` is in use or a number makes no sense.
    """
    _check(out, num_clips, size, num_frames, fps)
    (out / "videos").mkdir(parents=True, exist_ok=True)
    clips = list(plan_clips(num_clips, seed))
    for clip in clips:
        frames = draw_clip(clip, seed=seed, size=size, num_frames=num_frames)
        _write_video(out / _name(clip), frames, fps)
        if on_clip is not None:
            on_clip()
    manifest = out / "labels.csv"
    temporary = out / "labels.csv.tmp"
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "label", "motion", "appearance", "split", "group"])
        for clip in clips:
            row = [_name(clip), clip.motion, clip.motion, clip.appearance, clip.split]
            writer.writerow([*row, f"scene{clip.scene:05d}"])
    temporary.replace(manifest)
    return manifest


def _check(out: Path, num_clips: int, size: int, num_frames: int, fps: int) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is not an empty folder; name another one")
    if num_clips < 1 or num_frames < 1 or fps < 1:
        raise DataError(
            f"num-clips {num_clips}, num-frames {num_frames} and fps {fps} must be at least 1"
        )
    if size < 16 or size % 2:
        raise DataError(f"size is {size}; it must be an even number of at least 16 pixels")


def _name(clip: SyntheticClip) -> str:
    return f"videos/{clip.index:06d}.mp4"


def plan_clips(num_clips: int, seed: int) -> Iterator[SyntheticClip]:
    """Yield what is in each clip.

    In each split, every run of 32 clips has each pair of labels once, in a random order.
    """
    # Small sets get small scenes, so that there are several in either split.
    group_size = max(1, min(_GROUP_SIZE, num_clips // (2 * _TEST_EVERY)))
    made = {"train": 0, "test": 0}
    for index in range(num_clips):
        scene = index // group_size
        split = "test" if scene % _TEST_EVERY == _TEST_EVERY - 1 else "train"
        block, place = divmod(made[split], _NUM_CLASSES)
        made[split] += 1
        pair = int(keyed_permutation(_NUM_CLASSES, "synthetic-labels", seed, split, block)[place])
        yield SyntheticClip(
            index=index,
            motion=MOTIONS[pair % len(MOTIONS)],
            appearance=APPEARANCES[pair // len(MOTIONS)],
            scene=scene,
            split=split,
        )


def draw_trajectory(motion: str, generator: np.random.Generator, *, num_frames: int) -> Trajectory:
    """Draw where the shape goes.

    Straight motions move 1/2 to 1 picture side over the clip; circular ones turn 1 to 2 times on
    a circle of radius 0.12 to 0.25 sides; approach and recede run once through the range of
    radii on a logarithmic scale, from a random start, jumping from one end to the other. All
    draws are made for all motions, which leaves their distributions alike.

    Args:
        motion: one of `MOTIONS`.
        generator: source of randomness.
        num_frames: T.
    """
    time = np.arange(num_frames) / num_frames
    x, y, phase, growth = generator.random(4)
    speed = generator.uniform(0.5, 1.0)
    turns, orbit = generator.uniform(1.0, 2.0), generator.uniform(0.12, 0.25)
    angle = generator.uniform(0.0, 2 * math.pi)
    dx, dy = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}.get(motion, (0, 0))
    # y points downwards, so that a growing angle is a clockwise turn.
    turn = {"clockwise": 1, "counter_clockwise": -1}.get(motion, 0)
    grow = {"approach": 1, "recede": -1}.get(motion, 0)
    around = 2 * math.pi * (phase + turn * turns * time)
    reach = orbit if turn else 0.0
    low, high = np.log(_RADII)
    return Trajectory(
        x=(x + dx * speed * time + reach * np.cos(around)) % 1.0,
        y=(y + dy * speed * time + reach * np.sin(around)) % 1.0,
        radius=np.exp(low + (high - low) * ((growth + grow * 0.9 * time) % 1.0)),
        angle=np.full(num_frames, angle),
    )


def draw_clip(
    clip: SyntheticClip, *, seed: int, size: int, num_frames: int
) -> UInt8[np.ndarray, "T H W 3"]:
    """Draw the frames of a clip, shape (num_frames, size, size, 3), RGB."""
    generator = keyed_generator("synthetic-clip", seed, clip.index)
    path = draw_trajectory(clip.motion, generator, num_frames=num_frames)
    scene = keyed_generator("synthetic-scene", seed, clip.scene)
    background = _texture(scene, generator, size, num_frames)
    # A shape stands out from the background, whose colours are in the middle of the range.
    colour = generator.choice([20.0, 235.0], size=3) + generator.uniform(-20, 20, size=3)
    mask = coverage(clip.appearance, path.x, path.y, path.radius, path.angle, size=size)[..., None]
    frames = background + mask * (colour.astype(np.float32) - background)
    pixels: np.ndarray = np.clip(np.rint(frames), 0, 255).astype(np.uint8)
    return pixels


def _texture(
    scene: np.random.Generator, clip: np.random.Generator, size: int, num_frames: int
) -> Float[np.ndarray, "T H W 3"]:
    """Sum eight slow plane waves that fit the torus; all drift together, at most 1/8 side."""
    waves = scene.integers(-4, 5, size=(8, 2))
    phases = scene.uniform(0, 2 * math.pi, size=8)
    colours = scene.normal(size=(8, 3)) * 14
    base = scene.uniform(100, 155, size=3)
    drift = clip.uniform(-1 / 8, 1 / 8, size=2)
    time = np.arange(num_frames) / num_frames
    steps = np.arange(size) / size
    along = 2j * math.pi * waves
    # A wave over the picture is an outer product of its parts along y, x and time.
    rows = np.exp(along[:, :1] * steps)
    columns = np.exp(along[:, 1:] * steps + 1j * phases[:, None])
    shifts = np.exp(-along @ drift[:, None] * time)
    weighted = (shifts.T[:, :, None] * colours[None]).astype(np.complex64)
    plane = (rows[:, :, None] * columns[:, None, :]).reshape(8, -1).astype(np.complex64)
    mixed = np.einsum("twc,wp->tpc", weighted, plane, optimize=True).real
    texture: np.ndarray = (mixed.reshape(num_frames, size, size, 3) + base).astype(np.float32)
    return texture


def _write_video(path: Path, frames: np.ndarray, fps: int) -> None:
    options = {"preset": "veryfast", "qp": "20", "g": "12", "bf": "0", "x264-params": _NO_LOOKAHEAD}
    with av.open(os.fspath(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options=options)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= CodecFlags.bitexact
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
