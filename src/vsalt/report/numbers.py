"""Numbers as a report writes them."""

import math

PREFIXES = "KMGTPEZY"


def number(value: float | int | None, digits: int = 4) -> str:
    """Return a number to some significant digits, a whole one in full; none is a dash.

    Example:
        >>> number(0.123456), number(1.00004), number(3.0), number(None)
        ('0.1235', '1.000', '3', '–')
    """
    if value is None:
        return "–"
    if value == int(value) or abs(value) >= 10**digits:
        return f"{value:,.0f}"
    # Zeros at the end keep numbers of one curve alike; of small ones they only add length.
    text = f"{value:#.{digits}g}" if abs(value) >= 0.1 else f"{value:.{digits}g}"
    # Rounding may have led to the next power of ten.
    return f"{value:,.0f}" if "e+" in text else text.removesuffix(".")


def count(value: float | int | None) -> str:
    """Return a whole number in groups of three digits."""
    return "–" if value is None else f"{value:,.0f}"


def percent(share: float | int | None) -> str:
    """Return a share as a percentage.

    Example:
        >>> percent(0.125)
        '12.5 %'
    """
    return "–" if share is None else f"{100 * share:.1f} %"


def flops(operations: float | int | None) -> str:
    """Return a number of operations, written as the plan of a run and its progress write it."""
    return "–" if operations is None else f"{operations:.2e}"


def duration(seconds: float | int | None) -> str:
    """Return a time span in its two largest units.

    Example:
        >>> duration(3725)
        '1 h 02 min'
    """
    if seconds is None:
        return "–"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d} h"


def short(value: float | int) -> str:
    """Return a number for a tick: at most four digits, thousands by prefix.

    Example:
        >>> short(12000), short(0.25), short(0.00002)
        ('12K', '0.25', '2e-05')
    """
    size = abs(value)
    if size < 10_000:
        return f"{value:.4g}"
    power = min(int(math.log10(size) / 3), len(PREFIXES))
    return f"{value / 1000**power:.4g}{PREFIXES[power - 1]}"


def plural(amount: int, what: str) -> str:
    """Return an amount with its noun.

    Example:
        >>> plural(1, "run"), plural(1200, "run")
        ('1 run', '1,200 runs')
    """
    return f"{amount:,} {what}" + ("" if amount == 1 else "s")
