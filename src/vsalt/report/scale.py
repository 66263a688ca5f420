"""Axes: which stretch of numbers is shown, and where its ticks are."""

import math
import re
from dataclasses import dataclass

from vsalt.report.numbers import short

NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
PLAIN = re.compile(r"-?\d+(\.\d+)?")
LOG_FROM = 30.0
"""Highest over lowest value from which on a logarithmic axis is easier to read."""

SAME = 1e-9
"""Share of their size by which values must differ to be told apart; ticks have ten digits."""
SMALLEST = 1e-300
"""What is smaller is 0."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A stretch of numbers.

    Attributes:
        low: its lower end.
        high: its upper end, above `low`.
        log: whether equal ratios take equal room; then both ends are above 0.
        ticks: values to write at the axis.
    """

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Return where a value lies, 0 at the lower and 1 at the upper end."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def labels(self) -> tuple[str, ...]:
        """Return what the ticks are called, all with as many decimals as one of them needs."""
        names = [short(tick) for tick in self.ticks]
        if self.log or not all(PLAIN.fullmatch(name) for name in names):
            return tuple(names)
        decimals = max(len(name.partition(".")[2]) for name in names)
        return tuple(f"{tick:.{decimals}f}" if tick else "0" for tick in self.ticks)


def linear(low: float, high: float, *, num_ticks: int = 4, tight: bool = False) -> Scale:
    """Return a scale that holds both ends.

    Args:
        low: lowest value.
        high: highest value, may equal `low`.
        num_ticks: steps between ticks that are aimed at.
        tight: end at the values themselves, not at the ticks around them.

    Example:
        >>> linear(0.13, 0.94).ticks
        (0.0, 0.25, 0.5, 0.75, 1.0)
    """
    size = max(abs(low), abs(high))
    if size < SMALLEST:
        low, high = 0.0, 1.0
    elif high - low <= size * SAME:
        low, high = low - size * 0.1, high + size * 0.1
    step = _nice_step((high - low) / num_ticks)
    # A hair of room, so that 0.3 / 0.1 = 2.9999999999999996 is a tick and not above one.
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(float(f"{index * step:.10g}") for index in range(first, last + 1))
    if not tight:
        return Scale(low=ticks[0], high=ticks[-1], log=False, ticks=ticks)
    inside = tuple(tick for tick in ticks if low - 1e-9 * step <= tick <= high + 1e-9 * step)
    return Scale(low=low, high=high, log=False, ticks=inside)


def _nice_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(nice * power for nice in NICE if nice * power >= step * (1 - 1e-9))


def logarithmic(low: float, high: float) -> Scale:
    """Return a logarithmic scale that holds both ends, which are above 0.

    Ticks are powers of ten, of which some are left out where there are many; where there are only
    one or two, also 2 and 5 times them.
    """
    first = math.floor(math.log10(low) + 1e-9)
    last = max(math.ceil(math.log10(high) - 1e-9), first + 1)
    stride = -(-(last - first) // 6)
    factors = (1, 2, 5) if last - first < 2 else (1,)
    powers = range(first, last + 1, stride)
    ticks = tuple(
        float(f"{factor}e{power}")
        for power in powers
        for factor in factors
        if factor == 1 or power < last
    )
    return Scale(low=10.0**first, high=10.0**last, log=True, ticks=ticks)


def spans_much(low: float, high: float) -> bool:
    """Return whether a range is easier to read on a logarithmic axis."""
    return low > 0 and high / low >= LOG_FROM
