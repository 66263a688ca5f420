"""Fixed sin-cos positions that are added to tokens, in three dimensions or in one.

In three, as in V-JEPA (arXiv 2404.08471): each axis of the grid gets the same number
A = 2 ceil(width / 6) of channels ("uniform power" in V-JEPA's settings), in the order time, row,
column; what is beyond the width is cut off the end. At integer position p, with n = A / 2 and
w_j = 10000 ** (-j / n), an axis has

    [sin(p w_0) .. sin(p w_{n-1}), cos(p w_0) .. cos(p w_{n-1})].

The table is computed for the grid at hand. V-JEPA keeps the table of one square grid and
interpolates it for clips of other sizes; here a larger grid has further positions, as with rotary
positions, and nothing is interpolated.

In one, as in VideoMAE (arXiv 2203.12602): with n the token's number in raster order, time slowest,
channels 2 j and 2 j + 1 of a width D are sin and cos of n 10000 ** (-2 j / D). So the last column
of a row and the first of the next are neighbours, and a grid of another size gives a place another
number.

Shapes: B clips, K tokens, D width.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vsalt.models.rope import BASE
from vsalt.models.tokenizer import split_ids


def sincos_table(
    ids: Int64[Tensor, "B K"], grid: tuple[int, int, int], width: int
) -> Float[Tensor, "B K D"]:
    """Return what to add to tokens at these ids, in float32.

    Args:
        ids: token ids; their (time, row, column) on the grid are the positions.
        grid: size of the clip in tokens.
        width: channels of a token.
    """
    half = math.ceil(width / 6)
    exponents = torch.arange(half, dtype=torch.float64, device=ids.device) / half
    frequencies = BASE**-exponents
    parts = []
    for size, positions in zip(grid, split_ids(ids, grid), strict=True):
        places = torch.arange(size, dtype=torch.float64, device=ids.device)
        angles = places[:, None] * frequencies
        axis = torch.cat([angles.sin(), angles.cos()], dim=-1).float()
        parts.append(axis[positions])
    return torch.cat(parts, dim=-1)[..., :width]


def sinusoid(ids: Int64[Tensor, "B K"], width: int) -> Float[Tensor, "B K D"]:
    """Return what to add to tokens of these numbers, in float32.

    Args:
        ids: token ids.
        width: channels of a token.
    """
    channels = torch.arange(width, dtype=torch.float64, device=ids.device)
    angles = ids[..., None] * BASE ** -(2 * (channels // 2) / width)
    return torch.where(channels % 2 == 0, angles.sin(), angles.cos()).float()
