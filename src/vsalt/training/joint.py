"""A method that several processes compute together: what the loop asks of it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from vsalt.data.types import Batch
from vsalt.objectives.protocol import Objective, ObjectiveOutput


@runtime_checkable
class Joint(Protocol):
    """A method whose gradients are added up over processes in the backward pass.

    Attributes:
        scale: by what a loss must be multiplied, so that gradients are sums over processes.
        sharded: whether each process has a part of the trainable weights only.
    """

    scale: float
    sharded: bool

    def loss(self, batch: Batch) -> ObjectiveOutput:
        """Return the loss of a micro-batch, as the method's own `loss`."""
        ...

    def part(self, index: int) -> AbstractContextManager[None]:
        """Return the context of a micro-batch's forward and backward pass, by its number."""
        ...

    def norms(self, norms: Mapping[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
        """Return the norms of whole gradients, from those of what this process holds."""
        ...


class LossModule(nn.Module):
    """A method as a module: its trainable part, and its loss as the forward pass."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.trainable = objective.trainable
        self._compute = objective.loss

    def forward(self, batch: Batch) -> tuple[Float[Tensor, ""], ObjectiveOutput]:
        """Return the summed loss by itself, as sharding looks for tensors, and the output."""
        output = self._compute(batch)
        return output.loss_sum, output
