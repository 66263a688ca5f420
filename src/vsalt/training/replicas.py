"""The same networks in every process, whose gradients are added up in the backward pass."""

import contextlib
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager

from jaxtyping import Float
from torch import Tensor
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from vsalt.data.types import Batch
from vsalt.objectives.protocol import Objective, ObjectiveOutput
from vsalt.training.joint import LossModule


class Replicas:
    """A method whose trainable part is that of all processes (DistributedDataParallel).

    The weights of process 0 are given to all once. Every process adds up the gradients of its own
    micro-batches; in the backward pass of the last one they are added up over processes, while it
    is still going on. DistributedDataParallel takes their mean over processes, so the loss is
    multiplied by `scale`, their number: the trainer has divided by the clips of the whole step.
    All processes get the same bits. Nothing else is exchanged: the target's weights are frozen, or
    follow the trainable ones.

    Args:
        objective: the method.
        num_parts: micro-batches of a process in a step.
    """

    sharded = False

    def __init__(self, objective: Objective, num_parts: int) -> None:
        with warnings.catch_warnings():
            # Newer torch has another word for it, which older torch does not know.
            warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
            self._module = DistributedDataParallel(
                LossModule(objective), broadcast_buffers=False, gradient_as_bucket_view=True
            )
        # A hook that sums would run Python in gloo's threads, which may outlive the interpreter.
        self.scale = float(dist.get_world_size())
        self._num_parts = num_parts

    def loss(self, batch: Batch) -> ObjectiveOutput:
        """Return the loss of a micro-batch, as the method's own `loss`."""
        output: ObjectiveOutput = self._module(batch)[1]
        return output

    def part(self, index: int) -> AbstractContextManager[None]:
        """Return the context of a micro-batch's forward and backward pass, by its number."""
        if index == self._num_parts - 1:
            return contextlib.nullcontext()
        return self._module.no_sync()

    def norms(self, norms: Mapping[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
        """Return the norms as they are: every process holds whole gradients."""
        return dict(norms)
