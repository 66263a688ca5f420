"""Accuracies as horizontal bars with their intervals, and the line of chance, as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from vsalt.report.html import Element, tag
from vsalt.report.numbers import percent
from vsalt.report.scale import Scale, linear

WIDTH = 360.0
TOP, ROW, BOTTOM = 24.0, 40.0, 34.0
BAR_TOP, BAR_HEIGHT = 19.0, 10.0
CHANCE = (17.0, 38.0)
"""From where to where in a row the line of chance goes: below the labels."""
RIGHT = WIDTH - 8.0
LONGEST_NAME = 28


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One accuracy.

    Attributes:
        name: whose it is.
        value: share of rows that are right.
        interval: lower and upper end of its interval, if there is one.
        is_main: whether it is what the chart is about, or there to compare.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    is_main: bool


def bar_chart(name: str, title: str, bars: Sequence[Bar], chance: float) -> Element:
    """Return a figure of bars from 0, the interval of each as a whisker, chance as a line.

    Args:
        name: identifies it in the page; letters, digits and hyphens.
        title: what is shown.
        bars: from top to bottom; at least one.
        chance: accuracy of an even guess.
    """
    highest = max(chance, *(max((bar.value, *(bar.interval or ()))) for bar in bars))
    scale = linear(0.0, min(1.0, highest * 1.05) or 1.0)
    height = TOP + ROW * len(bars) + BOTTOM
    drawing = tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", _describe(bars, chance), id=f"{name}-text"),
        _axis(scale, height),
        [
            _bar(bar, label, scale, TOP + ROW * index)
            for index, (bar, label) in enumerate(zip(bars, _labels(bars), strict=True))
        ],
        _chance(scale, chance, len(bars)),
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_labelledby=f"{name}-title",
        aria_describedby=f"{name}-text",
    )
    lines = "Lines: 95 % intervals." if any(bar.interval for bar in bars) else None
    caption = tag("figcaption", tag("strong", title), " ", lines and tag("span", lines))
    return tag("figure", caption, drawing, class_="chart bars")


def _axis(scale: Scale, height: float) -> list[Element]:
    base = height - BOTTOM
    parts = []
    for tick in scale.ticks:
        x = scale.share(tick) * RIGHT
        anchor = "start" if tick == scale.ticks[0] else "middle"
        anchor = "end" if tick == scale.ticks[-1] else anchor
        parts.append(tag("line", class_="grid", x1=x, x2=x, y1=TOP, y2=base))
        parts.append(tag("text", f"{100 * tick:g}", x=x, y=base + 15, text_anchor=anchor))
    unit = tag(
        "text", "accuracy, %", class_="unit", x=RIGHT / 2, y=height - 4, text_anchor="middle"
    )
    return [*parts, unit]


def _labels(bars: Sequence[Bar]) -> list[str]:
    """Return the bars' names, long ones cut where the rest still tells them apart."""
    names = [bar.name for bar in bars]
    ends = ["…" + name[1 - LONGEST_NAME :] if len(name) > LONGEST_NAME else name for name in names]
    starts = [
        name[: LONGEST_NAME - 1] + "…" if len(name) > LONGEST_NAME else name for name in names
    ]
    return next((cut for cut in (ends, starts) if len({*cut}) == len({*names})), names)


def _bar(bar: Bar, label: str, scale: Scale, top: float) -> Element:
    value = percent(bar.value)
    if bar.interval:
        value += f" [{100 * bar.interval[0]:.1f}, {100 * bar.interval[1]:.1f}]"
    return tag(
        "g",
        tag("title", f"{bar.name}: {value}"),
        tag("text", label, class_="name", x=0, y=top + 13),
        tag("text", value, class_="name", x=RIGHT, y=top + 13, text_anchor="end"),
        tag(
            "rect",
            class_="bar main" if bar.is_main else "bar",
            x=0,
            y=top + BAR_TOP,
            width=max(scale.share(bar.value) * RIGHT, 1.0),
            height=BAR_HEIGHT,
        ),
        _whisker(bar.interval, scale, top + BAR_TOP + BAR_HEIGHT / 2) if bar.interval else None,
    )


def _whisker(interval: tuple[float, float], scale: Scale, y: float) -> list[Element]:
    low, high = (scale.share(end) * RIGHT for end in interval)
    ends = [tag("line", class_="whisker", x1=x, x2=x, y1=y - 4, y2=y + 4) for x in (low, high)]
    return [tag("line", class_="whisker", x1=low, x2=high, y1=y, y2=y), *ends]


def _chance(scale: Scale, chance: float, num_bars: int) -> list[Element]:
    """Return a piece of the line over every bar; between them it would strike out the labels."""
    x = scale.share(chance) * RIGHT
    late = x > RIGHT * 0.6
    tops = [TOP + ROW * index for index in range(num_bars)]
    return [
        *(
            tag("line", class_="limit", x1=x, x2=x, y1=top + CHANCE[0], y2=top + CHANCE[1])
            for top in tops
        ),
        tag(
            "text",
            f"chance {percent(chance)}",
            class_="limit",
            x=x - 4 if late else x + 4,
            y=12,
            text_anchor="end" if late else "start",
        ),
    ]


def _describe(bars: Sequence[Bar], chance: float) -> str:
    parts = [
        f"{bar.name}: {percent(bar.value)}"
        + (f", interval {' to '.join(map(percent, bar.interval))}." if bar.interval else ".")
        for bar in bars
    ]
    return " ".join(["Bar chart of accuracies.", *parts, f"An even guess: {percent(chance)}."])
