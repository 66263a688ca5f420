"""How long a step takes and what it needs of the cores, from operations and bytes.

    computing s      = clips of a GPU * operations of a clip / (peak * MFU)
    step s           = computing s + exposed communication s, but not below decoding s
    decoding s       = clips of a step / (cores * clips per core and second)
    cores needed     = clips per second of the step / clips per core and second

Operations are the exact ones of `vsalt.compute`. A clip that is used r times once it is decoded
needs 1 / r of the cores.
"""

from dataclasses import dataclass

from vsalt.compute import flops
from vsalt.compute.types import ClipShapes
from vsalt.models.config import Architecture
from vsalt.scale.networks import Networks


@dataclass(frozen=True)
class ClipWork:
    """Exact operations of a training clip.

    Attributes:
        forward: of encoder and predictor.
        backward: of both.
        teacher: the forward pass of what gives the targets.
    """

    forward: int
    backward: int
    teacher: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.forward + self.backward + self.teacher


def clip_work(networks: Networks, shapes: ClipShapes) -> ClipWork:
    """Return the operations of one clip under all its masks."""
    trained = forward = 0
    p = networks.predictor
    for num_context, num_targets in shapes.masks:
        encoder = _encoder(networks.encoder, networks.tubelet_values)
        trained += flops.encoder_train_flops(num_context, **encoder)
        forward += flops.encoder_forward_flops(num_context, **encoder)
        predictor = {
            "in_width": networks.encoder.width,
            "width": p.width,
            "depth": p.depth,
            "mlp_width": p.mlp_width,
            "out_width": networks.target_width,
        }
        trained += flops.predictor_train_flops(num_context, num_targets, **predictor)
        forward += flops.predictor_forward_flops(num_context, num_targets, **predictor)
    teacher = 0
    if networks.teacher is not None:
        numbers = _encoder(networks.teacher, networks.tubelet_values)
        teacher = flops.encoder_forward_flops(shapes.num_tokens, **numbers)
    return ClipWork(forward=forward, backward=trained - forward, teacher=teacher)


def _encoder(arch: Architecture, tubelet_values: int) -> dict[str, int]:
    return {
        "width": arch.width,
        "depth": arch.depth,
        "mlp_width": arch.mlp_width,
        "tubelet_values": tubelet_values,
    }


@dataclass(frozen=True)
class Decode:
    """What a step asks of the cores that read clips.

    Attributes:
        clips_per_s: that all GPUs together take.
        cores_per_node: that are needed for them.
        with_repeats: the same if every clip is used several times once it is decoded.
        with_cached_latents: the same if a frozen teacher's latents are read and not computed, so
            that steps are shorter; None without a frozen teacher.
        latents_gb_per_s: 10^9 bytes per second that all nodes then read, of eight bits per number;
            None likewise.
    """

    clips_per_s: float
    cores_per_node: float
    with_repeats: float
    with_cached_latents: float | None
    latents_gb_per_s: float | None


def decode_load(
    clips_per_s: float,
    cached_clips_per_s: float | None,
    *,
    num_nodes: int,
    clips_per_core_s: float,
    repeats: int,
    latent_bytes: int,
) -> Decode:
    """Return what a pace asks of the cores.

    Args:
        clips_per_s: of all GPUs together.
        cached_clips_per_s: the same without the teacher's pass, if there is one that can be spared.
        num_nodes: of the run.
        clips_per_core_s: that a core reads.
        repeats: uses of a clip once it is decoded.
        latent_bytes: of a clip's cached latents.
    """
    per_node = num_nodes * clips_per_core_s
    cached = cached_clips_per_s
    return Decode(
        clips_per_s=clips_per_s,
        cores_per_node=clips_per_s / per_node,
        with_repeats=clips_per_s / repeats / per_node,
        with_cached_latents=None if cached is None else cached / per_node,
        latents_gb_per_s=None if cached is None else cached * latent_bytes / 1e9,
    )
