"""A line chart as inline SVG: values over steps, one curve or several.

Curves differ by colour, by dashes and by what is written at their ends. The size is that of a
phone's width; wider pages show several charts beside each other, so that the text of a chart keeps
the size of the text around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vsalt.report.html import Element, tag
from vsalt.report.numbers import count, number, short
from vsalt.report.scale import Scale, linear, logarithmic, spans_much
from vsalt.report.series import Series, segments

WIDTH, HEIGHT = 360.0, 216.0
LEFT, TOP, BOTTOM = 44.0, 26.0, 36.0
LETTER_WIDTH = 6.6
"""Room for one letter of a label, in units of the drawing."""
LINE_HEIGHT = 13.0
COLUMN = 24.0
"""Labels further apart than this across cannot meet."""
NUM_LOOKS = 8
"""Colours there are (`--curve-0` and so on in style.css); curves above repeat them."""
DASHES = ("", "7 3", "2 2.5", "9 3 2 3")
MARKED_UP_TO = 24
"""Points of a curve up to which each has a mark."""


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """What a chart shows.

    Attributes:
        name: identifies it in the page; letters, digits and hyphens.
        title: what is shown.
        explanation: what it means, in a sentence.
        unit: of the values, written above the axis.
        series: the curves; at least one has a value.
        low: where the axis begins, unless there are lower values; None: at the lowest.
        high: where it ends, likewise.
        log: whether the axis is logarithmic; None: where the values span much.
        limit: value at which a warning is raised; drawn where the axis reaches it.
        num_steps: steps that the axis reaches at least.
    """

    name: str
    title: str
    explanation: str
    unit: str
    series: tuple[Series, ...]
    low: float | None = None
    high: float | None = None
    log: bool | None = False
    limit: float | None = None
    num_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Where the values lie in the drawing."""

    x: Scale
    y: Scale
    right: float

    def at(self, step: float, value: float) -> tuple[float, float]:
        across = LEFT + self.x.share(step) * (self.right - LEFT)
        return across, HEIGHT - BOTTOM - self.y.share(value) * (HEIGHT - BOTTOM - TOP)


def line_chart(chart: LineChart) -> Element:
    """Return a figure: title, drawing, and a legend with the newest values.

    Example:
        >>> curve = Series(name="run", key="", look=0, points=((1, 0.5), (2, 0.25)), num_records=2)
        >>> figure = line_chart(LineChart(
        ...     name="loss", title="Loss", explanation="", unit="", series=(curve,)))
        >>> figure.name
        'figure'
    """
    chart = replace(chart, series=tuple(curve for curve in chart.series if curve.values))
    frame = _frame(chart)
    title, text = f"{chart.name}-title", f"{chart.name}-text"
    drawing = tag(
        "svg",
        tag("title", chart.title, id=title),
        tag("desc", _describe(chart), id=text),
        _grid(chart, frame),
        _limit(chart, frame),
        [_curve(curve, frame) for curve in chart.series],
        _end_labels(chart.series, frame),
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_labelledby=title,
        aria_describedby=text,
    )
    caption = tag("figcaption", tag("strong", chart.title), " ", tag("span", chart.explanation))
    return tag("figure", caption, drawing, _legend(chart), class_="chart")


def _frame(chart: LineChart) -> _Frame:
    values = [value for curve in chart.series for value in curve.values]
    low, high = min(values), max(values)
    log = chart.log or (chart.log is None and spans_much(low, high))
    # A logarithmic axis has no 0 to begin at.
    if chart.low is not None and not log:
        low = min(low, chart.low)
    if chart.high is not None:
        high = max(high, chart.high)
    last = float(max(*(curve.points[-1][0] for curve in chart.series), chart.num_steps, 1))
    longest = max(len(curve.key) for curve in chart.series)
    return _Frame(
        x=linear(0.0, last, tight=True),
        y=logarithmic(low, high) if log else linear(low, high),
        right=WIDTH - 14 - longest * LETTER_WIDTH,
    )


def _grid(chart: LineChart, frame: _Frame) -> list[Element]:
    """Return the lines and names of the ticks, and what the axes are."""
    base = HEIGHT - BOTTOM
    parts = []
    for value, label in zip(frame.y.ticks, frame.y.labels(), strict=True):
        _, y = frame.at(0.0, value)
        parts.append(tag("line", class_="grid", x1=LEFT, x2=frame.right, y1=y, y2=y))
        parts.append(tag("text", label, x=LEFT - 6, y=y + 4, text_anchor="end"))
    for step, label in zip(frame.x.ticks, frame.x.labels(), strict=True):
        x = LEFT + frame.x.share(step) * (frame.right - LEFT)
        parts.append(tag("line", class_="axis", x1=x, x2=x, y1=base, y2=base + 4))
        parts.append(tag("text", label, x=x, y=base + 16, text_anchor="middle"))
    scale = "log scale" if frame.y.log else ""
    unit = ", ".join(part for part in (chart.unit, scale) if part)
    middle = (LEFT + frame.right) / 2
    return [
        *parts,
        tag("line", class_="axis", x1=LEFT, x2=frame.right, y1=base, y2=base),
        tag("text", unit, class_="unit", x=2, y=12),
        tag("text", "step", class_="unit", x=middle, y=HEIGHT - 3, text_anchor="middle"),
    ]


