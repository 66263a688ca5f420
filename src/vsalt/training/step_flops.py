"""Operations of a stage up to a step, in closed form."""

from collections.abc import Mapping

from vsalt.compute.types import ClipFlops
from vsalt.data.config import Shape
from vsalt.data.shapes_by_step import StepShapes


def flops_until(
    step: int, batch_size: int, shapes: StepShapes, clip_flops: Mapping[Shape, ClipFlops]
) -> ClipFlops:
    """Return the operations of the first `step` steps.

    Args:
        step: optimiser steps.
        batch_size: clips per step.
        shapes: the shape of every step.
        clip_flops: operations of one training clip of each shape that there is.
    """
    total = ClipFlops(exact=0, six_nd=0.0)
    for shape in shapes.shapes:
        clips = shapes.before(step, shape) * batch_size
        flops = clip_flops[shape]
        total += ClipFlops(exact=clips * flops.exact, six_nd=clips * flops.six_nd)
    return total
