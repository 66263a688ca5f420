"""Where the networks of a stage lie: on this process's device, whole or in part."""

from vsalt.objectives.protocol import Objective
from vsalt.training.compile import compile_blocks
from vsalt.training.config import DeviceConfig, Sharding
from vsalt.training.distributed import Ranks
from vsalt.training.joint import Joint
from vsalt.training.replicas import Replicas
from vsalt.training.shards import Shards, shard_target


def choose_sharding(config: DeviceConfig, ranks: Ranks, given: Sharding | None) -> Sharding:
    """Return how the trained networks are held: as given, or as configured.

    One process holds all of them, so there it is the same.
    """
    return (given or config.sharding) if ranks.several else "replicate"


def place(
    objective: Objective,
    config: DeviceConfig,
    sharding: Sharding,
    ranks: Ranks,
    device: str,
    num_parts: int,
) -> Joint | None:
    """Move a method's networks from main memory to where they are computed, and compile them.

    Args:
        objective: the method; an optimiser is to be built afterwards.
        config: says whether a frozen teacher is sharded, and whether networks are compiled.
        sharding: whether the trained networks are, and a target that follows them.
        ranks: the processes, all of which call this.
        device: "cpu" or "cuda".
        num_parts: micro-batches of a process in a step.

    Returns:
        The method as several processes compute it together; None for one process.

    Raises:
        ConfigError: networks cannot be compiled here.
    """
    target = objective.target
    sharded = sharding == "shard" and ranks.several
    wanted = sharding if objective.target_follows else config.teacher_sharding
    joint: Joint | None = None
    with ranks.explained():
        if target is not None and wanted == "shard" and ranks.several:
            shard_target(objective, ranks, device)
        elif target is not None:
            target.to(device)
        if sharded:
            joint = Shards(objective, ranks, device)
        else:
            objective.trainable.to(device)
            joint = Replicas(objective, num_parts) if ranks.several else None
    if config.compile:
        compile_blocks(objective, device)
    return joint
