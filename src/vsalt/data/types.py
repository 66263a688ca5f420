"""Plain types that the loader hands to the trainer."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from jaxtyping import UInt8
from torch import Tensor

from vsalt.masking.types import MaskBatch


class SampleKey(NamedTuple):
    """Names one clip of a run; its randomness is a function of (seed, step, position)."""

    step: int
    position: int


class BadFile(NamedTuple):
    """A file that could not be read, and the sample whose place another clip has taken.

    Attributes:
        step: of the sample.
        position: of the sample.
        attempt: how many files had failed in the sample's place before.
        path: the file.
        error: why it could not be read.
        timed_out: whether it took too long, or its worker process died of it; on another day it
            might not.
    """

    step: int
    position: int
    attempt: int
    path: str
    error: str
    timed_out: bool = False


@dataclass(frozen=True)
class Batch:
    """A micro-batch: B clips with their masks.

    Attributes:
        clips: frames in RGB, shape (B, 3, T, H, W); in memory the channels of a pixel may be
            neighbours.
        masks: one entry per mask kind, in the order of the maskers.
        rows: index of each clip's row in the catalogue.
        bad_files: what had to be replaced while this batch was read.
        latents: a cached teacher's latents of each clip, as its cache encodes them; None without.
        repeats: so many neighbours are views of one decoded clip.
    """

    clips: UInt8[Tensor, "B 3 T H W"]
    masks: tuple[MaskBatch, ...]
    rows: tuple[int, ...]
    bad_files: tuple[BadFile, ...] = ()
    latents: UInt8[Tensor, "B bytes"] | None = None
    repeats: int = 1

    @property
    def num_reads(self) -> int:
        """Clips that were tried to be decoded."""
        return len(self.rows) // self.repeats + len(self.bad_files)

    def pin_memory(self) -> "Batch":
        """Return the batch with its tensors in page-locked memory."""
        return replace(
            self,
            clips=self.clips.pin_memory(),
            masks=tuple(
                MaskBatch(mask.context.pin_memory(), mask.targets.pin_memory())
                for mask in self.masks
            ),
            latents=None if self.latents is None else self.latents.pin_memory(),
        )

    def to(self, device: str) -> "Batch":
        """Return the batch with its tensors on `device`."""
        return Batch(
            clips=self.clips.to(device, non_blocking=True),
            masks=tuple(mask.to(device, non_blocking=True) for mask in self.masks),
            rows=self.rows,
            bad_files=self.bad_files,
            latents=(None if self.latents is None else self.latents.to(device, non_blocking=True)),
            repeats=self.repeats,
        )
