"""Pairs of an earlier and a later tubelet at the same place of a clip, as pixels or as tokens.

The first half of a clip's time steps is context, the second half is hidden, as with causal masks.
A pair is x at time step t of the first half and y at t + lag of the second half, at one place of
the grid. Pixels are the tubelet's own. Tokens of y are an encoder's of the whole clip, as a frozen
teacher gives them; those of x are its tokens of the first half alone, so that x knows nothing of y.

Shapes: B clips, P places (pairs of a clip), d dimensions of x and of y; F = 2 P d + 1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from vsalt.errors import ConfigError
from vsalt.models.config import grid_of
from vsalt.models.tokenizer import gather_tubelets
from vsalt.models.vit import Encoder
from vsalt.training.extract import ClipFeatures, require_layers


@dataclass(frozen=True, kw_only=True)
class PairGrid:
    """Where the pairs of a clip lie.

    Attributes:
        grid: (T, H, W) in time steps and tubelets.
        lag: time steps from x to y.
    """

    grid: tuple[int, int, int]
    lag: int

    @classmethod
    def of(
        cls, num_frames: int, size: tuple[int, int], tubelet: tuple[int, int, int], *, lag: int
    ) -> "PairGrid":
        """Cut clips into tubelets.

        Raises:
            ConfigError: if they do not divide, or no pair has this lag.
        """
        grid = grid_of(num_frames, size, tubelet, flag="--tubelet")
        if grid[0] < 2:
            raise ConfigError(
                [f"a clip has {grid[0]} time step of {tubelet[0]} frames; pairs need 2 or more"]
            )
        if not 1 <= lag < grid[0]:
            raise ConfigError(
                [f"--lag is {lag}; with {grid[0]} time steps it must be from 1 to {grid[0] - 1}"]
            )
        return cls(grid=grid, lag=lag)

    @property
    def num_context_steps(self) -> int:
        """Time steps of the first half."""
        return self.grid[0] // 2

    @property
    def num_pairs(self) -> int:
        """P."""
        return len(self._steps()) * self.grid[1] * self.grid[2]

    def _steps(self) -> range:
        """Time steps t of the first half such that t + lag is in the second."""
        split = self.num_context_steps
        return range(max(0, split - self.lag), min(split, self.grid[0] - self.lag))

    def pack(
        self,
        context: Float[Tensor, "B _ d"],
        whole: Float[Tensor, "B _ d"],
        clips: Shaped[Tensor, "B 3 T H W"],
    ) -> Float[Tensor, "B F"]:
        """Return pairs as features: all x, all y, and 1 where the clip ends in equal frames.

        Args:
            context: of the first half, in the order of its token ids.
            whole: of the whole clip, likewise.
            clips: the frames.
        """
        space = self.grid[1] * self.grid[2]
        steps = self._steps()
        x = context[:, steps.start * space : steps.stop * space]
        y = whole[:, (steps.start + self.lag) * space : (steps.stop + self.lag) * space]
        repeats = (clips[:, :, -1] == clips[:, :, -2]).flatten(1).all(dim=1, keepdim=True)
        return torch.cat([x.flatten(1), y.flatten(1), repeats.float()], dim=1)

    def unpack(
        self, features: Float[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "pairs d"], Float[Tensor, "pairs d"], Bool[Tensor, "B"]]:
        """Return x and y of all pairs, and which clips end in equal frames; undoes `pack`."""
        x, y = features[:, :-1].chunk(2, dim=1)
        shape = (len(features) * self.num_pairs, -1)
        return x.reshape(shape), y.reshape(shape), features[:, -1] > 0


def pixel_pairs(pairs: PairGrid, tubelet: tuple[int, int, int], max_side: int) -> ClipFeatures:
    """Return what makes pairs of tubelets, in grey levels of 0 to 1.

    d = 3 t h' w': colours, frames, and pixels averaged to at most `max_side` per side.
    """
    sides = [_side(length, max_side) for length in tubelet[1:]]

    @torch.no_grad()
    def features(clips: Shaped[Tensor, "B 3 T H W"]) -> Float[Tensor, "B F"]:
        cut = gather_tubelets(clips, tubelet).float() / 255
        small = torch.nn.functional.avg_pool2d(
            cut.flatten(0, 2), [old // new for old, new in zip(tubelet[1:], sides, strict=True)]
        )
        whole = small.reshape(*cut.shape[:2], -1)
        return pairs.pack(whole, whole, clips)

    return features


def _side(length: int, max_side: int) -> int:
    """Return the largest divisor of a side that is at most `max_side`."""
    return next(side for side in range(min(length, max_side), 0, -1) if length % side == 0)


def shrunk_tubelet(tubelet: tuple[int, int, int], max_side: int) -> tuple[int, int, int]:
    """Return (frames, height, width) of what `pixel_pairs` makes of a tubelet."""
    return tubelet[0], _side(tubelet[1], max_side), _side(tubelet[2], max_side)


def token_pairs(pairs: PairGrid, encoder: Encoder, *, layer: int, device: str) -> ClipFeatures:
    """Return what makes pairs of tokens, d = the encoder's width; it is moved to the device.

    Raises:
        ConfigError: if the encoder has no such layer.
    """
    require_layers(encoder, (layer,))
    moved = encoder.to(device)
    num_context = pairs.num_context_steps * pairs.grid[1] * pairs.grid[2]

    @torch.no_grad()
    def features(clips: Shaped[Tensor, "B 3 T H W"]) -> Float[Tensor, "B F"]:
        ids = torch.arange(num_context, device=clips.device).expand(len(clips), -1)
        (context,) = moved.features(clips, layers=(layer,), ids=ids)
        (whole,) = moved.features(clips, layers=(layer,))
        return pairs.pack(context.float(), whole.float(), clips)

    return features
