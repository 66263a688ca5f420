"""The optimiser, and clipping of gradients per group."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn, optim

from vsalt.models.parts import own_part
from vsalt.objectives.protocol import ParamGroup
from vsalt.training.config import OptimConfig


def build_optimiser(groups: Sequence[ParamGroup], config: OptimConfig) -> optim.AdamW:
    """Build AdamW; `set_schedule` sets its learning rate and weight decay before every step."""
    param_groups = []
    for group in groups:
        for params, decays in ((group.decayed, True), (group.undecayed, False)):
            if params:
                param_groups.append({"params": list(params), "weight_decay": 0.0, "decays": decays})
    return optim.AdamW(param_groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def set_schedule(optimiser: optim.Optimizer, lr: float, weight_decay: float) -> None:
    """Set this step's learning rate, and weight decay on matrices only."""
    for group in optimiser.param_groups:
        group["lr"] = lr
        group["weight_decay"] = weight_decay if group["decays"] else 0.0


def gradient_norms(groups: Sequence[ParamGroup]) -> dict[str, Float[Tensor, ""]]:
    """Return each group's L2 norm over all its gradients; of sharded ones over this process's."""
    return {
        group.name: nn.utils.get_total_norm(
            [own_part(param.grad) for param in _params(group) if param.grad is not None]
        )
        for group in groups
    }


def clip_gradients(
    groups: Sequence[ParamGroup], norms: dict[str, Float[Tensor, ""]], max_norm: float
) -> None:
    """Scale each group's gradients down to `max_norm` where their norm is larger."""
    for group in groups:
        nn.utils.clip_grads_with_norm_(_params(group), max_norm, norms[group.name])


def all_finite(values: Sequence[Float[Tensor, ""]]) -> bool:
    """Whether all scalars are finite; one transfer from the device for all."""
    return bool(torch.isfinite(torch.stack(list(values))).all())


def _params(group: ParamGroup) -> list[nn.Parameter]:
    return [*group.decayed, *group.undecayed]
