"""Where a synthetic object is at each moment, for each of its motions.

| motion | what the object does | what tells it |
|---|---|---|
| left, right, up, down | moves straight at a steady speed | two frames |
| clockwise, counter_clockwise | goes round a circle | three frames |
| approach, recede | grows or shrinks, and starts anew | two frames |
| accelerate, decelerate | moves along an axis, faster or slower, and starts anew | three frames |
| oscillate | moves along an axis, back and forth | frames around a turn |
| zigzag | moves along an axis, and to either side of it in turn | frames around a turn |
| spin_clockwise, spin_counter_clockwise | turns about itself | two frames |

No single frame tells any motion, by construction: the picture is a torus, and place, orientation
and log radius begin anywhere, uniformly and independently of what is added to them later; so in
each frame they are uniform whatever the motion is. Likewise no two frames tell accelerate from
decelerate: one is the other run backwards, from any point of its cycle and in either direction.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vsalt.data.synthetic_config import Motion

RADII = (0.12, 0.26)
"""Least and greatest radius of the labelled object, in picture sides."""

# y points downwards, so that a growing angle is a clockwise turn.
_DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
_ORBITS = {"clockwise": 1, "counter_clockwise": -1}
_GROWTH = {"approach": 1, "recede": -1}
_SPINS = {"spin_clockwise": 1, "spin_counter_clockwise": -1}


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """Where an object is in each of T frames.

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


def draw_trajectory(
    motion: Motion,
    generator: np.random.Generator,
    *,
    num_frames: int,
    radii: tuple[float, float] = RADII,
) -> Trajectory:
    """Draw where an object goes.

    With v drawn from 1/2 to 1 picture side per clip: straight motions have the speed v, changing
    speeds run from 0 to 2v once per clip, an oscillation takes a clip with the speed v, a zigzag
    half a clip with the speed v on either axis. Circular motions turn 1 to 2 times on a circle of
    radius 0.12 to 0.25 sides, spins 1/4 to 1/2 times; approach and recede run once through the
    range of radii on a logarithmic scale. All draws are made for all motions, which leaves their
    distributions alike.

    Args:
        motion: one of `vsalt.data.synthetic_config.MOTIONS`.
        generator: source of randomness.
        num_frames: T.
        radii: least and greatest radius, in picture sides.
    """
    time = np.arange(num_frames) / num_frames
    x, y, phase, growth = generator.random(4)
    speed = generator.uniform(0.5, 1.0)
    turns, orbit = generator.uniform(1.0, 2.0), generator.uniform(0.12, 0.25)
    angle = generator.uniform(0.0, 2 * math.pi)
    if motion in _ORBITS:
        around = 2 * math.pi * (phase + _ORBITS[motion] * turns * time)
        moved_x, moved_y = orbit * np.cos(around), orbit * np.sin(around)
    else:
        moved_x, moved_y = _shift(motion, time, speed, phase)
    spin = 2 * math.pi * _SPINS.get(motion, 0) * turns / 4
    low, high = np.log(radii)
    return Trajectory(
        x=(x + moved_x) % 1.0,
        y=(y + moved_y) % 1.0,
        radius=np.exp(low + (high - low) * ((growth + _GROWTH.get(motion, 0) * 0.9 * time) % 1.0)),
        angle=angle + spin * time,
    )


def _shift(
    motion: Motion, time: np.ndarray, speed: float, phase: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far an object has moved along x and y, in picture sides."""
    # One uniform draw gives two: which of four directions, and where in its cycle a motion begins.
    quarter, begin = divmod(4 * phase, 1.0)
    cycle = begin + time
    part = cycle % 1.0
    along, across = np.zeros_like(time), np.zeros_like(time)
    direction = _DIRECTIONS.get(motion) or tuple(_DIRECTIONS.values())[int(quarter)]
    if motion in _DIRECTIONS:
        along = speed * time
    elif motion == "accelerate":
        along = speed * (cycle - part + part**2)
    elif motion == "decelerate":
        along = speed * (cycle - part + 1 - (1 - part) ** 2)
    elif motion == "oscillate":
        along = speed * _back_and_forth(cycle)
    elif motion == "zigzag":
        along, across = speed * time, speed * _back_and_forth(2 * cycle) / 2
    right, down = direction
    return right * along - down * across, down * along + right * across


def _back_and_forth(cycle: np.ndarray) -> np.ndarray:
    """Return a triangle wave with the period 1 and the slope ±1."""
    return np.abs(cycle % 1.0 - 0.5)
