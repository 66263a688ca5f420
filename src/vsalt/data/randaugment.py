"""RandAugment for clips, as V-JEPA 2's training of probes uses it.

Some operations are drawn out of 15, each with a strength about a common magnitude (E. Cubuk et
al., arXiv 1909.13719). Which ones, how strong and in which direction is drawn once per clip and
holds for all its frames; what an operation takes from a picture, such as its mean or histogram, it
takes from each frame by itself. The set is that of timm's `rand-m7-n4-mstd0.5-inc1`: strength
grows with the magnitude (R. Wightman, pytorch-image-models).

The results are those of Pillow, by which the original works: equal for colours, within one grey
level for geometry. Only the order and the source of the random numbers differ: they come from the
given generator.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import UInt8

from vsalt.data import affine, photometric
from vsalt.data.affine import AffineMap
from vsalt.data.probe_config import MAX_MAGNITUDE, RandAugmentConfig

Frames: TypeAlias = UInt8[np.ndarray, "T H W 3"]

_FILL = 128


class Operation(NamedTuple):
    """One drawn operation.

    Attributes:
        name: one of `OPERATIONS`.
        argument: degrees, share of the side, factor, bits, threshold or sum, as the operation
            takes it; 0 where it takes none.
    """

    name: str
    argument: float


class _Kind(NamedTuple):
    # What the share of the greatest magnitude, from -1 or 0 to 1, means for the operation.
    argument: Callable[[float], float]
    apply: Callable[[Frames, float], Frames]
    signed: bool = False


def randaugment(
    frames: UInt8[np.ndarray, "T H W 3"],
    generator: np.random.Generator,
    settings: RandAugmentConfig,
) -> UInt8[np.ndarray, "T H W 3"]:
    """Return a clip under randomly drawn operations, the same for all frames.

    Args:
        frames: RGB frames.
        generator: source of randomness.
        settings: how many operations, how strong.
    """
    for operation in draw_operations(generator, settings):
        frames = apply_operation(frames, operation)
    return frames


def draw_operations(generator: np.random.Generator, settings: RandAugmentConfig) -> list[Operation]:
    """Draw the operations of one clip, in the order of their use.

    `num_ops` kinds are drawn with replacement, and each is used with the settings' probability.
    Its strength is N(magnitude, magnitude_std), cut to 0 … 10; geometric operations and factors
    go either way with probability 1/2.
    """
    names = list(OPERATIONS)
    drawn = []
    for index in generator.integers(len(names), size=settings.num_ops):
        name = names[index]
        kind = OPERATIONS[name]
        used = generator.random() < settings.probability
        magnitude = generator.normal(settings.magnitude, settings.magnitude_std)
        share = min(max(magnitude, 0.0), MAX_MAGNITUDE) / MAX_MAGNITUDE
        if generator.random() < 0.5 and kind.signed:
            share = -share
        if used:
            drawn.append(Operation(name, float(kind.argument(share))))
    return drawn


def apply_operation(
    frames: UInt8[np.ndarray, "T H W 3"], operation: Operation
) -> UInt8[np.ndarray, "T H W 3"]:
    """Return all frames under one operation."""
    return OPERATIONS[operation.name].apply(frames, operation.argument)


def _plain(change: Callable[[np.ndarray], np.ndarray]) -> _Kind:
    def apply(frames: Frames, argument: float) -> Frames:
        del argument
        return np.stack([change(frame) for frame in frames])

    return _Kind(lambda _: 0.0, apply)


def _levelled(
    change: Callable[[np.ndarray, int], np.ndarray], level: Callable[[float], int]
) -> _Kind:
    def apply(frames: Frames, argument: float) -> Frames:
        return np.stack([change(frame, int(argument)) for frame in frames])

    return _Kind(level, apply)


def _enhancing(change: Callable[[np.ndarray, float], np.ndarray]) -> _Kind:
    def apply(frames: Frames, argument: float) -> Frames:
        return np.stack([change(frame, argument) for frame in frames])

    return _Kind(lambda share: 1.0 + 0.9 * share, apply, signed=True)


def _geometric(most: float, map_of: Callable[[float, int, int], AffineMap]) -> _Kind:
    def apply(frames: Frames, argument: float) -> Frames:
        by = map_of(argument, *frames.shape[1:3])
        return affine.transform(frames, by, fill=_FILL)

    return _Kind(lambda share: most * share, apply, signed=True)


OPERATIONS: Mapping[str, _Kind] = {
    "autocontrast": _plain(photometric.autocontrast),
    "equalize": _plain(photometric.equalize),
    "invert": _plain(photometric.invert),
    "rotate": _geometric(30.0, lambda x, h, w: affine.rotation(x, height=h, width=w)),
    "posterize": _levelled(photometric.posterize, lambda share: 4 - int(share * 4)),
    "solarize": _levelled(photometric.solarize, lambda share: 256 - int(share * 256)),
    "solarize_add": _levelled(photometric.solarize_add, lambda share: int(share * 110)),
    "colour": _enhancing(photometric.colour),
    "contrast": _enhancing(photometric.contrast),
    "brightness": _enhancing(photometric.brightness),
    "sharpness": _enhancing(photometric.sharpness),
    "shear_x": _geometric(0.3, lambda x, _h, _w: affine.shear_x(x)),
    "shear_y": _geometric(0.3, lambda x, _h, _w: affine.shear_y(x)),
    "translate_x": _geometric(0.45, lambda x, _h, w: affine.translation(x * w, 0.0)),
    "translate_y": _geometric(0.45, lambda x, h, _w: affine.translation(0.0, x * h)),
}
