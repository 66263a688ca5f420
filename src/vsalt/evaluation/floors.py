"""Floors: features of clips without a network, which an encoder must beat to be worth its training.

Shapes: B clips, T frames, H x W pixels, h x w after shrinking.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vsalt.data.config import ClipConfig
from vsalt.evaluation.subjects import Subject
from vsalt.training.extract import ClipFeatures, ExtractConfig

FloorName: TypeAlias = Literal["raw_pixels", "frame_difference"]
FLOORS: tuple[FloorName, ...] = get_args(FloorName)
MAX_SIDE = 16
"""Frames are shrunk to at most so many pixels per side."""


@torch.no_grad()
def raw_pixels(clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B F"]:
    """Return the shrunk frames (see `shrink`) side by side, F = T * 3 * h * w."""
    return shrink(clips).flatten(1)


@torch.no_grad()
def frame_difference(clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B F"]:
    """Return |x[t + 1] - x[t]| of the shrunk frames x side by side, F = (T - 1) * 3 * h * w.

    They are absolute since signed differences are linear in the raw pixels: a linear probe would
    learn nothing from them that it could not learn from the pixels.
    """
    return shrink(clips).diff(dim=1).abs().flatten(1)


def shrink(clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B T 3 h w"]:
    """Return frames of min(H, 16) x min(W, 16) pixels with values in [0, 1].

    Each new pixel is the mean over its area: pixel i of h covers [i H / h, (i + 1) H / h) of the H
    old ones, of which those at the ends may count in part.
    """
    frames = clips.transpose(1, 2).float() / 255
    down, across = (_averages(side, clips.device) for side in clips.shape[-2:])
    return down @ frames @ across.T


def _averages(side: int, device: torch.device) -> Float[Tensor, "new old"]:
    """Return the share of every old pixel in every new one."""
    new_side = min(side, MAX_SIDE)
    edges = torch.arange(new_side + 1, dtype=torch.float64) * side / new_side
    old = torch.arange(side, dtype=torch.float64)
    end = torch.minimum(edges[1:, None], old + 1)
    begin = torch.maximum(edges[:-1, None], old)
    shares = (end - begin).clamp(min=0) * new_side / side
    return shares.float().to(device)


@dataclass(frozen=True)
class _Rule:
    """How a floor is called in tables, and what it computes."""

    title: str
    function: ClipFeatures


_RULES: dict[FloorName, _Rule] = {
    "raw_pixels": _Rule("raw pixels", raw_pixels),
    "frame_difference": _Rule("frame differences", frame_difference),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class FloorSubject(Subject):
    """A floor beside an encoder, on the same clips.

    Attributes:
        function: computes the features.
    """

    function: ClipFeatures

    def features(self, config: ExtractConfig) -> ClipFeatures:  # noqa: ARG002
        """Return the function; pooling and layers are of encoders, and mean nothing to it."""
        return self.function


def floor(name: FloorName, clip: ClipConfig, *, antialias: bool) -> FloorSubject:
    """Return a floor as a subject.

    Args:
        name: which one.
        clip: what clips it is given; those of the encoder it stands beside.
        antialias: how their frames are shrunk before, likewise.
    """
    rule = _RULES[name]
    return FloorSubject(
        name=rule.title,
        role="floor",
        sha256=rule_hash(name),
        clip=clip,
        antialias=antialias,
        function=rule.function,
    )


def rule_hash(name: FloorName) -> str:
    """Return what stands for a floor where encoders have the hash of their weights.

    It is the hash of the floor's name and the side that frames are shrunk to, and changes with the
    rule.
    """
    return hashlib.sha256(f"vsalt floor: {name}, {MAX_SIDE}".encode()).hexdigest()
