"""Curves: points by step, with gaps, thinned without losing an extreme."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

MOST_POINTS = 400
"""About how many points of a curve are drawn: more than a chart has pixels would not show."""
KEPT_PER_BUCKET = 5

Point: TypeAlias = tuple[float, float | None]
"""Step, and value; None where there was none to write (not finite): a gap."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve.

    Attributes:
        name: what it is called in the legend.
        key: what is written at its end, a word or a letter; may be empty.
        look: number of its colour, dashes and marks.
        points: in the order of the steps.
        num_records: points there were before thinning.
    """

    name: str
    key: str
    look: int
    points: tuple[Point, ...]
    num_records: int

    @property
    def values(self) -> list[float]:
        """All values but the gaps."""
        return [value for _, value in self.points if value is not None]

    @property
    def is_thinned(self) -> bool:
        """Whether not every record is drawn."""
        return len(self.points) < self.num_records


def series_of(
    records: Iterable[Mapping[str, Any]], key: str, *, name: str, label: str = "", look: int = 0
) -> Series | None:
    """Return the curve of one key of a log, or None if no record has it.

    Records without the key are passed over; where its value is null, or no number, there is a gap.
    """
    points = [(float(record["step"]), finite(record[key])) for record in records if key in record]
    if not points:
        return None
    return Series(name=name, key=label, look=look, points=thin(points), num_records=len(points))


def finite(value: object) -> float | None:
    """Return a number that is one; None for null, text, infinity and the like."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    # JSON holds whole numbers of any length.
    except OverflowError:
        return None


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> tuple[Point, ...]:
    """Return at most `most` points, with the extremes, the ends and the gaps of every stretch.

    The points are divided into stretches of equal length; each keeps its first and last point, its
    lowest and highest value and its first gap, in their order.

    Example:
        >>> len(thin([(step, step % 7) for step in range(10_000)])) <= 400
        True
    """
    if len(points) <= most:
        return tuple(points)
    num_buckets = max(1, most // KEPT_PER_BUCKET)
    kept: list[Point] = []
    for bucket in range(num_buckets):
        begin = bucket * len(points) // num_buckets
        end = (bucket + 1) * len(points) // num_buckets
        kept += [points[index] for index in sorted(_kept(points, range(begin, end)))]
    return tuple(kept)


def _kept(points: Sequence[Point], bucket: range) -> set[int]:
    measured = {index: value for index in bucket if (value := points[index][1]) is not None}
    kept = {bucket[0], bucket[-1]}
    if measured:
        kept |= {min(measured, key=measured.__getitem__), max(measured, key=measured.__getitem__)}
    gap = next((index for index in bucket if points[index][1] is None), None)
    return kept if gap is None else kept | {gap}


def segments(points: Iterable[Point]) -> list[list[tuple[float, float]]]:
    """Return the stretches between gaps.

    Example:
        >>> segments([(1, 0.5), (2, None), (3, 0.25)])
        [[(1, 0.5)], [(3, 0.25)]]
    """
    found: list[list[tuple[float, float]]] = [[]]
    for step, value in points:
        if value is not None:
            found[-1].append((step, value))
        elif found[-1]:
            found.append([])
    return [segment for segment in found if segment]
