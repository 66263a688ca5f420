"""Memory of one GPU in a training step, by formula.

A token of a block of width d with h heads and MLP width m leaves for the backward pass, in values:
the inputs of both norms 2 d, what they put out 2 d, queries, keys and values before positions are
turned into them 3 d, turned queries and keys 2 d (rotary positions only), what attention puts out
d, before and after the GELU 2 m; and in fp32 the logarithm of attention's sum h, means and
deviations of the norms 4. In fp32 these are

    4 (10 d + 2 m + h + 4) bytes.

Under bf16 autocast on CUDA a norm is computed in fp32 and keeps its input so; the others are bf16:

    2 (8 d + 2 m) + 4 (2 d + h + 4) bytes.

This holds for fused attention, which keeps no matrix of scores, without activation checkpointing.
Shapes: B clips of a micro-batch, C context and K target tokens of a mask, L tokens of a clip, D
and w widths of encoder and predictor, V values of a tubelet, P channels of a target.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vsalt.compute.types import ClipShapes
from vsalt.models.config import Architecture
from vsalt.scale.networks import Networks, Unit

Precision = Literal["fp32", "bf16"]
Sharding = Literal["replicate", "shard"]
FP32 = 4
VALUE = {"fp32": 4, "bf16": 2}
"""Bytes of a value of an activation."""
MOMENTS = 2
"""AdamW keeps two numbers for every weight."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one GPU at the fullest moment of a step.

    Attributes:
        weights: fp32, this GPU's part of them if they are sharded; likewise the next two.
        gradients: fp32.
        optimiser: both moments of AdamW, fp32.
        teacher: the frozen teacher or the moving average, fp32; this GPU's part of it if sharded.
        gathered: sharded only: units that are whole for a moment, and their gradients.
        weight_copies: bf16 copies of weights that autocast keeps for the backward pass.
        activations: what is kept for the backward pass, latents, targets, predictions, clips; or
            what the fullest moment has in their place.
    """

    weights: int
    gradients: int
    optimiser: int
    teacher: int
    gathered: int
    weight_copies: int
    activations: int

    @property
    def total(self) -> int:
        """All of them."""
        return (
            self.weights
            + self.gradients
            + self.optimiser
            + self.teacher
            + self.gathered
            + self.weight_copies
            + self.activations
        )


def step_memory(
    networks: Networks,
    shapes: ClipShapes,
    micro_batch_size: int,
    *,
    num_gpus: int,
    sharding: Sharding,
    precision: Precision,
    target_sharding: Sharding = "replicate",
) -> Memory:
    """Return the memory of one GPU.

    Args:
        networks: of the stage.
        shapes: tokens of a clip and its masks.
        micro_batch_size: clips that are computed at once.
        num_gpus: among which weights are sharded, if they are.
        sharding: every GPU has all trained weights, or a part of them.
        precision: of activations; weights are fp32 always, and so they are exchanged.
        target_sharding: likewise for the weights of what gives the targets.
    """
    trained = (*networks.blocks, networks.rest)
    weights = _held_bytes(trained, num_gpus, sharding)
    gathered = 0
    if sharding == "shard":
        # Two units' gradients leave.
        largest = max(unit.num_weights for unit in networks.blocks)
        gathered = _gathered_bytes(trained) + FP32 * 2 * largest
    if target_sharding == "shard":
        # One pass is over before the other begins.
        gathered = max(gathered, _gathered_bytes(networks.target_units))
    return Memory(
        weights=weights,
        gradients=weights,
        optimiser=MOMENTS * weights,
        teacher=_held_bytes(networks.target_units, num_gpus, target_sharding),
        gathered=gathered,
        weight_copies=VALUE["bf16"] * networks.num_matrix_weights if precision == "bf16" else 0,
        activations=_fullest_moment(networks, shapes, micro_batch_size, precision),
    )


def _held_bytes(units: Sequence[Unit], num_gpus: int, sharding: Sharding) -> int:
    """Return what one GPU keeps of the weights of units."""
    is_sharded = sharding == "shard"
    return FP32 * sum(unit.shard(num_gpus) if is_sharded else unit.num_weights for unit in units)


def _gathered_bytes(units: Sequence[Unit]) -> int:
    """Return what is whole at a time of sharded units, of which the last is the rest.

    The block in use, the next one, the buffer it comes in; and the rest.
    """
    *blocks, rest = units
    return FP32 * (3 * max(unit.num_weights for unit in blocks) + rest.num_weights)


def _fullest_moment(
    networks: Networks, shapes: ClipShapes, num_clips: int, precision: Precision
) -> int:
    """Return the most that comes and goes within a step, weights' copies left out."""
    saved = [saved_bytes(networks, *mask, precision) for mask in shapes.masks]
    outputs = sum(output_bytes(networks, *mask, precision) for mask in shapes.masks)
    clip = clip_bytes(networks, shapes)
    latents = latent_bytes(networks, shapes)
    after_forward = num_clips * (sum(saved) + outputs + latents + clip)
    # Masks are gone through from the last to the first; the gradients of the weights wait until
    # the first is done, too.
    waiting = VALUE[precision] * networks.num_matrix_weights
    between = num_clips * (saved[0] + outputs + clip) + (waiting if len(saved) > 1 else 0)
    return max(
        after_forward, between, num_clips * (teacher_pass_bytes(networks, shapes, precision))
    )


