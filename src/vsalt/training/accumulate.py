"""The gradient of a step, added up over its micro-batches."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from vsalt.data.types import Batch
from vsalt.objectives.protocol import Objective, ObjectiveOutput
from vsalt.training.device import autocast
from vsalt.training.joint import Joint

Listen: TypeAlias = Callable[[ObjectiveOutput], None]
"""Is given the output of each micro-batch after its gradient; it reads, and changes nothing."""


def accumulate(
    objective: Objective,
    batches: Iterable[Batch],
    num_clips: int,
    device: str,
    precision: str,
    listen: Listen | None = None,
    joint: Joint | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Add up the gradients of a step's micro-batches.

    Every micro-batch's loss is a sum over its clips, divided here by the clips of the whole step:
    the gradient is that of the mean over clips, however the step is cut.

    Args:
        objective: the method.
        batches: the step's micro-batches.
        num_clips: clips of the whole step.
        device: where to compute.
        precision: "fp32" or "bf16".
        listen: is given every micro-batch's output.
        joint: of several processes: the same method, which adds up gradients over them.

    Returns:
        `loss` and the objective's metrics, means over the step's clips, detached; of several
        processes, this one's part of them.
    """
    sums: dict[str, Tensor] = {}
    loss = objective.loss if joint is None else joint.loss
    for index, batch in enumerate(batches):
        with nullcontext() if joint is None else joint.part(index):
            with autocast(device, precision):
                output = loss(batch.to(device))
            loss_sum = output.loss_sum if joint is None else output.loss_sum * joint.scale
            (loss_sum / num_clips).backward()
        values = {"loss": output.loss_sum.detach(), **output.metrics}
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value / num_clips
        if listen is not None:
            listen(output)
        # Its features must not stay in memory while the next micro-batch is computed.
        del output
    return sums
