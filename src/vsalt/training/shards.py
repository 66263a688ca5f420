"""Networks of which every process holds a part (`fully_shard`, FSDP2).

A weight is cut along its first axis. Before a module computes, its weights are gathered from all
processes, and dropped right after; in the backward pass once more, and its gradients are added up
and cut. So a process keeps its part of weights, gradients, optimiser state and moving average, and
of one module at a time the whole weights.
"""

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from vsalt.data.types import Batch
from vsalt.objectives.protocol import Objective, ObjectiveOutput
from vsalt.training.distributed import Ranks
from vsalt.training.joint import LossModule


class Shards:
    """A method whose trainable part is divided among all processes, each holding a part.

    Weights are those of process 0, as with `Replicas`. Gradients are summed by every micro-batch's
    backward pass: to wait for the last one would mean to keep them whole.

    Args:
        objective: the method; its trainable weights are replaced by their parts, on the device. An
            optimiser is to be built afterwards, and a target that follows them sharded, too.
        ranks: the processes.
        device: "cpu" or "cuda".
    """

    scale = 1.0
    sharded = True

    def __init__(self, objective: Objective, ranks: Ranks, device: str) -> None:
        self._ranks = ranks
        mesh = _mesh(ranks, device)
        with ranks.explained():
            for weight in objective.trainable.parameters():
                # On the CPU still, so in the group of control.
                dist.broadcast(weight.detach(), src=0, group=ranks.control)
        self._module = LossModule(objective)
        for unit in objective.shard_units():
            _shard(unit, mesh)
        # What is left, embeddings and norms, belongs to the root.
        _shard(self._module, mesh)
        for module in self._module.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def loss(self, batch: Batch) -> ObjectiveOutput:
        """Return the loss of a micro-batch, as the method's own `loss`."""
        output: ObjectiveOutput = self._module(batch)[1]
        return output

    def part(self, index: int) -> AbstractContextManager[None]:  # noqa: ARG002
        """Return the context of a micro-batch's forward and backward pass: all are alike."""
        return contextlib.nullcontext()

    def norms(self, norms: Mapping[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
        """Return the norms of whole gradients: roots of summed squares, the same in all."""
        squares = self._ranks.stack(torch.stack(list(norms.values())).double().square())
        roots = squares.sum(dim=0).sqrt().float()
        return dict(zip(norms, roots.unbind(), strict=True))


def shard_target(objective: Objective, ranks: Ranks, device: str) -> None:
    """Divide the target's weights among all processes, as they are; no gradient is exchanged."""
    assert objective.target is not None
    mesh = _mesh(ranks, device)
    for unit in objective.target_units():
        _shard(unit, mesh)
    _shard(objective.target, mesh)
    if hasattr(objective.target, "open"):
        register_fsdp_forward_method(objective.target, "open")


def _mesh(ranks: Ranks, device: str) -> DeviceMesh:
    with ranks.explained():
        return init_device_mesh(device, (ranks.size,))


def _shard(module: nn.Module, mesh: DeviceMesh) -> None:
    # Also of a root: outside its passes a network is to be read and moved part by part.
    fully_shard(module, mesh=mesh, reshard_after_forward=True)