def _limit(chart: LineChart, frame: _Frame) -> list[Element]:
    if chart.limit is None or not frame.y.low < chart.limit < frame.y.high:
        return []
    _, y = frame.at(0.0, chart.limit)
    below = y + 12 < HEIGHT - BOTTOM
    text = f"warns below {short(chart.limit)}"
    return [
        tag("line", class_="limit", x1=LEFT, x2=frame.right, y1=y, y2=y),
        tag("text", text, class_="limit", x=frame.right - 2, y=y + 12 if below else y - 4,
            text_anchor="end"),
    ]  # fmt: skip


def _curve(curve: Series, frame: _Frame) -> Element:
    stretches = [
        [frame.at(step, value) for step, value in stretch if not frame.y.log or value > 0]
        for stretch in segments(curve.points)
    ]
    drawn = [
        tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in stretch))
        for stretch in stretches
        if len(stretch) > 1
    ]
    all_marked = len(curve.points) <= MARKED_UP_TO
    marks = [
        tag("circle", cx=x, cy=y, r=2.4)
        for stretch in stretches
        if all_marked or len(stretch) == 1
        for x, y in stretch
    ]
    return tag(
        "g",
        tag("title", curve.name),
        drawn,
        marks,
        class_=f"curve look-{curve.look % NUM_LOOKS}",
        stroke_dasharray=dashes(curve.look) or None,
    )


def dashes(look: int) -> str:
    """Return the dashes of a curve; the first one has none."""
    return DASHES[look % len(DASHES)]


def _end_labels(series: Sequence[Series], frame: _Frame) -> list[Element]:
    """Write each curve's key at its end, apart from the keys of curves that end near it."""
    ends = sorted(
        ((*frame.at(*segments(curve.points)[-1][-1]), curve) for curve in series if curve.key),
        key=lambda end: end[1],
    )
    columns: dict[int, list[tuple[float, float, Series]]] = {}
    for end in ends:
        columns.setdefault(round(end[0] / COLUMN), []).append(end)
    labels = []
    for column in columns.values():
        places = spread([y for _, y, _ in column], LINE_HEIGHT, HEIGHT - BOTTOM)
        for (x, _, curve), y in zip(column, places, strict=True):
            look = f"end look-{curve.look % NUM_LOOKS}"
            labels.append(tag("text", curve.key, class_=look, x=x + 6, y=y + 4))
    return labels


def spread(places: Sequence[float], apart: float, last: float) -> list[float]:
    """Move ascending places down until they are apart, and then up where they pass the last one.

    Example:
        >>> spread([10, 12, 90], 10, 95)
        [10, 20, 90]
    """
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + apart) if moved else place)
    limit = last
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - apart
    return moved


def _legend(chart: LineChart) -> Element:
    """Return the curves' names with their lines and newest values, and whether they are thinned."""
    items = [
        tag("li", swatch(curve.look), " ", _named(curve, len(chart.series)), tag(
            "span", " ", _newest(curve), class_="value"))
        for curve in chart.series
    ]  # fmt: skip
    thinned = [curve for curve in chart.series if curve.is_thinned]
    note = None
    if thinned:
        most = max(thinned, key=lambda curve: curve.num_records)
        note = tag(
            "p",
            f"{count(len(most.points))} of {count(most.num_records)} records are drawn; "
            "the lowest and highest of every stretch are among them.",
            class_="note",
        )
    return tag("div", tag("ul", items, class_="legend"), note)


def _named(curve: Series, num_curves: int) -> list[Element | str]:
    if num_curves == 1:
        return []
    if curve.key in ("", curve.name):
        return [curve.name]
    return [tag("strong", curve.key), " ", curve.name]


def swatch(look: int) -> Element:
    """Return a short piece of a curve, for legends."""
    line = tag("line", x1=1, x2=25, y1=5, y2=5, stroke_dasharray=dashes(look) or None)
    group = tag("g", line, class_=f"curve look-{look % NUM_LOOKS}")
    return tag("svg", group, viewBox="0 0 26 10", class_="swatch", aria_hidden="true")


def _newest(curve: Series) -> str:
    step, value = curve.points[-1]
    if value is None:
        return f"no finite value at step {count(step)}"
    return f"{number(value)} at step {count(step)}"


def _describe(chart: LineChart) -> str:
    """Return in words what the drawing shows."""
    parts = [f"Line chart of {chart.title} over steps."]
    for curve in chart.series:
        (first, begin), *_ = segments(curve.points)[0]
        parts.append(
            f"{curve.name}: {number(begin)} at step {count(first)}, lowest "
            f"{number(min(curve.values))}, highest {number(max(curve.values))}, {_newest(curve)}."
        )
    return " ".join(parts)
