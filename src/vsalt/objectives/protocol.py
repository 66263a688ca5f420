"""What the trainer asks of a method, and nothing more (docs/explanation/architecture.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from vsalt.compute.types import ClipFlops, ClipShapes
from vsalt.data.types import Batch
from vsalt.models.vit import Encoder


@dataclass(frozen=True)
class ObjectiveOutput:
    """What a method returns for a micro-batch.

    Attributes:
        loss_sum: sum over clips of each clip's loss, float32 scalar with gradient. A clip's loss is
            its mean over target tokens and channels, averaged over the masks. The trainer divides
            by the number of clips of the whole step, so micro-batches and processes change nothing.
        num_clips: clips of the micro-batch.
        clip_losses: each clip's loss, detached; they add up to `loss_sum`.
        metrics: detached scalars, each a sum over clips like the loss.

    For listeners, by mask kind, detached and not copied; a method without them leaves them empty:
        context: the encoder's tokens of the visible part.
        predictions: the predictor's output; the same keys as `targets`.
        targets: what it should have been.
    """

    loss_sum: Float[Tensor, ""]
    num_clips: int
    clip_losses: Float[Tensor, " B"]
    metrics: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
    context: Mapping[str, Float[Tensor, "B _ D"]] = field(default_factory=dict)
    predictions: Mapping[str, Float[Tensor, "B _ P"]] = field(default_factory=dict)
    targets: Mapping[str, Float[Tensor, "B _ P"]] = field(default_factory=dict)


@dataclass(frozen=True)
class ParamGroup:
    """Parameters whose gradients are clipped together.

    Attributes:
        name: shown in the log.
        decayed: matrices, with weight decay.
        undecayed: biases, norms and other vectors, without.
    """

    name: str
    decayed: tuple[nn.Parameter, ...]
    undecayed: tuple[nn.Parameter, ...]


def param_group(name: str, module: nn.Module) -> ParamGroup:
    """Sort a module's trainable parameters: those with two axes or more decay."""
    params = [param for param in module.parameters() if param.requires_grad]
    return ParamGroup(
        name=name,
        decayed=tuple(param for param in params if param.ndim >= 2),
        undecayed=tuple(param for param in params if param.ndim < 2),
    )


@runtime_checkable
class Objective(Protocol):
    """A method of self-supervised learning.

    Attributes:
        trainable: encoder, predictors and learnable parts of a target: all that is optimised,
            wrapped, sharded and compiled, and all that `model.safetensors` holds beside
            `carried_state`.
        target: the rest that the loss needs, in eval mode and without gradient; None if nothing.
            The loss asks it by `forward` or by a method `open`.
        target_follows: whether `after_step` moves the target's weights by those of `trainable`, so
            that both are sharded alike.
    """

    trainable: nn.Module
    target: nn.Module | None
    target_follows: bool

    @property
    def encoder(self) -> Encoder:
        """What users keep."""
        ...

    def loss(self, batch: Batch) -> ObjectiveOutput:
        """Return the loss of a micro-batch, summed over its clips."""
        ...

    def param_groups(self) -> list[ParamGroup]:
        """Return the parameters: what is clipped together and what decays."""
        ...

    def carried_state(self) -> dict[str, Tensor]:
        """Return what is saved though neither trained nor frozen (EMA weights, centres)."""
        ...

    def load_carried_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `carried_state` returned."""
        ...

    def after_step(self, step: int) -> None:
        """Update carried state after optimiser step number `step` (the first is 0)."""
        ...

    def shard_units(self) -> list[nn.Module]:
        """Return the modules of `trainable` that a sharded run gathers one at a time."""
        ...

    def target_units(self) -> list[nn.Module]:
        """Return those of `target`."""
        ...

    def flops(self, shapes: ClipShapes) -> ClipFlops:
        """Return the operations of one training clip, the target's included."""
        ...
