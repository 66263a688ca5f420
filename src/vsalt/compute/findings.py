"""What has been measured about spending compute, and between which limits: the one place for it.

`vsalt plan` rests on these and on nothing else. A finding of ours goes here, with its range and
the page of docs/results that shows it.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something measured.

    Attributes:
        says: what was found.
        source: where it is printed.
        measured: on what.
        low: lower end of what was tried, in `unit`.
        high: upper end.
        unit: of both ends.
    """

    says: str
    source: str
    measured: str
    low: int | float
    high: int | float
    unit: str

    def distance(self, value: int | float) -> str:
        """Say how far a value is from what was tried.

        Example:
            >>> FINDINGS["budget"].distance(5e13)
            '10^7 times below the least measured (4.8e+20 FLOPs by 6ND)'
            >>> FINDINGS["budget"].distance(1e21)
            'within what was measured'
        """
        if value < self.low / SLACK:
            return f"{times(self.low / value)} below the least measured ({_end(self.low, self)})"
        if value > self.high * SLACK:
            return f"{times(value / self.high)} above the most measured ({_end(self.high, self)})"
        return "within what was measured"


SLACK = 1.02
"""Ends are rounded as printed; so much beyond them is no distance."""
PAPER = "arXiv 2509.24317"
SIZES = ("B", "L", "H", "g", "G")
"""Encoders of all of the paper's findings."""

FINDINGS = {
    "budget": Finding(
        says="SALT passes V-JEPA 2 on less compute",
        source=f"{PAPER}, tables 1 and 16",
        measured="3.6 million videos, ViT-B to G, 120,000 to 240,000 steps of 3,072 clips",
        low=4.79e20,
        high=2.617e21,
        unit="FLOPs by 6ND",
    ),
    "split": Finding(
        says="of two-stage splits, 40,000 teacher steps were best at 120,000, 160,000 and 240,000 "
        "steps: 1/3, 1/4 and 1/6 of them; a longer teacher is a better encoder, but no better "
        "teacher",
        source=f"{PAPER}, table 16",
        measured="ViT-L under ViT-L, 20,000, 40,000 and 80,000 teacher steps",
        low=120_000 * 3072,
        high=240_000 * 3072,
        unit="clips",
    ),
    "teacher": Finding(
        says="a ViT-B teacher already lifts a ViT-G student (78.3, with a ViT-L 79.0); above ViT-L "
        "a larger teacher changes the student by less than a point",
        source=f"{PAPER}, table 14",
        measured="teachers B, L, H, G of students L and G, 80,000 + 80,000 steps",
        low=160_000 * 3072,
        high=160_000 * 3072,
        unit="clips",
    ),
    "batch": Finding(
        says="6.25e-4 at 3,072 clips per step; other batches were not tried, and the square root "
        "is the usual rule for AdamW, not theirs",
        source=f"{PAPER}, table 5",
        measured="3,072 clips per step, all sizes",
        low=3072,
        high=3072,
        unit="clips per step",
    ),
    "passes": Finding(
        says="240,000 steps are 203 passes over the data, and the gain from size levels off, which "
        "its authors blame on too little data",
        source=f"{PAPER}, tables 1 and 2",
        measured="3.6 million videos",
        low=101,
        high=203,
        unit="passes",
    ),
    "small budgets": Finding(
        says="at 1e12, 2.2e12 and 5e12 FLOPs V-Pixel alone was ahead of SALT by 25, 37 and 15 "
        "points under a teacher of the student's size, and by 23, 7 (within the uncertainty) and "
        "16 under one of half the depth and width, which needs fewer FLOPs to be above random "
        "weights",
        source="docs/results/compute-frontier.md",
        measured="made-up videos, a student of 0.2 million parameters, three seeds",
        low=1e12,
        high=5e12,
        unit="FLOPs",
    ),
}
"""By the choice that they bear on."""


def teacher_steps(steps: int, batch_size: int) -> int:
    """Return how many of a two-stage run's steps the teacher gets.

    40,000 steps of 3,072 clips within what was measured; outside of it the share at the nearer
    end: a third of shorter runs, a sixth of longer ones.

    Args:
        steps: of both stages, at least 2.
        batch_size: clips per step.

    Example:
        >>> [teacher_steps(steps, 3072) for steps in (60_000, 160_000, 240_000, 600_000)]
        [20000, 40000, 40000, 100000]
    """
    best = 40_000 * 3072 // batch_size
    return min(max(best, math.ceil(steps / 6)), max(1, steps // 3))


def times(factor: int | float) -> str:
    """Write a factor: 1.03 times, 2.4 times, 310 times, 10^7 times."""
    if factor >= 1000:
        return f"10^{round(math.log10(factor))} times"
    if factor < 1.1:
        return f"{factor:.2f} times"
    return f"{factor:.0f} times" if factor >= 10 else f"{factor:.1f} times"


def _end(value: int | float, finding: Finding) -> str:
    number = f"{value:.2g}" if value >= 1e6 else f"{value:,.0f}"
    return f"{number} {finding.unit}"
