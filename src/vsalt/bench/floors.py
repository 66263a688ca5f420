"""The least time that every part of a step could take on a device: its floor.

    floor = max(operations / matrix-product rate, bytes / bandwidth)

Operations are the exact ones of `vsalt.compute`. Bytes are those that no implementation can spare:
weights are read once by a pass, gradients are written, what a part hands on is written. All that is
element-wise between two products, and what is kept for the backward pass, is left out, since in
principle it could stay on the chip: so a floor is below what any real step reaches. N weights take
4 N bytes (weights, gradients and moments are fp32 whatever the precision):

    target      its weights, and the targets:     4 N_target + 4 B sum_m K_m P
    encoder     its weights, and its tokens:      4 N_encoder + 4 B sum_m C_m D
    predictor   its weights, and its predictions: 4 N_predictor + 4 B sum_m K_m P
    backward    weights read, gradients written:  8 N
    optimiser   4 N for the norms, 8 N for clipping, 28 N for AdamW (weight, gradient, two moments
                read; weight and moments written); 12 N_encoder for a moving average

with B clips, masks m of C_m context and K_m target tokens, D channels of the encoder and P of a
target. `data` and `other` have no floor: the bus to the device is not measured.
"""

import math
from dataclasses import dataclass

from vsalt.bench.parts import PartName
from vsalt.compute import flops
from vsalt.compute.types import ClipShapes
from vsalt.models.predictor import Predictor
from vsalt.models.vit import Block, Encoder
from vsalt.objectives.masked_prediction import MaskedPrediction, count_params
from vsalt.training.config import OptimConfig

BYTES = 4
"""Of a weight, a gradient, a moment, a target."""
ADAMW_WORDS = 7
NORM_WORDS = 1
CLIP_WORDS = 2
AVERAGE_WORDS = 3


@dataclass(frozen=True)
class Work:
    """What a part has to do in one step.

    Attributes:
        flops: exact operations.
        num_bytes: bytes that must be moved.
    """

    flops: int
    num_bytes: int

    def floor_s(self, flops_per_s: float, bytes_per_s: float) -> float:
        """Return the least seconds at given rates."""
        return max(self.flops / flops_per_s, self.num_bytes / bytes_per_s)


def part_work(
    objective: MaskedPrediction, shapes: ClipShapes, num_clips: int, optim: OptimConfig
) -> dict[PartName, Work]:
    """Return the work of every part that has a floor, for a step of one micro-batch.

    Args:
        objective: the method.
        shapes: token counts of a clip.
        num_clips: clips of the step.
        optim: whether gradients are clipped.
    """
    operations = part_flops(objective, shapes)
    num_bytes = _part_bytes(objective, shapes, num_clips, optim)
    return {
        part: Work(num_clips * operations.get(part, 0), moved) for part, moved in num_bytes.items()
    }


def part_flops(objective: MaskedPrediction, shapes: ClipShapes) -> dict[PartName, int]:
    """Return the exact operations of one clip by part; they add up to `objective.flops`.

    The target's are what a method adds to what all methods share, and the backward pass's are what
    training costs beyond the forward passes.
    """
    encoder, predictor = networks(objective)
    trained = MaskedPrediction.flops(objective, shapes).exact
    seen = sum(_encoder_forward(encoder, context) for context, _ in shapes.masks)
    guessed = sum(_predictor_forward(predictor, *mask) for mask in shapes.masks)
    return {
        "target": objective.flops(shapes).exact - trained,
        "encoder": seen,
        "predictor": guessed,
        "backward": trained - seen - guessed,
    }


def networks(objective: MaskedPrediction) -> tuple[Encoder, Predictor]:
    """Return the two networks that are trained."""
    encoder, predictor = (
        objective.trainable.get_submodule(name) for name in ("encoder", "predictor")
    )
    assert isinstance(encoder, Encoder)
    assert isinstance(predictor, Predictor)
    return encoder, predictor


def _encoder_forward(encoder: Encoder, num_tokens: int) -> int:
    shape = encoder.config.architecture
    return flops.encoder_forward_flops(
        num_tokens,
        width=shape.width,
        depth=shape.depth,
        mlp_width=shape.mlp_width,
        tubelet_values=3 * math.prod(encoder.config.tubelet),
    )


def _predictor_forward(predictor: Predictor, num_context: int, num_targets: int) -> int:
    block = predictor.blocks[0]
    assert isinstance(block, Block)
    return flops.predictor_forward_flops(
        num_context,
        num_targets,
        in_width=predictor.embed.in_features,
        width=predictor.embed.out_features,
        depth=len(predictor.blocks),
        mlp_width=block.mlp.fc1.out_features,
        out_width=predictor.out.out_features,
    )


def _part_bytes(
    objective: MaskedPrediction, shapes: ClipShapes, num_clips: int, optim: OptimConfig
) -> dict[PartName, int]:
    encoder, predictor = networks(objective)
    weights = count_params(objective.trainable)
    frozen = 0 if objective.target is None else count_params(objective.target)
    tokens = num_clips * sum(context for context, _ in shapes.masks) * encoder.width
    targets = num_clips * sum(count for _, count in shapes.masks) * predictor.out.out_features
    words = weights * (NORM_WORDS + ADAMW_WORDS)
    words += weights * CLIP_WORDS if optim.clip_norm is not None else 0
    words += AVERAGE_WORDS * count_params(encoder) if objective.carried_state() else 0
    return {
        "target": BYTES * (frozen + targets),
        "encoder": BYTES * (count_params(encoder) + tokens),
        "predictor": BYTES * (count_params(predictor) + targets),
        "backward": BYTES * 2 * weights,
        "optimiser": BYTES * words,
    }
