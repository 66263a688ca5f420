"""From frames to tokens: a linear map of each tubelet, computed for the kept tokens only.

Shapes: B clips, C colours, T frames, H x W pixels, K kept tokens, D width; a tubelet is
t x h x w pixels, the grid is (T/t, H/h, W/w), token ids run over it in raster order (time slowest).
"""

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from vsalt.models.config import grid_of

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def gather_tubelets(
    clips: Shaped[Tensor, "B C T H W"],
    tubelet: tuple[int, int, int],
    ids: Int64[Tensor, "B K"] | None = None,
) -> Shaped[Tensor, "B K C t h w"]:
    """Cut clips into tubelets and return those with the given ids (all of them by default)."""
    num_clips, colours = clips.shape[:2]
    grid = grid_of(clips.shape[2], (clips.shape[3], clips.shape[4]), tubelet)
    split = clips.reshape(
        num_clips, colours, grid[0], tubelet[0], grid[1], tubelet[1], grid[2], tubelet[2]
    ).permute(0, 2, 4, 6, 1, 3, 5, 7)
    if ids is None:
        return split.reshape(num_clips, grid[0] * grid[1] * grid[2], colours, *tubelet)
    time, row, column = split_ids(ids, grid)
    clip = torch.arange(num_clips, device=clips.device)[:, None]
    return split[clip, time, row, column]


def image_clips(
    images: Shaped[Tensor, "B 3 H W"], tubelet: tuple[int, int, int]
) -> Shaped[Tensor, "B 3 t H W"]:
    """Return images as clips of one time step: the image is every frame of the tubelet.

    Args:
        images: RGB, of the type and scale that the tokenizer takes.
        tubelet: the encoder's, whose number of frames t is taken.
    """
    return images[:, :, None].expand(-1, -1, tubelet[0], -1, -1)


def split_ids(
    ids: Int64[Tensor, "*shape"], grid: tuple[int, int, int]
) -> tuple[Int64[Tensor, "*shape"], Int64[Tensor, "*shape"], Int64[Tensor, "*shape"]]:
    """Return the (time, row, column) of token ids."""
    _, height, width = grid
    return ids // (height * width), ids // width % height, ids % width


class Tokenizer(nn.Module):
    """Linear map from tubelets to tokens; the weights are those of a 3-D convolution.

    Frames of type uint8 are scaled to [0, 1] and standardised by ImageNet's mean and deviation
    here, after the kept tubelets are gathered; float frames are taken as already standardised.

    Args:
        width: channels D of a token.
        tubelet: frames, height and width of a tubelet in pixels.
    """

    def __init__(self, width: int, tubelet: tuple[int, int, int]) -> None:
        super().__init__()
        self.tubelet = tubelet
        self.projection = nn.Conv3d(3, width, kernel_size=tubelet, stride=tubelet)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1, 1), persistent=False)

    def forward(
        self,
        clips: Shaped[Tensor, "B 3 T H W"],
        ids: Int64[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B K D"]:
        """Return the tokens with the given ids, or all of them."""
        tubelets = gather_tubelets(clips, self.tubelet, ids)
        if not tubelets.is_floating_point():
            tubelets = (tubelets.float() / 255 - self.mean) / self.std
        weight = self.projection.weight.flatten(1)
        return nn.functional.linear(tubelets.flatten(2), weight, self.projection.bias)
