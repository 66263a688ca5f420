"""Tokens as colours: the three directions in which an encoder's tokens vary most.

Shapes: B clips, N tokens of a clip, D channels, n rows, (T, H, W) the grid in tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Shaped, UInt8
from torch import Tensor

from vsalt.masking.types import Grid
from vsalt.report.layout import Layout
from vsalt.report.sheet import Sheet

NUM_COMPONENTS = 3
_PERCENTILES = (2, 98)
"""What lies outside is clipped, so that a few odd tokens do not take all the contrast."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenColours:
    """An encoder's tokens as colours.

    Attributes:
        rgb: shape (B, T, H, W, 3).
        shares: each component's share of the variance of the tokens.
    """

    rgb: UInt8[np.ndarray, "B T H W 3"]
    shares: tuple[float, ...]


def token_colours(
    encoder: Callable[[Tensor], Tensor],
    clips: Sequence[UInt8[Tensor, "1 3 frames height width"]],
    grid: Grid,
) -> TokenColours:
    """Encode whole clips, and colour their tokens by their first three principal components.

    The components are those of all tokens of all clips together, red the first; each is scaled so
    that its 2nd and 98th percentile become 0 and 255.
    """
    tokens = torch.cat([encoder(clip)[0] for clip in clips])
    scores, shares = principal_components(tokens.double().numpy())
    low, high = np.percentile(scores, _PERCENTILES, axis=0)
    span = np.where(high > low, high - low, 1.0)
    scaled = np.where(high > low, (scores - low) / span, 0.5).clip(0, 1)
    rgb = np.rint(255 * scaled).astype(np.uint8).reshape(len(clips), *grid, NUM_COMPONENTS)
    return TokenColours(rgb=rgb, shares=shares)


def principal_components(
    rows: Float64[np.ndarray, "n D"],
) -> tuple[Float64[np.ndarray, "n 3"], tuple[float, ...]]:
    """Return the first three principal components of rows, and their shares of the variance.

    By the singular value decomposition of the centred rows, X = U S V'; the scores are U S, the
    shares S ** 2 / sum S ** 2. A direction's sign, which is free, is such that its largest entry
    by magnitude is positive. Components that do not exist are 0.
    """
    centred = rows - rows.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:NUM_COMPONENTS]
    largest = np.abs(directions).argmax(axis=1)[:, None]
    directions = directions * np.sign(np.take_along_axis(directions, largest, axis=1))
    variances = np.zeros(NUM_COMPONENTS)
    variances[: len(directions)] = sizes[:NUM_COMPONENTS] ** 2
    scores = np.zeros((len(rows), NUM_COMPONENTS))
    scores[:, : len(directions)] = centred @ directions.T
    total = float((sizes**2).sum())
    return scores, tuple((variances / total if total else variances).tolist())


def pca_sheet(
    clip: UInt8[Tensor, "1 3 frames height width"],
    index: int,
    colours: Mapping[str, TokenColours],
    *,
    title: str,
    about: str,
) -> Sheet:
    """Return the sheet of a clip's tokens: the clip, then a row for each encoder.

    Args:
        clip: the pixels.
        index: number of the clip in `colours`.
        colours: the tokens of each encoder, by the encoder's name.
        title: of the picture.
        about: sentences on the clip.
    """
    pixels = clip[0].numpy()
    cells = [of_encoder.rgb[index] for of_encoder in colours.values()]

    def draw(layout: Layout) -> list[Shaped[np.ndarray, "S h w 3"]]:
        return [layout.frames(pixels), *(layout.cells(rgb) for rgb in cells)]

    shares = "; ".join(f"{name} {_percent(c.shares)}" for name, c in colours.items())
    explanation = (
        "Each square is a token of an encoder that sees the whole clip. Its colour is made of the "
        "three directions in which that encoder's tokens vary most (principal components of all "
        "clips shown, as red, green and blue): in one row, similar colours are similar features; "
        "between rows colours have nothing in common. What should stand out are things and their "
        "movement. The untrained encoder shows how much of that is there without training. Share "
        f"of the variance that the three hold: {shares}."
    )
    return Sheet(
        title=title,
        explanation=explanation,
        details=about,
        alt=f"The frames of a clip, and its tokens as colours: {', '.join(colours)}.",
        rows=("clip", *colours),
        draw=draw,
    )


def _percent(shares: Sequence[float]) -> str:
    return f"{sum(shares):.0%} ({' + '.join(f'{share:.0%}' for share in shares)})"
