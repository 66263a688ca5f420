"""What GPUs send each other in a step, by formula.

Rings: of a tensor of n bytes over W GPUs each sends

    all-reduce       2 n (W - 1) / W
    all-gather         n (W - 1) / W
    reduce-scatter     n (W - 1) / W

bytes to its neighbour in the ring. A ring that goes through nodes one after the other leaves each
node once, so a node sends as many bytes over its network, however many GPUs it has. Several rings
side by side share the bytes and change nothing. The time is that of the slower of both links;
latency is left out.

replicate (DistributedDataParallel): gradients are summed once per step, in fp32, in the backward
pass of the last micro-batch: in that of its first mask, which comes last, since only there the
gradient of a weight is whole.

shard (FSDP2 on every block and on the rest; all are dropped after use): per micro-batch a block is
gathered for each mask in the forward and again in the backward pass, the rest once in each of both;
gradients of every unit are reduced and scattered once per micro-batch. All in fp32. A target that
is sharded, a frozen teacher or the moving average of method vjepa, is gathered once per
micro-batch. The average follows its encoder part by part: nothing is exchanged for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vsalt.scale.memory import FP32, Sharding
from vsalt.scale.networks import Networks, Unit

Operation = Literal["all_reduce", "all_gather", "reduce_scatter"]
ROUNDS = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1}
BUCKET_BYTES = 25 * 2**20
"""DistributedDataParallel sums gradients in buckets of about so many bytes."""


@dataclass(frozen=True)
class Collective:
    """An exchange that happens some times in a step.

    Attributes:
        what: is exchanged.
        operation: of all GPUs together.
        num_bytes: of the whole tensor, fillings included.
        times: in a step.
    """

    what: str
    operation: Operation
    num_bytes: int
    times: int

    def sent_bytes(self, num_gpus: int) -> float:
        """Return what one GPU sends in a step."""
        rounds = ROUNDS[self.operation]
        return rounds * self.num_bytes * self.times * (num_gpus - 1) / num_gpus


def step_collectives(
    networks: Networks,
    *,
    num_gpus: int,
    num_masks: int,
    num_parts: int,
    sharding: Sharding,
    target_sharding: Sharding = "replicate",
) -> tuple[Collective, ...]:
    """Return the exchanges of one step.

    Args:
        networks: of the stage.
        num_gpus: of the run.
        num_masks: of a clip; the encoder and the predictor are called once for each.
        num_parts: micro-batches of a GPU in a step.
        sharding: whether every GPU has all trained weights.
        target_sharding: whether it has all weights of what gives the targets, if it is a network.
    """
    if num_gpus == 1:
        return ()

    def whole(units: Sequence[Unit]) -> int:
        return FP32 * num_gpus * sum(unit.shard(num_gpus) for unit in units)

    target = []
    if target_sharding == "shard" and networks.target_units:
        *blocks, rest = networks.target_units
        target = [
            Collective("target's blocks", "all_gather", whole(blocks), num_parts),
            Collective("target's rest", "all_gather", whole([rest]), num_parts),
        ]
    if sharding == "replicate":
        return (Collective("gradients", "all_reduce", FP32 * networks.num_weights, 1), *target)
    blocks_bytes, rest_bytes = whole(networks.blocks), whole([networks.rest])
    return (
        Collective("blocks, forward", "all_gather", blocks_bytes, num_masks * num_parts),
        Collective("blocks, backward", "all_gather", blocks_bytes, num_masks * num_parts),
        Collective("rest, forward", "all_gather", rest_bytes, num_parts),
        Collective("rest, backward", "all_gather", rest_bytes, num_parts),
        Collective("gradients of blocks", "reduce_scatter", blocks_bytes, num_parts),
        Collective("gradients of the rest", "reduce_scatter", rest_bytes, num_parts),
        *target,
    )


@dataclass(frozen=True)
class Exchange:
    """The bytes and seconds of a step's communication.

    Attributes:
        link_bytes: that a GPU sends within its node.
        network_bytes: that a node sends to others; 0 if there is one.
        seconds: if nothing else were done.
        hidden_at_best: share of them that computing can hide.
    """

    link_bytes: float
    network_bytes: float
    seconds: float
    hidden_at_best: float

    @property
    def least_exposed_s(self) -> float:
        """Seconds that come on top of computing at best; at worst all do."""
        return self.seconds * (1 - self.hidden_at_best)


def exchange(
    collectives: tuple[Collective, ...],
    *,
    num_gpus: int,
    num_nodes: int,
    link_bytes_per_s: float,
    network_bytes_per_s: float,
    window_s: float,
) -> Exchange:
    """Return bytes and seconds of a step's exchanges.

    Args:
        collectives: of a step.
        num_gpus: of the run.
        num_nodes: of the run.
        link_bytes_per_s: that a GPU sends within its node, in one direction.
        network_bytes_per_s: that a node sends to others, over all its network cards.
        window_s: seconds of computing beside which they can happen.
    """
    sent = sum(each.sent_bytes(num_gpus) for each in collectives)
    outside = sent if num_nodes > 1 else 0.0
    seconds = max(sent / link_bytes_per_s, outside / network_bytes_per_s)
    if not sent:
        return Exchange(0.0, 0.0, 0.0, 0.0)
    # What comes first or last has nothing beside it.
    edge = seconds * _edge_bytes(collectives, num_gpus) / sent
    exposed = max(seconds - window_s, edge)
    return Exchange(sent, outside, seconds, 1 - exposed / seconds)


def _edge_bytes(collectives: tuple[Collective, ...], num_gpus: int) -> float:
    """Return what a GPU sends before anything is computed, and after everything is.

    The first unit that is gathered, the target's rest if there is one; and what is summed last.
    """
    by_name = {each.what: each for each in collectives}
    first = by_name.get("target's rest", by_name.get("rest, forward"))
    edge = 0.0 if first is None else first.sent_bytes(num_gpus) / first.times
    if "gradients" in by_name:
        summed = by_name["gradients"]
        return edge + summed.sent_bytes(num_gpus) * min(1.0, BUCKET_BYTES / summed.num_bytes)
    last = by_name["gradients of the rest"]
    return edge + last.sent_bytes(num_gpus) / last.times
