"""A stage on a number of GPUs: memory, communication, decoding, time; and what does not fit."""

import math
from dataclasses import dataclass, replace

from vsalt.scale.cluster import GIB, Cluster
from vsalt.scale.communication import Collective, Exchange, exchange, step_collectives
from vsalt.scale.memory import Memory, Precision, Sharding, largest_micro_batch, step_memory
from vsalt.scale.pace import ClipWork, Decode, clip_work, decode_load
from vsalt.scale.stages import Stage


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How a run is divided and computed.

    Attributes:
        sharding: every GPU has all trained weights, or a part of them.
        teacher_sharding: likewise for a frozen teacher's. A moving average is as its encoder is.
        precision: of activations and products.
        repeats: uses of a clip once it is decoded.
    """

    sharding: Sharding = "replicate"
    teacher_sharding: Sharding = "replicate"
    precision: Precision = "bf16"
    repeats: int = 1


@dataclass(frozen=True)
class Budget:
    """What a stage needs on a number of GPUs.

    Attributes:
        stage: what is trained.
        num_gpus: of the run.
        num_nodes: they are in.
        share: clips of one GPU in a step; not whole if the batch does not divide.
        micro_batch_size: clips that are computed at once.
        num_parts: micro-batches of one GPU in a step.
        memory: of one GPU.
        fits: whether it is enough.
        largest_micro_batch: that fits and divides; None if none does.
        work: operations of a clip.
        collectives: exchanges of a step.
        exchange: their bytes and seconds.
        compute_s: seconds of computing in a step.
        decode_s: seconds that all cores need for the clips of a step.
        step_s: seconds of a step, at best and at worst.
        gpu_hours: of all steps, likewise.
        decode: what a step at its best asks of the cores.
        warnings: what does not fit, and what to change.
    """

    stage: Stage
    num_gpus: int
    num_nodes: int
    share: float
    micro_batch_size: int
    num_parts: int
    memory: Memory
    fits: bool
    largest_micro_batch: int | None
    work: ClipWork
    collectives: tuple[Collective, ...]
    exchange: Exchange
    compute_s: float
    decode_s: float
    step_s: tuple[float, float]
    gpu_hours: tuple[float, float]
    decode: Decode
    warnings: tuple[str, ...]


def plan_budget(stage: Stage, num_gpus: int, cluster: Cluster, choices: Choices) -> Budget:
    """Return the budget of a stage; what does not divide or fit is computed all the same.

    Args:
        stage: what is trained.
        num_gpus: of the run.
        cluster: the machines.
        choices: how it is divided and computed.
    """
    share = stage.batch_size / num_gpus
    micro = max(1, min(stage.micro_batch_size, int(share)))
    num_parts = max(1, math.ceil(share / micro))
    num_nodes = cluster.num_nodes(num_gpus)
    sharding = choices.sharding
    target_sharding = sharding if stage.method == "vjepa" else choices.teacher_sharding
    memory = step_memory(
        stage.networks,
        stage.shapes,
        micro,
        num_gpus=num_gpus,
        sharding=sharding,
        precision=choices.precision,
        target_sharding=target_sharding,
    )
    largest = None
    if share.is_integer():
        largest = largest_micro_batch(
            stage.networks,
            stage.shapes,
            int(share),
            cluster.usable_bytes,
            group_size=stage.group_size,
            num_gpus=num_gpus,
            sharding=sharding,
            precision=choices.precision,
            target_sharding=target_sharding,
        )
    work = clip_work(stage.networks, stage.shapes)
    compute_s = share * work.total / cluster.flops_per_s
    teacher_s = share * work.teacher / cluster.flops_per_s
    window_s = compute_s - teacher_s
    if sharding == "replicate":
        # Masks are gone through from the last to the first, and a gradient is whole in the first.
        first = replace(stage.shapes, masks=stage.shapes.masks[:1])
        window_s = micro * clip_work(stage.networks, first).backward / cluster.flops_per_s

    def send(target: Sharding, window_s: float) -> tuple[tuple[Collective, ...], Exchange]:
        collectives = step_collectives(
            stage.networks,
            num_gpus=num_gpus,
            num_masks=len(stage.shapes.masks),
            num_parts=num_parts,
            sharding=sharding,
            target_sharding=target,
        )
        return collectives, _exchange(collectives, num_gpus, cluster, window_s)

    # The target's pass hides what is gathered for it, and what is gathered for the networks next.
    is_hiding = "shard" in (sharding, target_sharding)
    collectives, found = send(target_sharding, window_s + teacher_s * is_hiding)
    # With cached latents the teacher's pass is not there, and hides nothing.
    _, cached = send("replicate", window_s)
    cached_step_s = compute_s - teacher_s + cached.least_exposed_s
    cores = cluster.cores_per_node * num_nodes
    decode_s = stage.batch_size / choices.repeats / (cores * cluster.clips_per_core_s)
    best = max(compute_s + found.least_exposed_s, decode_s)
    worst = max(compute_s + found.seconds, decode_s)
    hours = stage.steps * num_gpus / 3600
    budget = Budget(
        stage=stage,
        num_gpus=num_gpus,
        num_nodes=num_nodes,
        share=share,
        micro_batch_size=micro,
        num_parts=num_parts,
        memory=memory,
        fits=memory.total <= cluster.usable_bytes,
        largest_micro_batch=largest,
        work=work,
        collectives=collectives,
        exchange=found,
        compute_s=compute_s,
        decode_s=decode_s,
        step_s=(best, worst),
        gpu_hours=(hours * best, hours * worst),
        decode=_decode(
            stage, compute_s + found.least_exposed_s, cached_step_s, num_nodes, cluster, choices
        ),
        warnings=(),
    )
    return replace(budget, warnings=tuple(_warnings(budget, cluster, choices)))


def _exchange(
    collectives: tuple[Collective, ...], num_gpus: int, cluster: Cluster, window_s: float
) -> Exchange:
    return exchange(
        collectives,
        num_gpus=num_gpus,
        num_nodes=cluster.num_nodes(num_gpus),
        link_bytes_per_s=cluster.link_gb_s * 1e9,
        network_bytes_per_s=cluster.network_gb_s * 1e9,
        window_s=window_s,
    )


def _decode(
    stage: Stage,
    step_s: float,
    cached_step_s: float,
    num_nodes: int,
    cluster: Cluster,
    choices: Choices,
) -> Decode:
    """Return what the step asks of the cores, were they no limit."""
    clips_per_s = stage.batch_size / step_s
    cached = None
    latent_bytes = 0
    if stage.method == "salt":
        assert stage.networks.teacher is not None
        cached = stage.batch_size / cached_step_s
        # Eight bits per number, and a scale per token.
        latent_bytes = stage.shapes.num_tokens * (stage.networks.teacher.width + 4)
    return decode_load(
        clips_per_s,
        cached,
        num_nodes=num_nodes,
        clips_per_core_s=cluster.clips_per_core_s,
        repeats=choices.repeats,
        latent_bytes=latent_bytes,
    )


def _warnings(budget: Budget, cluster: Cluster, choices: Choices) -> list[str]:
    """Say what does not divide or fit, and what to change."""
    stage, found = budget.stage, []
    share, micro = budget.share, budget.micro_batch_size
    if not share.is_integer():
        near = max(1, round(share)) * budget.num_gpus
        found.append(
            f"{stage.batch_size} clips cannot be divided among {budget.num_gpus} GPUs; take "
            f"--batch-size {near} or another number of GPUs"
        )
    elif stage.group_size is not None:
        found += _group_warnings(budget, stage.group_size)
    elif int(share) % micro:
        found.append(
            f"a GPU takes {int(share)} clips, no multiple of --micro-batch-size {micro}; take "
            f"{_largest_divisor(int(share), micro)}"
        )
    if not budget.fits:
        needed, usable = budget.memory.total / GIB, cluster.usable_bytes / GIB
        fixes = []
        if budget.largest_micro_batch is not None:
            fixes.append(_smaller_micro_batch(budget, budget.largest_micro_batch))
        if choices.sharding == "replicate" and budget.num_gpus > 1:
            sharded = replace(choices, sharding="shard")
            if plan_budget(stage, budget.num_gpus, cluster, sharded).fits:
                fixes.append("--sharding shard")
        if choices.precision == "fp32":
            fixes.append("--precision bf16")
        fixes.append("a smaller encoder or GPUs with more memory")
        given = f"needs {needed:.1f} GiB of a GPU, and {usable:.1f} are there"
        found.append(f"{given}; take {' or '.join(fixes)}")
    if budget.decode.with_repeats > cluster.cores_per_node:
        found.append(
            f"takes {budget.decode.clips_per_s:,.0f} clips/s, for which a node needs "
            f"{budget.decode.with_repeats:,.0f} cores and has {cluster.cores_per_node:,g}: "
            "reading is the limit; prepare or cache the videos (vsalt data prepare, "
            "--data.cache disk), or use more cores"
        )
    return found


def _group_warnings(budget: Budget, group_size: int) -> list[str]:
    """Say where a run would refuse the micro-batch: masks of a group are cut alike."""
    share, micro = int(budget.share), budget.micro_batch_size
    if micro != min(share, group_size):
        return [
            f"a run refuses --micro-batch-size {micro} with masks.group-size {group_size} (masks "
            f"cut to the least of {group_size} clips): leave it out, or train with "
            f"masks.group-size {micro} and so with other masks"
        ]
    if share % micro or group_size % micro:
        near = max(1, round(share / group_size)) * group_size * budget.num_gpus
        return [
            f"a GPU takes {share} clips, which divide no group of {group_size} masks evenly; take "
            f"another number of GPUs or --batch-size {near}"
        ]
    return []


def _smaller_micro_batch(budget: Budget, size: int) -> str:
    flag = f"--micro-batch-size {size}"
    if budget.stage.group_size in (None, size):
        return flag
    return f"{flag} with masks.group-size {size}, which makes other masks,"


def _largest_divisor(number: int, limit: int) -> int:
    return max(each for each in range(1, limit + 1) if number % each == 0)
