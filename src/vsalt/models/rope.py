"""Rotary positions in three dimensions, as V-JEPA 2 uses them (arXiv 2506.09985).

A head's channels are cut into three slices of D_a = 2 * floor(floor(head_dim / 3) / 2) channels,
for time, row and column, and a rest that is not rotated. In slice a, at integer position p,
channel pair (2 j, 2 j + 1) is turned by angles p * w with w_j = 10000 ** (-j / (D_a / 2)):

    y[2j]     = x[2j]     cos(first)  - x[2j + 1] sin(first)
    y[2j + 1] = x[2j + 1] cos(second) + x[2j]     sin(second)

Mode `interleaved` uses w_j for both members of pair j: a rotation. Mode `vjepa2` lays the
frequencies as [w_0 .. w_{n-1}, w_0 .. w_{n-1}] over the channels, so the two members of a pair
differ in frequency; this is how the released weights were trained, hence the default.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vsalt.models.config import Rope
from vsalt.models.tokenizer import split_ids

BASE = 10_000.0


class RopeTable(NamedTuple):
    """cos and sin for every token and channel, shape (B, 1, N, head_dim); 1 and 0 on the rest."""

    cos: Float[Tensor, "B 1 N d"]
    sin: Float[Tensor, "B 1 N d"]


def rope_table(
    ids: Int64[Tensor, "B N"], grid: tuple[int, int, int], head_dim: int, mode: Rope
) -> RopeTable:
    """Compute cos and sin once for all heads and blocks, in float32.

    Args:
        ids: token ids; their (time, row, column) on the grid are the positions.
        grid: size of the clip in tokens.
        head_dim: channels of an attention head.
        mode: how frequencies are laid over channel pairs.
    """
    axis_dim = rotary_axis_dim(head_dim)
    half = axis_dim // 2
    exponents = torch.arange(half, dtype=torch.float32, device=ids.device) / half
    frequencies = BASE**-exponents
    over_channels = {
        "vjepa2": frequencies.repeat(2),
        "interleaved": frequencies.repeat_interleave(2),
    }[mode]
    angles = [axis[..., None] * over_channels for axis in split_ids(ids, grid)]
    rest = torch.zeros(*ids.shape, head_dim - 3 * axis_dim, device=ids.device)
    angle = torch.cat([*angles, rest], dim=-1)[:, None]
    return RopeTable(angle.cos(), angle.sin())


def rotary_axis_dim(head_dim: int) -> int:
    """Channels per axis that are rotated."""
    return 2 * (head_dim // 3 // 2)


def apply_rope(x: Float[Tensor, "B h N d"], table: RopeTable) -> Float[Tensor, "B h N d"]:
    """Turn queries or keys by their positions."""
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    return (x * table.cos + turned * table.sin).type_as(x)
