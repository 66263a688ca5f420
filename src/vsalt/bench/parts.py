"""The parts of a training step, and where one ends and the next begins.

Marks divide the step without gaps: the time since the last mark belongs to the part that the mark
names, so the parts add up to the step. What belongs to no part of interest is `other`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeAlias

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vsalt.bench.machine import Clock, synchronise
from vsalt.data.types import Batch
from vsalt.objectives.masked_prediction import MaskedPrediction
from vsalt.objectives.protocol import ObjectiveOutput

PartName: TypeAlias = Literal[
    "data", "target", "encoder", "predictor", "backward", "optimiser", "other"
]
PARTS: tuple[PartName, ...] = (
    "data",
    "target",
    "encoder",
    "predictor",
    "backward",
    "optimiser",
    "other",
)
"""In the order in which they first begin.

data: waiting for a batch and its way to the device. target: what is predicted, such as the frozen
teacher's forward pass. encoder, predictor: the forward passes of the networks that are trained.
backward: the gradients of both. optimiser: norms, the check that they are finite, clipping, AdamW,
and the moving average of method vjepa. other: the distance, the sums for the log, the schedule,
gradients set to none.
"""
Mark: TypeAlias = Callable[[PartName], None]
"""Says that a part has ended now."""


class StepClock:
    """Adds up the seconds of every part.

    The device is waited for at every mark. That costs the overlap of a GPU with the program, so a
    step with marks may take longer than one without.

    Args:
        device: "cpu" or "cuda".
        clock: seconds.

    Attributes:
        seconds: of every part since `begin`.
    """

    def __init__(self, device: str, clock: Clock = time.perf_counter) -> None:
        self._device = device
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Begin a step."""
        self.seconds: dict[PartName, float] = dict.fromkeys(PARTS, 0.0)
        synchronise(self._device)
        self._last = self._clock()

    def mark(self, part: PartName) -> None:
        """Give the time since the last mark to a part."""
        synchronise(self._device)
        now = self._clock()
        self.seconds[part] += now - self._last
        self._last = now


@contextmanager
def marked(objective: MaskedPrediction, mark: Mark) -> Iterator[None]:
    """Let an objective mark the ends of its parts while its loss is computed.

    By hooks on the trained networks, and by its own `loss` and its target's `open`, which are
    wrapped; afterwards the objective is as it was. Results do not change.
    """
    with ExitStack() as undo:
        for name in ("encoder", "predictor"):
            module = objective.trainable.get_submodule(name)
            undo.callback(module.register_forward_pre_hook(_marks(mark, "other")).remove)
            undo.callback(module.register_forward_hook(_marks(mark, name)).remove)
        _replace(undo, objective, "loss", _marked_loss(objective.loss, mark))
        assert objective.target is not None
        _replace(undo, objective.target, "open", _marked_open(objective.target.open, mark))
        yield


def _marks(mark: Mark, part: Any) -> Callable[..., None]:
    def hook(*_: object) -> None:
        mark(part)

    return hook


def _marked_loss(
    loss: Callable[[Batch], ObjectiveOutput], mark: Mark
) -> Callable[[Batch], ObjectiveOutput]:
    def marked_loss(batch: Batch) -> ObjectiveOutput:
        mark("data")
        output = loss(batch)
        mark("other")
        return output

    return marked_loss


def _marked_open(open_target: Any, mark: Mark) -> Callable[[Tensor], Any]:
    def marked_open(
        clips: UInt8[Tensor, "B 3 T H W"],
    ) -> Callable[[Int64[Tensor, "B K"]], Float[Tensor, "B K P"]]:
        mark("other")
        target_at = open_target(clips)
        mark("target")

        def marked_target(ids: Int64[Tensor, "B K"]) -> Float[Tensor, "B K P"]:
            mark("other")
            target: Tensor = target_at(ids)
            mark("target")
            return target

        return marked_target

    return marked_open


def _replace(undo: ExitStack, owner: object, name: str, function: object) -> None:
    """Put a function before a method of one object, until `undo` closes."""
    attributes = vars(owner)
    assert name not in attributes, f"{name} is wrapped already"
    attributes[name] = function
    undo.callback(attributes.pop, name)
