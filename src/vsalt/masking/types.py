"""Plain types of masks: what a masker draws for one clip, and the same for a batch."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Int64
from torch import Tensor

Grid: TypeAlias = tuple[int, int, int]
"""Size of a clip in tokens: (time, height, width)."""


@dataclass(frozen=True)
class Mask:
    """Token ids of one clip under one mask kind, ascending, in raster order of the grid.

    Attributes:
        context: ids that the encoder sees, shape (Kc,), int64.
        targets: ids to predict, shape (Kt,), int64; disjoint from `context`.
    """

    context: np.ndarray
    targets: np.ndarray


@runtime_checkable
class Masker(Protocol):
    """Draws the masks of a clip as a pure function of a key; must be picklable."""

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of (context, target) tokens; their expectation where they vary."""
        ...

    def draw(self, seed: int, step: int, position: int, kind: str) -> Mask:
        """Return the mask of a kind for the clip at a position of the global batch of a step."""
        ...


@dataclass(frozen=True)
class MaskBatch:
    """The masks of one kind for a batch of clips.

    Attributes:
        context: shape (B, Kc).
        targets: shape (B, Kt).
    """

    context: Int64[Tensor, "B Kc"]
    targets: Int64[Tensor, "B Kt"]

    def to(self, device: str, non_blocking: bool = False) -> "MaskBatch":
        """Return a copy on `device`."""
        return MaskBatch(
            self.context.to(device, non_blocking=non_blocking),
            self.targets.to(device, non_blocking=non_blocking),
        )
