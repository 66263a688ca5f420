"""Processes that train a small network for a step, and print what they have sent each other.

Usage: python collectives_driver.py NUM_PROCESSES; prints a JSON object of scenario to bytes of the
whole tensors by operation. What is counted are the operations that torch gives to the process
group, by a dispatch mode around forward and backward pass.
"""

import json
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.multiprocessing.spawn import spawn
from torch.utils._python_dispatch import TorchDispatchMode

from vsalt.bench.setup import bench_stage
from vsalt.config import PretrainConfig
from vsalt.data.types import Batch
from vsalt.objectives.masked_prediction import MaskedPrediction
from vsalt.training.build import build_objective, resolve
from vsalt.training.rate import random_batch
from vsalt.training.replicas import Replicas

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


class Loss(nn.Module):
    """A method as a module, as the trainer wraps it."""

    def __init__(self, objective: MaskedPrediction) -> None:
        super().__init__()
        self.trainable = objective.trainable
        self._objective = (objective,)

    def forward(self, batch: Batch) -> Tensor:
        return self._objective[0].loss(batch).loss_sum


def stage(size: str, width: int | None) -> PretrainConfig:
    config = bench_stage("tiny-cpu", "pixel", size=size, batch_size=1)  # type: ignore[arg-type]
    # No multiple of four: parts are filled up.
    encoder = replace(config.stage.encoder, width=width or config.stage.encoder.width)
    return resolve(replace(config, stage=replace(config.stage, encoder=encoder)))


def objective_of(config: PretrainConfig) -> MaskedPrediction:
    torch.manual_seed(0)
    objective = build_objective(config, None)
    assert isinstance(objective, MaskedPrediction)
    return objective


def replicated(config: PretrainConfig) -> Counted:
    replicas = Replicas(objective_of(config), NUM_PARTS)
    batch = random_batch(config)
    counted = Counted()
    for part in range(NUM_PARTS):
        with replicas.part(part), counted:
            replicas.loss(batch).loss_sum.backward()
    return counted


def sharded(config: PretrainConfig, gathered: torch.dtype | None) -> Counted:
    objective = objective_of(config)
    policy = MixedPrecisionPolicy(param_dtype=gathered, reduce_dtype=torch.float32)
    module = Loss(objective)
    for unit in objective.shard_units():
        fully_shard(unit, mp_policy=policy)
    fully_shard(module, mp_policy=policy)
    batch = random_batch(config)
    counted = Counted()
    for _ in range(NUM_PARTS):
        with torch.autocast("cpu", torch.bfloat16, enabled=gathered is not None), counted:
            loss = module(batch)
        with counted:
            loss.backward()
    return counted


SCENARIOS: dict[str, Callable[[], Counted]] = {
    "replicate Ti": lambda: replicated(stage("Ti", None)),
    "shard Ti fp32": lambda: sharded(stage("Ti", None), None),
    "shard Ti bf16": lambda: sharded(stage("Ti", None), torch.bfloat16),
    "shard 198 fp32": lambda: sharded(stage("Ti", 198), None),
}


def work(rank: int, world: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=world)
    found = {}
    for name, run in SCENARIOS.items():
        counted = run()
        found[name] = {"bytes": counted.num_bytes, "others": counted.others}
    if rank == 0:
        print(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    processes = int(sys.argv[1])
    spawn(work, (processes, free), nprocs=processes)
