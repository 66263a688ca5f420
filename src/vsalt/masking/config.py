"""Settings of masks: one dataclass per family, told apart by `name`."""

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal, TypeAlias

from vsalt.errors import report_problems

MaskName = Literal["multiblock", "tube", "random", "causal"]
Policy = Literal["budget", "batch_min"]
TargetChoice = Literal["random", "running_cell"]
CELL_TOKENS = 4
"""Tokens of a running cell, 2 x 2 of one time step."""


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """How many of the hidden tokens are predicted, and which; the same for every family."""

    target_share: float = 1.0
    """Share of the hidden tokens that are predicted; the encoder sees what it would see with 1."""
    target_choice: TargetChoice = "random"
    """Below a share of 1, which ones: drawn at random, or first those of VideoMAE V2's running
    cell, which is spread evenly over space and time; then the share is 0.25, 0.5 or 0.75."""

    def _target_problems(self) -> list[str]:
        share = self.target_share
        if not 0 < share <= 1:
            return [f"masks.target-share is {share}; it must be above 0 and at most 1"]
        cells = [number / CELL_TOKENS for number in range(1, CELL_TOKENS)]
        if self.target_choice == "running_cell" and share not in cells:
            return [
                f"masks.target-share is {share}, but --masks.target-choice running_cell takes "
                f"{', '.join(map(str, cells))} only; give one of them, or --masks.target-choice "
                "random"
            ]
        return []


@dataclass(frozen=True, kw_only=True)
class BlocksConfig:
    """One kind of multi-block mask: the union of a few blocks is hidden."""

    num_blocks: int
    """Blocks per clip, all of the same size."""
    spatial_scale: float
    """Area of a block as a share of the frame."""
    temporal_scale: float = 1.0
    """Length of a block as a share of the clip; below 1, middle steps are hidden more often."""
    max_temporal_keep: float = 1.0
    """Share of the time steps, from the first one, that may hold context; later ones are hidden."""
    num_context: int | None = None
    """Tokens the encoder sees, per clip. Unset: the mean that V-JEPA's truncation reaches."""
    num_targets: int | None = None
    """Tokens to predict, per clip. Unset: the mean that V-JEPA's truncation reaches."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if self.num_blocks < 1:
            problems.append(f"masks num-blocks is {self.num_blocks}; it must be at least 1")
        for name in ("spatial_scale", "temporal_scale", "max_temporal_keep"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                problems.append(f"masks {name.replace('_', '-')} is {value}; it must be in (0, 1]")
        for name in ("num_context", "num_targets"):
            value = getattr(self, name)
            if value is not None and value < 1:
                problems.append(f"masks {name.replace('_', '-')} is {value}; it must be at least 1")
        report_problems(problems)


@dataclass(frozen=True, kw_only=True)
class MultiblockConfig(TargetConfig):
    """V-JEPA's multi-block masks: many small blocks (short), and a few large ones (long)."""

    name: Literal["multiblock"] = "multiblock"
    """Which masker."""
    policy: Policy = "budget"
    """How clips get equally many tokens: random subsets (budget), or V-JEPA's cut (batch_min)."""
    group_size: int = 24
    """Clips of a group, with batch_min; loop.micro-batch-size must be the same."""
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
    num_pairs: int = 1
    """Times that a clip is hidden by both kinds of masks; the target is computed once for all."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        low, high = self.aspect_ratio
        if not 0 < low <= high < math.inf:
            problems.append(
                f"masks.aspect-ratio is {self.aspect_ratio}; it must be 0 < low <= high, finite"
            )
        for name in ("group_size", "num_pairs"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                problems.append(f"masks.{flag} is {getattr(self, name)}; it must be at least 1")
        report_problems([*problems, *self._counts_without_budget(), *self._target_problems()])

    @property
    def kinds(self) -> dict[str, BlocksConfig]:
        """The mask kinds by name, in the order in which they are applied."""
        return {"short": self.short, "long": self.long}

    @property
    def kind_names(self) -> tuple[str, ...]:
        """A name for every mask of a clip, in order: short, long, short_2, long_2, ..."""
        later = range(2, self.num_pairs + 1)
        return (*self.kinds, *(f"{kind}_{number}" for number in later for kind in self.kinds))

    def blocks_of(self, name: str) -> BlocksConfig:
        """Return the settings of the mask with a name of `kind_names`."""
        return self.kinds[name.partition("_")[0]]

    def without_counts(self) -> "MultiblockConfig":
        """Return the settings without numbers of tokens, which belong to one grid."""
        kinds = {
            name: replace(blocks, num_context=None, num_targets=None)
            for name, blocks in self.kinds.items()
        }
        return replace(self, short=kinds["short"], long=kinds["long"])

    def _counts_without_budget(self) -> list[str]:
        if self.policy == "budget":
            return []
        return [
            f"masks.{kind}.{name.replace('_', '-')} is {getattr(blocks, name)}, but with "
            "--masks.policy batch_min the group decides; set it to None, or --masks.policy budget"
            for kind, blocks in self.kinds.items()
            for name in ("num_context", "num_targets")
            if getattr(blocks, name) is not None
        ]


@dataclass(frozen=True, kw_only=True)
class RatioConfig(TargetConfig):
    """What the families have in common that hide a fixed share of every clip."""

    name: str
    """Which masker."""
    ratio: float = 0.9
    """Share that is hidden, of a frame's places (tube) or a clip's tokens; of N, floor(N (1 -
    ratio)) are seen."""
    num_masks: int = 1
    """Masks per clip, drawn independently."""

    def __post_init__(self) -> None:
        """Check the settings."""
        report_problems([*_ratio_problems(self.ratio, self.num_masks), *self._target_problems()])

    @property
    def kind_names(self) -> tuple[str, ...]:
        """tube_1, tube_2, ... and likewise for the other families."""
        return tuple(f"{self.name}_{number}" for number in range(1, self.num_masks + 1))


@dataclass(frozen=True, kw_only=True)
class TubeConfig(RatioConfig):
    """Tubes: the same places of the frame are hidden at all times (VideoMAE)."""

    name: Literal["tube"] = "tube"
    """Which masker."""


@dataclass(frozen=True, kw_only=True)
class RandomConfig(RatioConfig):
    """Random tokens are hidden, each on its own."""

    name: Literal["random"] = "random"
    """Which masker."""


@dataclass(frozen=True, kw_only=True)
class CausalConfig(RatioConfig):
    """The beginning of the clip is seen, the rest is hidden; masks differ in one time step."""

    name: Literal["causal"] = "causal"
    """Which masker."""


MaskConfig: TypeAlias = MultiblockConfig | TubeConfig | RandomConfig | CausalConfig
MASKS: dict[
    str, type[MultiblockConfig] | type[TubeConfig] | type[RandomConfig] | type[CausalConfig]
] = {
    "multiblock": MultiblockConfig,
    "tube": TubeConfig,
    "random": RandomConfig,
    "causal": CausalConfig,
}


def num_kept(num_items: int, ratio: float) -> int:
    """Return floor(num_items (1 - ratio)), with the ratio as the decimal number that it prints as.

    In binary floating point 100 (1 - 0.9) is just below 10.
    """
    return int(num_items * (1 - Fraction(repr(ratio))))


def _ratio_problems(ratio: float, num_masks: int) -> list[str]:
    problems = []
    if not 0 < ratio < 1:
        problems.append(
            f"masks.ratio is {ratio}; it must be above 0 (some token is predicted) and below 1 "
            "(some token is seen)"
        )
    if num_masks < 1:
        problems.append(f"masks.num-masks is {num_masks}; it must be at least 1")
    return problems
