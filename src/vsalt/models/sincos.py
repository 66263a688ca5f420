"""Fixed sin-cos positions in three dimensions, as V-JEPA adds them to tokens (arXiv 2404.08471).

Each axis of the grid gets the same number A = 2 ceil(width / 6) of channels ("uniform power" in
V-JEPA's settings), in the order time, row, column; what is beyond the width is cut off the end. At
integer position p, with n = A / 2 and w_j = 10000 ** (-j / n), an axis has

    [sin(p w_0) .. sin(p w_{n-1}), cos(p w_0) .. cos(p w_{n-1})].

The table is computed for the grid at hand. V-JEPA keeps the table of one square grid and
interpolates it for clips of other sizes; here a larger grid has further positions, as with rotary
positions, and nothing is interpolated.

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
