"""Processes that train small networks for a step, and print what they have sent each other.

Usage: python collectives_driver.py NUM_PROCESSES; prints a JSON object of scenario to bytes of the
whole tensors by operation, and the weights of the target that the first process holds. What is
counted are the operations that torch gives to the process group, by a dispatch mode around forward
and backward pass and what follows the step. Networks are placed as the trainer places them.
"""

import json
import os
import socket
import sys
from collections import Counter
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.tensor import DTensor
from torch.multiprocessing.spawn import spawn
from torch.utils._python_dispatch import TorchDispatchMode

from vsalt.bench.setup import bench_stage, bench_teacher
from vsalt.config import PretrainConfig
from vsalt.models.config import EncoderConfig
from vsalt.training.build import build_objective, resolve
from vsalt.training.config import Sharding
from vsalt.training.distributed import Ranks
from vsalt.training.place import place
from vsalt.training.rate import random_batch
from vsalt.training.teachers import network_of

NUM_PARTS = 2
NAMES = {
    "c10d::allreduce_": ("all_reduce", 0),
    "c10d::_allgather_base_": ("all_gather", 0),
    "c10d::_reduce_scatter_base_": ("reduce_scatter", 1),
}
"""Operation, and which argument is the whole tensor."""


class Counted(TorchDispatchMode):
    """Adds up the bytes of whole tensors that are exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes: Counter[str] = Counter()
        self.others: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.namespace == "c10d":
            name = func._schema.name
            if name in NAMES:
                operation, place = NAMES[name]
                given = args[place]
                tensors = [given] if isinstance(given, Tensor) else given
                self.num_bytes[operation] += sum(tensor.nbytes for tensor in tensors)
            else:
                self.others[name] += 1
        return func(*args, **(kwargs or {}))


class Scenario(NamedTuple):
    """What is trained, and how networks are held."""

    method: Literal["pixel", "salt", "vjepa"]
    sharding: Sharding
    teacher_sharding: Sharding = "replicate"
    width: int | None = None


SCENARIOS = {
    "pixel, replicate": Scenario("pixel", "replicate"),
    "pixel, shard": Scenario("pixel", "shard"),
    # No multiple of four: parts are filled up.
    "pixel of width 198, shard": Scenario("pixel", "shard", width=198),
    "salt, shard": Scenario("salt", "shard"),
    "salt, replicate, teacher shard": Scenario("salt", "replicate", "shard"),
    "salt, shard, teacher shard": Scenario("salt", "shard", "shard"),
    "vjepa, replicate": Scenario("vjepa", "replicate"),
    "vjepa, shard": Scenario("vjepa", "shard"),
}


def configure(scenario: Scenario) -> tuple[PretrainConfig, EncoderConfig | None]:
    """Return a stage, and its teacher if it has one."""
    config = bench_stage("tiny-cpu", scenario.method, size="Ti", batch_size=1)
    encoder = replace(
        config.stage.encoder, width=scenario.width or config.stage.encoder.architecture.width
    )
    config = resolve(replace(config, stage=replace(config.stage, encoder=encoder)))
    return config, bench_teacher(config, "tiny-cpu")


def measure(scenario: Scenario, ranks: Ranks) -> dict[str, Any]:
    torch.manual_seed(0)
    config, teacher = configure(scenario)
    objective = build_objective(config, network_of(teacher))
    device = replace(config.device, teacher_sharding=scenario.teacher_sharding)
    joint = place(objective, device, scenario.sharding, ranks, "cpu", NUM_PARTS)
    assert joint is not None
    batch = random_batch(config)
    counted = Counted()
    for part in range(NUM_PARTS):
        with joint.part(part), counted:
            joint.loss(batch).loss_sum.backward()
    with counted:
        objective.after_step(0)
    weights = () if objective.target is None else objective.target.parameters()
    held = sum((w.to_local() if isinstance(w, DTensor) else w).numel() for w in weights)
    return {"bytes": counted.num_bytes, "others": counted.others, "target_weights": held}


def work(rank: int, world: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=world)
    ranks = Ranks(rank, world, timeout_s=60, control=dist.new_group(backend="gloo"))
    found = {name: measure(scenario, ranks) for name, scenario in SCENARIOS.items()}
    if rank == 0:
        print(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    processes = int(sys.argv[1])
    spawn(work, (processes, free), nprocs=processes)
