"""What a teacher makes of the pixels that it cannot see.

Shapes: T frames of H x W pixels; N tokens, Kt of them targets, P = t h w 3 values of a token.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vsalt.data.types import Batch
from vsalt.masking.types import Grid, MaskBatch
from vsalt.models.tokenizer import gather_tubelets
from vsalt.objectives.pixel import PixelObjective
from vsalt.report.layout import Layout
from vsalt.report.marks import blank
from vsalt.report.masks import tokens_of
from vsalt.report.sheet import Sheet
from vsalt.targets.pixels import PixelNorm, restore_pixels


def reconstruction_sheet(
    objective: PixelObjective,
    batch: Batch,
    grid: Grid,
    normalise: PixelNorm,
    *,
    title: str,
    about: str,
) -> Sheet:
    """Return the sheet of a clip's reconstructions: the clip, and two rows for each mask kind.

    Args:
        objective: the trained method, in eval mode.
        batch: one clip with its masks.
        grid: size of the clip in tokens.
        normalise: how the target is standardised.
        title: of the picture.
        about: sentences on the clip.
    """
    tubelet = objective.encoder.config.tubelet
    output = objective.loss(batch)
    shown = [
        (mask, reconstruct(batch.clips[0], mask, output.predictions[kind][0], tubelet, normalise))
        for kind, mask in zip(objective.mask_names, batch.masks, strict=True)
    ]
    clip = batch.clips[0].numpy()
    given = None if normalise == "none" else known_beforehand(batch.clips[0], tubelet, normalise)

    def draw(layout: Layout) -> list[UInt8[np.ndarray, "S h w 3"]]:
        rows = [layout.frames(clip)]
        if given is not None:
            rows.append(layout.frames(given.numpy()))
        for mask, pixels in shown:
            hidden = ~tokens_of(mask, "context", grid)
            rows.append(blank(rows[0], layout.cells(hidden)))
            neither = tokens_of(mask, "neither", grid)
            rows.append(blank(layout.frames(pixels.numpy()), layout.cells(neither)))
        return rows

    names = [f"{kind}: {what}" for kind in objective.mask_names for what in ("seen", "rebuilt")]
    return Sheet(
        title=title,
        explanation=_statistics(normalise),
        details=about,
        alt="The frames of a clip; what of them the encoder saw; and the pixels put back.",
        rows=("clip", *(() if given is None else ("given",)), *names),
        draw=draw,
    )


def reconstruct(
    clip: UInt8[Tensor, "3 T H W"],
    mask: MaskBatch,
    prediction: Float[Tensor, "Kt P"],
    tubelet: tuple[int, int, int],
    normalise: PixelNorm,
) -> UInt8[Tensor, "3 T H W"]:
    """Put predicted tokens into a clip, standardised ones by the clip's true statistics.

    Args:
        clip: the pixels.
        mask: of this one clip.
        prediction: of the target tokens, in their order.
        tubelet: frames, height and width of a token in pixels.
        normalise: how the target is standardised.

    Returns:
        The context as it is, the prediction clipped to what pixels can be, and black elsewhere.
    """
    cubes = gather_tubelets(clip[None], tubelet)[0].flatten(2).transpose(1, 2)  # N (t h w) 3
    context, targets = mask.context[0], mask.targets[0]
    predicted = restore_pixels(
        prediction.float().unflatten(-1, (-1, 3)), cubes[targets].float() / 255, normalise
    )
    canvas = cubes.new_zeros(cubes.shape)
    canvas[context] = cubes[context]
    canvas[targets] = (predicted.clamp(0, 1) * 255).round().to(canvas.dtype)
    return _join(canvas, (clip.shape[1], clip.shape[2], clip.shape[3]), tubelet)


def known_beforehand(
    clip: UInt8[Tensor, "3 T H W"], tubelet: tuple[int, int, int], normalise: PixelNorm
) -> UInt8[Tensor, "3 T H W"]:
    """Return what the true statistics show by themselves, as if 0 were predicted everywhere."""
    ids = torch.arange(clip[0].numel() // math.prod(tubelet))[None]
    everywhere = MaskBatch(context=ids[:, :0], targets=ids)
    nothing = torch.zeros(ids.shape[1], 3 * math.prod(tubelet))
    return reconstruct(clip, everywhere, nothing, tubelet, normalise)


def _join(
    cubes: UInt8[Tensor, "N S 3"], size: tuple[int, int, int], tubelet: tuple[int, int, int]
) -> UInt8[Tensor, "3 T H W"]:
    """Put all tokens of a clip back into their places."""
    (times, rows, columns), (t, h, w) = (
        tuple(whole // part for whole, part in zip(size, tubelet, strict=True)),
        tubelet,
    )
    split = cubes.reshape(times, rows, columns, t, h, w, 3)
    return split.permute(6, 0, 3, 1, 4, 2, 5).reshape(3, *size)


def _statistics(normalise: PixelNorm) -> str:
    text = (
        "Seen: the part that the encoder gets. Rebuilt: the hidden part as the decoder predicts it"
    )
    if normalise == "none":
        return (
            f"{text}; it predicts the pixels themselves, and uses no true mean or deviation of "
            "any patch. Chequered: not seen; in rebuilt rows not predicted either."
        )
    return (
        f"{text}. It learns patches of mean 0 and deviation 1, so the picture uses the true mean "
        "and deviation of every patch: only the structure inside of patches is predicted. Given: "
        "what the true means show by themselves; what rebuilt rows show beyond that has been "
        "learned. Chequered: not seen; in rebuilt rows not predicted either."
    )
