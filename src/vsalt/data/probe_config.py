"""Settings of the clips that probes are trained and tested on; loads no torch."""

import math
from dataclasses import dataclass, field
from typing import Literal

from vsalt.data.config import ClipConfig, crop_problems
from vsalt.errors import report_problems

MAX_MAGNITUDE = 10.0
"""The greatest magnitude of RandAugment."""


@dataclass(frozen=True, kw_only=True)
class RandAugmentConfig:
    """How strongly RandAugment changes a clip; the defaults are rand-m7-n4-mstd0.5-inc1."""

    num_ops: int = 4
    """Operations that are drawn, with replacement, out of 15."""
    magnitude: float = 7.0
    """Mean strength of an operation, 0 to 10."""
    magnitude_std: float = 0.5
    """Standard deviation of the strength."""
    probability: float = 0.5
    """Probability that a drawn operation is used."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if self.num_ops < 0:
            problems.append(f"randaugment.num-ops is {self.num_ops}; it must be 0 or more")
        if not 0 <= self.magnitude <= MAX_MAGNITUDE:
            problems.append(f"randaugment.magnitude is {self.magnitude}; it must be in [0, 10]")
        if not 0 <= self.magnitude_std < math.inf:
            problems.append(
                f"randaugment.magnitude-std is {self.magnitude_std}; it must be 0 or more, finite"
            )
        if not 0 <= self.probability <= 1:
            problems.append(f"randaugment.probability is {self.probability}; it must be in [0, 1]")
        report_problems(problems)


@dataclass(frozen=True, kw_only=True)
class ProbeClipConfig:
    """Which clips a probe gets of a row, and how their frames are cut out and changed.

    The defaults are for tests: windows at fixed places, crops without randomness.
    """

    clip: ClipConfig
    """What a clip is."""
    segments: int = 1
    """Parts of equal length that a row's stretch is cut into; each gives one window."""
    views: int = 1
    """Crops per window, spread evenly over the long side; 1 takes the middle."""
    augment: Literal["none", "crop", "randaugment"] = "none"
    """none: the evenly spread crops. crop: one random crop per window. randaugment: RandAugment,
    then one random crop."""
    window: Literal["random", "fixed"] = "fixed"
    """Where in its part a window lies: drawn anew in every pass, or in the middle."""
    erase: float = 0.0
    """Probability that a box of a clip is replaced by noise. Needs an augmentation."""
    flip: float = 0.0
    """Probability of a left-right flip. Needs an augmentation."""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Area of a random crop as a share of the frame."""
    crop_ratio: tuple[float, float] = (0.75, 4 / 3)
    """Width over height of a random crop."""
    antialias: bool = True
    """Average over source pixels when shrinking. V-JEPA's own pipeline does not."""
    randaugment: RandAugmentConfig = field(default_factory=RandAugmentConfig)
    """Strength of RandAugment."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if self.segments < 1:
            problems.append(f"segments is {self.segments}; it must be at least 1")
        if self.views < 1:
            problems.append(f"views is {self.views}; it must be at least 1")
        if self.augment != "none" and self.views > 1:
            problems.append(
                f"views is {self.views} and augment is {self.augment}; a random crop is one view "
                "per window: give views 1, or augment none for evenly spread crops"
            )
        for name in ("erase", "flip"):
            probability = getattr(self, name)
            if not 0 <= probability <= 1:
                problems.append(f"{name} is {probability}; it must be in [0, 1]")
            elif probability and self.augment == "none":
                problems.append(
                    f"{name} is {probability} and augment is none, which changes nothing at "
                    f"random; give {name} 0, or augment crop or randaugment"
                )
        problems += crop_problems("", self.crop_scale, self.crop_ratio)
        report_problems(problems)
