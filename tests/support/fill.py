"""Tensors given by a formula, so that expected numbers can be stated without files."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn


def det(*shape: int, k: float = 1.0, s: float = 0.37) -> Tensor:
    """k sin(s i + 0.11 cos(0.013 i^2 mod 6.283)) for flat index i = 0, 1, ..., as float32."""
    i = np.arange(math.prod(shape), dtype=np.float64)
    values = k * np.sin(s * i + 0.11 * np.cos((0.013 * i * i) % 6.283))
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def chirp(*shape: int, rate: float) -> Tensor:
    """sin(rate (i + 1)^2), as float64: unlike `det`, its matrices have full rank."""
    i = np.arange(1, math.prod(shape) + 1, dtype=np.float64)
    return torch.from_numpy(np.sin(rate * i * i).reshape(shape))


def filled(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Return parameters of these shapes, float64, all of a size that matters to the output.

    Parameter number n in the order of names is a chirp of rate 0.7 + 0.013 n: matrices times
    1.5 / sqrt(inputs), vectors times 0.3, and one more for the weights of norms.
    """
    found = {}
    for n, (name, shape) in enumerate(sorted(shapes.items())):
        values = chirp(*shape, rate=0.7 + 0.013 * n)
        values *= 1.5 / math.sqrt(math.prod(shape[1:])) if len(shape) >= 2 else 0.3
        is_norm = "norm" in name and name.endswith("weight")
        found[name] = values + 1 if is_norm else values
    return found


def fill_parameters(module: nn.Module) -> None:
    """Give every parameter the values of `filled`."""
    values = filled({name: param.shape for name, param in module.named_parameters()})
    with torch.no_grad():
        for name, param in module.named_parameters():
            param.copy_(values[name])


def swapped_pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of every two parameters of one shape, while they are swapped."""
    params = dict(module.named_parameters())
    for (one, a), (two, b) in itertools.combinations(params.items(), 2):
        if a.shape == b.shape:
            a.data, b.data = b.data, a.data
            yield one, two
            a.data, b.data = b.data, a.data
