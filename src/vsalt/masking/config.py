"""Settings of masks."""

from dataclasses import dataclass, field
from typing import Literal

from vsalt.errors import report_problems


@dataclass(frozen=True, kw_only=True)
class BlocksConfig:
    """One kind of multi-block mask: the union of a few blocks is hidden."""

    num_blocks: int
    """Blocks per clip, all of the same size."""
    spatial_scale: float
    """Area of a block as a share of the frame."""
    temporal_scale: float = 1.0
    """Length of a block as a share of the clip."""
    num_context: int | None = None
    """Tokens the encoder sees, per clip. Unset: the mean that V-JEPA's truncation reaches."""
    num_targets: int | None = None
    """Tokens to predict, per clip. Unset: the mean that V-JEPA's truncation reaches."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if self.num_blocks < 1:
            problems.append(f"masks num-blocks is {self.num_blocks}; it must be at least 1")
        for name in ("spatial_scale", "temporal_scale"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                problems.append(f"masks {name.replace('_', '-')} is {value}; it must be in (0, 1]")
        for name in ("num_context", "num_targets"):
            value = getattr(self, name)
            if value is not None and value < 1:
                problems.append(f"masks {name.replace('_', '-')} is {value}; it must be at least 1")
        report_problems(problems)


@dataclass(frozen=True, kw_only=True)
class MultiblockConfig:
    """V-JEPA's multi-block masks: many small blocks (short), and a few large ones (long)."""

    name: Literal["multiblock"] = "multiblock"
    """Which masker."""
    policy: Literal["budget"] = "budget"
    """How every clip gets the same number of tokens. budget: a random subset of fixed size."""
    aspect_ratio: tuple[float, float] = (0.75, 1.5)
    """Height over width of a block, drawn uniformly."""
    short: BlocksConfig = field(
        default_factory=lambda: BlocksConfig(num_blocks=8, spatial_scale=0.15)
    )
    """Many small blocks."""
    long: BlocksConfig = field(
        default_factory=lambda: BlocksConfig(num_blocks=2, spatial_scale=0.7)
    )
    """A few large blocks."""

    def __post_init__(self) -> None:
        """Check the settings."""
        low, high = self.aspect_ratio
        if not 0 < low <= high:
            report_problems(
                [f"masks.aspect-ratio is {self.aspect_ratio}; it must be 0 < low <= high"]
            )

    @property
    def kinds(self) -> dict[str, BlocksConfig]:
        """The mask kinds by name, in the order in which they are applied."""
        return {"short": self.short, "long": self.long}
