"""Draws the frames of a synthetic clip: background, distractors, the labelled object, noise."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from vsalt.data.motions import Trajectory, draw_trajectory
from vsalt.data.shapes import coverage, second_colour
from vsalt.data.synthetic_config import Motion, Shape, SynthConfig, Texture
from vsalt.randomness import keyed_generator

DISTRACTOR_RADII = (0.05, 0.09)
"""Least and greatest radius of a distractor, in picture sides; the labelled object's are above."""


@dataclass(frozen=True, kw_only=True)
class SyntheticClip:
    """What is in one clip.

    Attributes:
        index: number of the clip in its set.
        motion: what the labelled object does.
        shape: its outline.
        texture: what is painted on it.
        appearance: the shape; in a set of several textures the shape and the texture.
        scene: number of the background; the clips of a scene share it.
        split: train or test; a scene lies in one split.
    """

    index: int
    motion: Motion
    shape: Shape
    texture: Texture
    appearance: str
    scene: int
    split: str


def draw_clip(
    clip: SyntheticClip, config: SynthConfig, *, seed: int, size: int, num_frames: int
) -> UInt8[np.ndarray, "T H W 3"]:
    """Draw the frames of a clip, shape (num_frames, size, size, 3), RGB.

    What a setting adds has random numbers of its own: distractors and noise leave the background
    and the labelled object as they are without them.
    """
    generator = keyed_generator("synthetic-clip", seed, clip.index)
    path = draw_trajectory(clip.motion, generator, num_frames=num_frames)
    scene = keyed_generator("synthetic-scene", seed, clip.scene)
    frames = _background(scene, generator, config, size, num_frames)
    for number in range(config.distractors):
        own = keyed_generator("synthetic-distractor", seed, clip.index, number)
        frames = _draw_distractor(frames, own, config)
    frames = _draw_object(frames, clip.shape, clip.texture, path, generator, config)
    disturbed = _disturb(frames, keyed_generator("synthetic-noise", seed, clip.index), config)
    pixels: np.ndarray = np.clip(np.rint(disturbed), 0, 255).astype(np.uint8)
    return pixels


def _background(
    scene: np.random.Generator,
    clip: np.random.Generator,
    config: SynthConfig,
    size: int,
    num_frames: int,
) -> Float[np.ndarray, "T H W 3"]:
    """Sum eight slow plane waves that fit the torus; all drift together, steadily."""
    waves = scene.integers(-4, 5, size=(8, 2))
    phases = scene.uniform(0, 2 * math.pi, size=8)
    colours = scene.normal(size=(8, 3)) * 14 * config.background_contrast
    base = scene.uniform(100, 155, size=3)
    drift = clip.uniform(-1 / 8, 1 / 8, size=2) * config.background_speed
    if not config.background_contrast:
        return np.broadcast_to(base.astype(np.float32), (num_frames, size, size, 3))
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


def _draw_distractor(
    frames: Float[np.ndarray, "T H W 3"], generator: np.random.Generator, config: SynthConfig
) -> Float[np.ndarray, "T H W 3"]:
    """Draw an object whose motion and appearance are drawn from those of the set."""
    motion = config.motions[int(generator.integers(len(config.motions)))]
    shape = config.shapes[int(generator.integers(len(config.shapes)))]
    texture = config.textures[int(generator.integers(len(config.textures)))]
    path = draw_trajectory(motion, generator, num_frames=len(frames), radii=DISTRACTOR_RADII)
    return _draw_object(frames, shape, texture, path, generator, config)


def _draw_object(
    frames: Float[np.ndarray, "T H W 3"],
    shape: Shape,
    texture: Texture,
    path: Trajectory,
    generator: np.random.Generator,
    config: SynthConfig,
) -> Float[np.ndarray, "T H W 3"]:
    """Paint an object over the frames."""
    # It stands out from the background, whose colours are in the middle of the range.
    num_choices = 3 if config.colours == "any" else 1
    colour = generator.choice([20.0, 235.0], size=num_choices) + generator.uniform(-20, 20, size=3)
    paint: np.ndarray = colour.astype(np.float32)
    size = frames.shape[1]
    if texture != "plain":
        second = second_colour(texture, path, size=size)[..., None]
        paint = paint + second * (255 - 2 * paint)
    mask = coverage(shape, path, size=size)[..., None]
    painted: np.ndarray = frames + mask * (paint - frames)
    return painted


def _disturb(
    frames: Float[np.ndarray, "T H W 3"], generator: np.random.Generator, config: SynthConfig
) -> Float[np.ndarray, "T H W 3"]:
    """Add what nothing can predict: grey noise, and each frame's own brightness."""
    num_frames, height, width, _ = frames.shape
    disturbed = frames.copy()
    if config.noise:
        grey = generator.standard_normal((num_frames, height, width, 1), dtype=np.float32)
        disturbed += np.float32(config.noise) * grey
    if config.flicker:
        brightness = generator.standard_normal((num_frames, 1, 1, 1), dtype=np.float32)
        disturbed += np.float32(config.flicker) * brightness
    return disturbed
