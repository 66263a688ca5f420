"""Weights of which several processes hold a part each.

A sharded weight is a DTensor: it has the shape of the whole, and this process holds some of its
rows. DTensors are known by their methods, so that what never meets one does not import them.
"""

import torch
from torch import Tensor


@torch.no_grad()
def own_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor, sharing memory with it; maybe no rows."""
    to_local = getattr(tensor, "to_local", None)
    if to_local is None:
        return tensor
    part: Tensor = to_local()
    return part


@torch.no_grad()
def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor; of a sharded one all processes must ask at once."""
    full_tensor = getattr(tensor, "full_tensor", None)
    if full_tensor is None:
        return tensor
    full: Tensor = full_tensor()
    return full
