"""The options that all verbs share which compute features."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from vsalt.data.config import ReadLimits

if TYPE_CHECKING:
    from vsalt.training.extract import ExtractConfig


@dataclass(frozen=True, kw_only=True)
class ReadArgs:
    """How clips are read and encoded; results do not depend on it but for rounding."""

    batch_size: int = 16
    """Clips that are encoded at once."""
    workers: int = 2
    """Worker processes that decode; 0 decodes in the main process."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the encoder runs; auto: cuda where there is one."""
    limits: ReadLimits = field(default_factory=ReadLimits)
    """What a file may cost before it counts as unreadable."""


@dataclass(frozen=True, kw_only=True)
class ExtractArgs(ReadArgs):
    """How features are computed."""

    segments: int = 1
    """Windows per row, spread evenly; features are averaged over them. 1: the middle of the row."""
    pooling: Literal["mean", "mean_space"] = "mean"
    """mean: over all tokens. mean_space: over space, with the time steps side by side."""
    layers: tuple[int, ...] = (-1,)
    """Encoder blocks whose pooled outputs are put side by side; -1 is the last."""

    def config(self, stride_s: float | None = None) -> "ExtractConfig":
        """Return the settings of extraction; `stride_s` asks for sliding windows."""
        from vsalt.training.extract import ExtractConfig, WindowConfig

        return ExtractConfig(
            windows=WindowConfig(per_row=self.segments, stride_s=stride_s),
            pooling=self.pooling,
            layers=self.layers,
            batch_size=self.batch_size,
            workers=self.workers,
            device=self.device,
            limits=self.limits,
        )
