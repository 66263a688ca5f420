"""The step that masked methods share: encode the context, predict the target, compare.

For every mask kind m with context C_m and targets M_m (SALT, arXiv 2509.24317, section 2.2):

    z_m = encoder(x[C_m]);  p_m = predictor(z_m, C_m, M_m)
    loss of a clip = mean over m of mean over M_m and channels of |p_m - target[M_m]| ** p

with p = 1 (`l1`) or 2 (`mse`). A method is this class with its target and loss.
"""

import math
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from vsalt.compute import flops
from vsalt.compute.types import ClipFlops, ClipShapes
from vsalt.data.types import Batch
from vsalt.models.config import PredictorConfig, grid_of
from vsalt.models.predictor import Predictor
from vsalt.models.vit import Encoder
from vsalt.objectives.config import TokenLoss
from vsalt.objectives.protocol import ObjectiveOutput, ParamGroup, param_group
from vsalt.targets.frozen import FrozenTeacher


@runtime_checkable
class Target(Protocol):
    """What is predicted: opened once per batch of clips, read at token ids."""

    width: int

    def open(
        self, clips: UInt8[Tensor, "B 3 T H W"]
    ) -> Callable[[Int64[Tensor, "B K"]], Float[Tensor, "B K P"]]:
        """Return a function from token ids to targets of `width` channels."""
        ...


@runtime_checkable
class StoredTarget(Protocol):
    """A target that was computed before: opened with what a batch brings of it."""

    width: int

    def open_records(
        self, records: UInt8[Tensor, "B bytes"]
    ) -> Callable[[Int64[Tensor, "B K"]], Float[Tensor, "B K P"]]:
        """Return a function from token ids to targets of `width` channels."""
        ...


