"""A teacher that is no encoder of ours: what a frozen target needs of it.

Shapes: B clips of T frames and H x W pixels, N tokens of the student's grid, D channels.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vsalt.compute.types import ClipFlops, ClipShapes


class OutsideTeacher(nn.Module):
    """A network from elsewhere, ready to teach one student.

    It takes the student's clips and gives one token for each token of the student's grid, whatever
    its own normalisation, resolution and grid are. Its weights are whole: `save` writes them all,
    though blocks after the one that is asked for take no part.

    Attributes:
        width: D.
        sha256: hash of its weights and of how pixels are prepared for them.
        num_params: of all that `save` writes.
    """

    width: int
    sha256: str
    num_params: int

    @abstractmethod
    def forward(self, clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N D"]:
        """Return its tokens on the student's grid, in raster order.

        Raises:
            ConfigError: if it cannot see clips of this length.
        """

    @abstractmethod
    def flops(self, shapes: ClipShapes) -> ClipFlops:
        """Return the operations of one forward pass over a clip."""

    @abstractmethod
    def origin(self) -> dict[str, Any]:
        """Return where it comes from and how it is used, as plain values for meta.json."""

    @abstractmethod
    def describe(self) -> str:
        """Return the same in one line."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the whole network into a folder that is there.

        Raises:
            OSError: if the system does not let it be written.
        """
