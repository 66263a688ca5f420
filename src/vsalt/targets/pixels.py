"""Pixels as the target: what trains SALT's teacher (V-Pixel).

Formula (VideoMAE, arXiv 2203.12602, as its training code computes it; SALT section 2.2 takes it
over): for a tubelet of t x h x w pixels in [0, 1], each colour channel is standardised over its
t h w values, y = (x - mean) / (sqrt(unbiased variance) + 1e-6), and flattened with colour fastest.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from vsalt.models.tokenizer import gather_tubelets

PixelNorm = Literal["per_channel", "joint", "none"]
EPS = 1e-6


class PixelTarget(nn.Module):
    """Standardised pixels of the tubelets to predict.

    Args:
        tubelet: frames, height and width of a tubelet.
        normalise: per_channel: the formula above. joint: over all values of a tubelet, with
            1e-6 added to the variance (MAE, arXiv 2111.06377). none: pixels in [0, 1].
    """

    def __init__(self, tubelet: tuple[int, int, int], normalise: PixelNorm) -> None:
        super().__init__()
        self.tubelet = tubelet
        self.normalise = normalise
        self.width = 3 * math.prod(tubelet)

    @torch.no_grad()
    def open(
        self, clips: UInt8[Tensor, "B 3 T H W"]
    ) -> Callable[[Int64[Tensor, "B K"]], Float[Tensor, "B K P"]]:
        """Return a function from token ids to their targets, P = t h w 3 values each."""
        return lambda ids: self._at(clips, ids)

    @torch.no_grad()
    def _at(
        self, clips: UInt8[Tensor, "B 3 T H W"], ids: Int64[Tensor, "B K"]
    ) -> Float[Tensor, "B K P"]:
        pixels = gather_tubelets(clips, self.tubelet, ids).float() / 255
        cubes = pixels.flatten(3).transpose(2, 3)  # B K (t h w) C
        return standardise_pixels(cubes, self.normalise).flatten(2)


def standardise_pixels(
    cubes: Float[Tensor, "*cubes S C"], normalise: PixelNorm
) -> Float[Tensor, "*cubes S C"]:
    """Standardise cubes of S pixels and C colours with values in [0, 1] (see `PixelTarget`)."""
    if normalise == "none":
        return cubes
    dims = -2 if normalise == "per_channel" else (-2, -1)
    variance, mean = torch.var_mean(cubes, dim=dims, keepdim=True)
    if normalise == "per_channel":
        return (cubes - mean) / (variance.sqrt() + EPS)
    return (cubes - mean) / (variance + EPS).sqrt()


def restore_pixels(
    standardised: Float[Tensor, "*cubes S C"],
    cubes: Float[Tensor, "*cubes S C"],
    normalise: PixelNorm,
) -> Float[Tensor, "*cubes S C"]:
    """Undo `standardise_pixels` by the mean and deviation of the true cubes.

    Args:
        standardised: what a decoder predicts.
        cubes: the pixels whose statistics are put back; not read where `normalise` is none.
        normalise: how the target was standardised.

    Returns:
        Pixels; those of a prediction can lie outside of [0, 1].
    """
    if normalise == "none":
        return standardised
    dims = -2 if normalise == "per_channel" else (-2, -1)
    variance, mean = torch.var_mean(cubes, dim=dims, keepdim=True)
    if normalise == "per_channel":
        return standardised * (variance.sqrt() + EPS) + mean
    return standardised * (variance + EPS).sqrt() + mean
