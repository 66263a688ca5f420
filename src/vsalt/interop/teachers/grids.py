"""Tokens of one grid resampled onto another one over the same clip."""

import torch
from jaxtyping import Float
from torch import Tensor

from vsalt.masking.types import Grid


def resample_tokens(tokens: Float[Tensor, "B t h w D"], grid: Grid) -> Float[Tensor, "B T H W D"]:
    """Interpolate linearly along time, height and width.

    A token stands for the middle of its tubelet. Where the new grid is coarser, the weights of
    linear interpolation are stretched so that every old token counts (a triangle filter, as when
    pictures are shrunk with antialias). Lengths that agree are left as they are.

    Args:
        tokens: on the old grid.
        grid: the new one (T, H, W).
    """
    for axis, length in enumerate(grid, start=1):
        if tokens.shape[axis] != length:
            weights = _weights(tokens.shape[axis], length).to(tokens)
            tokens = torch.tensordot(tokens, weights, dims=([axis], [1])).movedim(-1, axis)
    return tokens


def _weights(old: int, new: int) -> Float[Tensor, "new old"]:
    """Return the weights of the old places in the new ones; each row sums to 1."""
    unit = torch.eye(old)[None, None]
    return torch.nn.functional.interpolate(
        unit, size=(new, old), mode="bilinear", antialias=True, align_corners=False
    )[0, 0]