class MaskedPrediction:
    """An objective that predicts a target at hidden tokens from the visible ones.

    Args:
        encoder: the student (of stage 1: the teacher to be).
        predictor: resolved config of the predictor.
        target: what to predict.
        loss: distance between prediction and target.
        mask_names: the mask kinds in the batch's order, for the log.
    """

    target_follows = False

    def __init__(
        self,
        encoder: Encoder,
        predictor: PredictorConfig,
        target: Target | StoredTarget,
        loss: TokenLoss,
        mask_names: tuple[str, ...],
    ) -> None:
        head = Predictor(
            predictor,
            in_width=encoder.width,
            out_width=target.width,
            positions=encoder.config.positions,
        )
        self.trainable: nn.Module = nn.ModuleDict({"encoder": encoder, "predictor": head})
        self.target: nn.Module | None = target if isinstance(target, nn.Module) else None
        self.distance = loss
        self.mask_names = mask_names
        self._encoder, self._predictor, self._target = encoder, head, target
        self._predictor_config = predictor

    @property
    def encoder(self) -> Encoder:
        """What users keep."""
        return self._encoder

    def loss(self, batch: Batch) -> ObjectiveOutput:
        """Return the loss of a micro-batch, summed over its clips."""
        if len(batch.masks) != len(self.mask_names):
            raise ValueError(f"expected {len(self.mask_names)} masks, got {len(batch.masks)}")
        clips = batch.clips
        size = (clips.shape[3], clips.shape[4])
        grid = grid_of(clips.shape[2], size, self._encoder.config.tubelet)
        target_at = self._open_target(batch)
        sums: dict[str, Tensor] = {}
        by_clip: list[Tensor] = []
        contexts: dict[str, Tensor] = {}
        predictions: dict[str, Tensor] = {}
        targets: dict[str, Tensor] = {}
        for name, mask in zip(self.mask_names, batch.masks, strict=True):
            context = self._encoder(clips, mask.context)
            prediction = self._predictor(context, mask.context, mask.targets, grid)
            target = target_at(mask.targets)
            distances = token_distance(prediction.float(), target, self.distance)
            by_clip.append(distances.flatten(1).mean(dim=1))
            sums[f"loss_{name}"] = by_clip[-1].sum()
            contexts[name], predictions[name] = context.detach(), prediction.detach()
            targets[name] = target.detach()
        loss_sum = torch.stack(list(sums.values())).mean()
        return ObjectiveOutput(
            loss_sum=loss_sum,
            num_clips=clips.shape[0],
            clip_losses=torch.stack(by_clip).detach().mean(dim=0),
            metrics={name: value.detach() for name, value in sums.items()},
            context=contexts,
            predictions=predictions,
            targets=targets,
        )

    def _open_target(
        self, batch: Batch
    ) -> Callable[[Int64[Tensor, "B K"]], Float[Tensor, "B K P"]]:
        if not isinstance(self._target, StoredTarget):
            return self._target.open(batch.clips)
        if batch.latents is None:
            raise ValueError("the target is cached, so batches must bring latents")
        return self._target.open_records(batch.latents)

    def param_groups(self) -> list[ParamGroup]:
        """Clip encoder and predictor separately; matrices decay."""
        return [param_group("encoder", self._encoder), param_group("predictor", self._predictor)]

    def carried_state(self) -> dict[str, Tensor]:
        """Nothing is carried."""
        return {}

    def load_carried_state(self, state: Mapping[str, Tensor]) -> None:
        """Nothing is carried."""
        if state:
            raise ValueError(f"this method carries no state, got {sorted(state)}")

    def after_step(self, step: int) -> None:
        """Nothing changes after a step."""

    def shard_units(self) -> list[nn.Module]:
        """Return every block of encoder and predictor."""
        return [*self._encoder.blocks, *self._predictor.blocks]

    def target_units(self) -> list[nn.Module]:
        """Return the blocks of a target that is a network."""
        return self._target.shard_units() if isinstance(self._target, FrozenTeacher) else []

    def flops(self, shapes: ClipShapes) -> ClipFlops:
        """Operations of encoder and predictor; methods add their target's."""
        student = _encoder_numbers(self._encoder)
        predictor = self._predictor_config.architecture
        exact = 0
        for num_context, num_targets in shapes.masks:
            exact += flops.encoder_train_flops(num_context, **student)
            exact += flops.predictor_train_flops(
                num_context,
                num_targets,
                in_width=self._encoder.width,
                width=predictor.width,
                depth=predictor.depth,
                mlp_width=predictor.mlp_width,
                out_width=self._target.width,
            )
        six_nd = flops.six_nd_trained_encoder(count_params(self._encoder), shapes)
        six_nd += flops.six_nd_predictor(count_params(self._predictor), shapes)
        return ClipFlops(exact=exact, six_nd=six_nd)


def token_distance(
    prediction: Float[Tensor, "B K P"], target: Float[Tensor, "B K P"], loss: TokenLoss
) -> Float[Tensor, "B K P"]:
    """Return |prediction - target| (l1) or its square (mse), element by element."""
    difference = prediction - target
    return difference.abs() if loss == "l1" else difference.square()


def frozen_encoder_flops(encoder: Encoder, shapes: ClipShapes, layer: int = -1) -> ClipFlops:
    """Operations of a frozen encoder that sees the whole clip once, up to a block."""
    numbers = _encoder_numbers(encoder)
    params = count_params(encoder)
    if layer >= 0:
        params -= sum(count_params(block) for block in encoder.blocks[layer + 1 :])
        numbers["depth"] = layer + 1
    return ClipFlops(
        exact=flops.encoder_forward_flops(shapes.num_tokens, **numbers),
        six_nd=flops.six_nd_frozen_encoder(params, shapes),
    )


def count_params(module: nn.Module) -> int:
    """Number of parameters, biases and norms included."""
    return sum(param.numel() for param in module.parameters())


def _encoder_numbers(encoder: Encoder) -> dict[str, int]:
    architecture = encoder.config.architecture
    return {
        "width": architecture.width,
        "depth": architecture.depth,
        "mlp_width": architecture.mlp_width,
        "tubelet_values": 3 * math.prod(encoder.config.tubelet),
    }
