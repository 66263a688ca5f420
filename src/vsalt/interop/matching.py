"""Tensors of one network under the names of another: which of ours is which of theirs.

A match is a linear map, a convolution or a norm: a module with a weight and a bias. Where they have
several maps in the place of one of ours (queries, keys and values), theirs are joined along the
first axis, in the order given. Everything is strict: a tensor that is missing, or left over, is an
error that names it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vsalt.errors import WeightsError

_KINDS = ("weight", "bias")


@dataclass(frozen=True)
class Match:
    """One module of ours, and the modules of theirs that hold the same.

    Attributes:
        ours: name of our module.
        theirs: names of their modules, in the order in which ours joins them.
    """

    ours: str
    theirs: tuple[str, ...]

    def below(self, ours: str, theirs: str) -> "Match":
        """Return the match with prefixes before both sides."""
        return replace(
            self, ours=f"{ours}{self.ours}", theirs=tuple(f"{theirs}{name}" for name in self.theirs)
        )


def match(ours: str, *theirs: str) -> Match:
    """Return a match.

    Example:
        >>> match("attn.qkv", "query", "key", "value").below("blocks.0.", "layer.0.").theirs[0]
        'layer.0.query'
    """
    return Match(ours, theirs)


def repeated(
    matches: Sequence[Match], number: int, *, ours: str = "blocks", theirs: str
) -> list[Match]:
    """Return the matches of `number` equal blocks, called `ours.0.…` and `theirs.0.…` and so on."""
    return [
        one.below(f"{ours}.{index}.", f"{theirs}.{index}.")
        for index in range(number)
        for one in matches
    ]


def to_theirs(tensors: Mapping[str, Tensor], matches: Sequence[Match]) -> dict[str, Tensor]:
    """Return our tensors under their names, divided where they have several modules.

    Args:
        tensors: ours; those that no match names are left out.
        matches: which is which.
    """
    found: dict[str, Tensor] = {}
    for one in matches:
        for kind in _KINDS:
            parts = tensors[f"{one.ours}.{kind}"].chunk(len(one.theirs))
            for name, part in zip(one.theirs, parts, strict=True):
                # A copy: formats that look for shared storage would take parts of one for ties.
                found[f"{name}.{kind}"] = part.clone()
    return found


def take_ours(
    tensors: dict[str, Tensor], matches: Sequence[Match], source: str
) -> dict[str, Tensor]:
    """Take their tensors out of a dictionary, and return them under our names, joined.

    Args:
        tensors: theirs; what is taken is removed.
        matches: which is which.
        source: what messages call the origin.

    Raises:
        WeightsError: if one is missing, or parts of one of ours differ in their inputs.
    """
    wanted = [f"{name}.{kind}" for one in matches for name in one.theirs for kind in _KINDS]
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise WeightsError(
            f"the weights in {source} lack\n" + "\n".join(f"  {name}" for name in missing)
        )
    found: dict[str, Tensor] = {}
    for one in matches:
        for kind in _KINDS:
            parts = [tensors.pop(f"{name}.{kind}") for name in one.theirs]
            if len({part.shape[1:] for part in parts}) > 1:
                shapes = ", ".join(str(list(part.shape)) for part in parts)
                raise WeightsError(f"{source}: {', '.join(one.theirs)} have shapes {shapes}")
            found[f"{one.ours}.{kind}"] = torch.cat(parts) if len(parts) > 1 else parts[0]
    return found


def refuse_rest(tensors: Mapping[str, Tensor], source: str) -> None:
    """Check that nothing is left over.

    Raises:
        WeightsError: with what is.
    """
    if tensors:
        lines = (f"  {name} {list(tensor.shape)}" for name, tensor in sorted(tensors.items()))
        raise WeightsError(
            f"the weights in {source} have tensors that vsalt's networks have not:\n"
            + "\n".join(lines)
        )


def float32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors in float32 on the CPU, as vsalt keeps all weights."""
    return {name: tensor.detach().to("cpu", torch.float32) for name, tensor in tensors.items()}


def depth_of(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many blocks there are: one more than the highest number after `prefix.`."""
    start = f"{prefix}."
    numbers = {
        int(part)
        for part in (
            name.removeprefix(start).partition(".")[0] for name in tensors if name.startswith(start)
        )
        if part.isdecimal()
    }
    return max(numbers) + 1 if numbers else 0
