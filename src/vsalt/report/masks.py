"""Masks over a clip: what the encoder sees, what is predicted, what is neither."""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, UInt8

from vsalt.data.types import Batch
from vsalt.masking.types import Grid, MaskBatch
from vsalt.report.layout import Layout
from vsalt.report.marks import blank, hatch
from vsalt.report.sheet import Sheet

Part: TypeAlias = Literal["context", "targets", "neither"]


def mask_sheet(
    batch: Batch, kinds: tuple[str, ...], grid: Grid, *, title: str, about: str
) -> Sheet:
    """Return the sheet of a clip's masks: the clip, then a row for each mask kind.

    Args:
        batch: one clip with its masks.
        kinds: names of the mask kinds, in the order of the batch.
        grid: size of the clip in tokens.
        title: of the picture.
        about: sentences on the clip.
    """
    clip = batch.clips[0].numpy()

    def draw(layout: Layout) -> list[UInt8[np.ndarray, "S h w 3"]]:
        frames = layout.frames(clip)
        return [frames, *(_veiled(frames, mask, layout) for mask in batch.masks)]

    counts = "; ".join(
        f"{kind}: {describe_mask(mask, grid)}"
        for kind, mask in zip(kinds, batch.masks, strict=True)
    )
    return Sheet(
        title=title,
        explanation="What the encoder sees is left as it is. Orange and striped: hidden, to be "
        f"predicted. Chequered: neither. A clip is {grid_words(grid)}.",
        details=f"{counts}. {about}",
        alt=f"The frames of a clip, and again with what is hidden marked ({', '.join(kinds)}).",
        rows=("clip", *(f"mask {kind}" for kind in kinds)),
        draw=draw,
    )


def tokens_of(mask: MaskBatch, part: Part, grid: Grid) -> Bool[np.ndarray, "T H W"]:
    """Return which tokens of the mask's one clip are context, targets or neither."""
    found = {}
    for name, ids in (("context", mask.context), ("targets", mask.targets)):
        found[name] = np.zeros(grid, dtype=np.bool_)
        found[name].reshape(-1)[ids[0].numpy()] = True
    found["neither"] = ~found["context"] & ~found["targets"]
    return found[part]


def describe_mask(mask: MaskBatch, grid: Grid) -> str:
    """Say how many tokens of the one clip are seen and predicted."""
    total = grid[0] * grid[1] * grid[2]
    seen, predicted = mask.context.shape[1], mask.targets.shape[1]
    return (
        f"{seen} tokens seen ({seen / total:.0%}), {predicted} predicted ({predicted / total:.0%})"
    )


def grid_words(grid: Grid) -> str:
    """Say how many tokens a clip has."""
    times, height, width = grid
    return f"{times} x {height} x {width} = {times * height * width} tokens (time, height, width)"


def _veiled(
    frames: UInt8[np.ndarray, "S h w 3"], mask: MaskBatch, layout: Layout
) -> UInt8[np.ndarray, "S h w 3"]:
    targets, neither = (
        layout.cells(tokens_of(mask, part, layout.grid)) for part in ("targets", "neither")
    )
    return blank(hatch(frames, targets), neither)