def saved_bytes(
    networks: Networks, num_context: int, num_targets: int, precision: Precision
) -> int:
    """Return what one clip under one mask keeps for the backward pass.

    The encoder on C tokens, the predictor on C + K, and the differences to the target, fp32.
    """
    size = VALUE[precision]
    d, w = networks.encoder.width, networks.predictor.width
    both = num_context + num_targets
    encoder = num_context * (
        networks.encoder.depth * block_bytes(networks.encoder, precision, networks.is_rotary)
        + size * networks.tubelet_values
        + final_norm_bytes(d, precision)
        + _table_bytes(networks.encoder, networks.is_rotary)
    )
    blocks = networks.predictor.depth * block_bytes(
        networks.predictor, precision, networks.is_rotary
    )
    predictor = both * (blocks + _table_bytes(networks.predictor, networks.is_rotary))
    # The last norm takes the targets out of all tokens, which stay with them.
    predictor += num_targets * final_norm_bytes(w, precision) + num_context * FP32 * w
    return encoder + predictor + FP32 * num_targets * networks.target_width


def block_bytes(arch: Architecture, precision: Precision, is_rotary: bool = True) -> int:
    """Return what one token of a block keeps for the backward pass (the formula above)."""
    d, m = arch.width, arch.mlp_width
    turned = 2 * d if is_rotary else 0
    in_products = 6 * d + turned + 2 * m
    return VALUE[precision] * in_products + FP32 * (2 * d + arch.heads + 4)


def final_norm_bytes(width: int, precision: Precision) -> int:
    """Return what a token of the last norm keeps: its input, what it puts out, two statistics."""
    return FP32 * (width + 2) + VALUE[precision] * width


def output_bytes(
    networks: Networks, num_context: int, num_targets: int, precision: Precision
) -> int:
    """Return what the loss of one clip and mask hands to listeners and is in memory until then.

    Targets in fp32 and predictions; in bf16 also the context tokens as the last norm gives them.
    """
    predictions = num_targets * networks.target_width * (FP32 + VALUE[precision])
    context = FP32 * num_context * networks.encoder.width if precision == "bf16" else 0
    return predictions + context


def latent_bytes(networks: Networks, shapes: ClipShapes) -> int:
    """Return the teacher's latents of a clip, fp32: there until the loss is computed."""
    return 0 if networks.teacher is None else FP32 * shapes.num_tokens * networks.teacher.width


def clip_bytes(networks: Networks, shapes: ClipShapes) -> int:
    """Return a clip's pixels, one byte per colour."""
    return networks.tubelet_values * shapes.num_tokens


def teacher_pass_bytes(networks: Networks, shapes: ClipShapes, precision: Precision) -> int:
    """Return the most of a clip in the teacher's pass, which keeps nothing for a backward pass.

    The inputs of a block's MLP and of its norm, and both sides of the GELU; and the pixels.
    """
    if networks.teacher is None:
        return 0
    d, m = networks.teacher.width, networks.teacher.mlp_width
    widest = FP32 * d + VALUE[precision] * (d + 2 * m)
    return shapes.num_tokens * widest + clip_bytes(networks, shapes)


def _table_bytes(arch: Architecture, is_rotary: bool) -> int:
    """Return cosines and sines of a token, fp32, which all blocks share."""
    return 2 * FP32 * (arch.width // arch.heads) if is_rotary else 0


def largest_micro_batch(
    networks: Networks,
    shapes: ClipShapes,
    share: int,
    memory_bytes: int,
    *,
    group_size: int | None = None,
    num_gpus: int,
    sharding: Sharding,
    precision: Precision,
    target_sharding: Sharding = "replicate",
) -> int | None:
    """Return the largest micro-batch that fits; None if not even the smallest does.

    Args:
        networks: of the stage.
        shapes: tokens of a clip and its masks.
        share: clips of one GPU in a step, of which a micro-batch must be a divisor.
        memory_bytes: of the GPU, without what is to be spared.
        group_size: clips whose masks are cut alike; the micro-batch must divide them, too.
        num_gpus: see `step_memory`; likewise the others.
        sharding: see there.
        precision: see there.
        target_sharding: see there.
    """
    limit = share if group_size is None else math.gcd(share, group_size)
    for size in range(limit, 0, -1):
        if limit % size:
            continue
        needed = step_memory(
            networks,
            shapes,
            size,
            num_gpus=num_gpus,
            sharding=sharding,
            precision=precision,
            target_sharding=target_sharding,
        ).total
        if needed <= memory_bytes:
            return size
    return None
