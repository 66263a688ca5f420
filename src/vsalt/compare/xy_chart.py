"""Points in a plane as inline SVG: accuracy over FLOPs with intervals, or over a loss.

It looks and is sized as the curves of `vsalt.report.line_chart` are: colours, dashes and letters
tell the series apart.
"""

from dataclasses import dataclass

from vsalt.report.html import Element, tag
from vsalt.report.line_chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    LETTER_WIDTH,
    LINE_HEIGHT,
    NUM_LOOKS,
    TOP,
    WIDTH,
    dashes,
    spread,
    swatch,
)
from vsalt.report.numbers import number, percent
from vsalt.report.scale import Scale, linear
from vsalt.report.section import letter

MARGIN = 0.06
"""Room beside the outermost points, as a share of what they span."""
APART = 2.5
"""By how much the intervals of neighbouring series are shifted against each other."""
FLAT = "2 2.5"
"""Dashes of a level."""


@dataclass(frozen=True, kw_only=True)
class XYSeries:
    """Some points that belong together.

    Attributes:
        name: what they are called.
        points: x, accuracy and the ends of its interval, if it has one; in the order of x.
    """

    name: str
    points: tuple[tuple[float, float, tuple[float, float] | None], ...]


@dataclass(frozen=True, kw_only=True)
class XYChart:
    """What a chart shows.

    Attributes:
        name: identifies it in the page; letters, digits and hyphens.
        title: what is shown.
        explanation: what it means, in a sentence.
        x_unit: of the horizontal axis.
        series: at least one, with a point.
        levels: accuracies without an x of their own: names and values, drawn across.
        log_x: whether equal ratios take equal room.
        connected: whether a line leads from point to point.
        ticks: values of x to write; None: round ones.
    """

    name: str
    title: str
    explanation: str
    x_unit: str
    series: tuple[XYSeries, ...]
    levels: tuple[tuple[str, float], ...] = ()
    log_x: bool = False
    connected: bool = True
    ticks: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class _Frame:
    x: Scale
    y: Scale
    right: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        return LEFT + self.x.share(x) * (self.right - LEFT), self.height(y)

    def height(self, y: float) -> float:
        return HEIGHT - BOTTOM - self.y.share(y) * (HEIGHT - BOTTOM - TOP)


def xy_chart(chart: XYChart) -> Element:
    """Return a figure: title, drawing and a legend.

    Example:
        >>> series = XYSeries(name="salt", points=((1e12, 0.5, (0.4, 0.6)),))
        >>> xy_chart(XYChart(name="p", title="P", explanation="", x_unit="FLOPs",
        ...                  series=(series,), log_x=True)).name
        'figure'
    """
    frame = _frame(chart)
    drawing = tag(
        "svg",
        tag("title", chart.title, id=f"{chart.name}-title"),
        tag("desc", _describe(chart), id=f"{chart.name}-text"),
        _grid(chart, frame),
        [_level(index, value, chart, frame) for index, (_, value) in enumerate(chart.levels)],
        [_series(index, one, chart, frame) for index, one in enumerate(chart.series)],
        _keys(chart, frame),
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_labelledby=f"{chart.name}-title",
        aria_describedby=f"{chart.name}-text",
    )
    caption = tag("figcaption", tag("strong", chart.title), " ", tag("span", chart.explanation))
    return tag("figure", caption, drawing, _legend(chart), class_="chart")


def _frame(chart: XYChart) -> _Frame:
    points = [point for one in chart.series for point in one.points]
    xs = [*(x for x, _, _ in points), *(chart.ticks or ())]
    heights = [value for _, value in chart.levels]
    for _, value, ends in points:
        heights += [value, *(ends or ())]
    y = linear(max(0.0, min(heights)), min(1.0, max(heights)))
    room = 26.0 if len(chart.series) + len(chart.levels) > 1 else 10.0
    return _Frame(x=_x_scale(chart, min(xs), max(xs)), y=y, right=WIDTH - room)


def _x_scale(chart: XYChart, low: float, high: float) -> Scale:
    if not chart.log_x:
        whole = linear(low, high)
        return Scale(low=whole.low, high=whole.high, log=False, ticks=whole.ticks)
    if chart.ticks is not None and len(set(chart.ticks)) == 1:
        # A single value stands in the middle, however far below it points are.
        middle = chart.ticks[0]
        reach = max(middle / low, high / middle, 1.5) ** (1 + MARGIN)
        return Scale(low=middle / reach, high=middle * reach, log=True, ticks=(middle,))
    ratio = max(high / low, 1.5) ** MARGIN
    return Scale(low=low / ratio, high=high * ratio, log=True, ticks=chart.ticks or (low, high))


def _grid(chart: XYChart, frame: _Frame) -> list[Element]:
    base = HEIGHT - BOTTOM
    parts = []
    for tick in frame.y.ticks:
        y = frame.height(tick)
        parts.append(tag("line", class_="grid", x1=LEFT, x2=frame.right, y1=y, y2=y))
        parts.append(tag("text", f"{100 * tick:g}", x=LEFT - 6, y=y + 4, text_anchor="end"))
    labels = [f"{tick:.3g}" for tick in frame.x.ticks] if chart.log_x else frame.x.labels()
    for tick, label in zip(frame.x.ticks, labels, strict=True):
        x, _ = frame.at(tick, frame.y.low)
        parts.append(tag("line", class_="axis", x1=x, x2=x, y1=base, y2=base + 4))
        text = label.replace("e+", "e")
        parts.append(tag("text", text, x=x, y=base + 16, text_anchor="middle"))
    unit = f"{chart.x_unit}, log scale" if chart.log_x else chart.x_unit
    middle = (LEFT + frame.right) / 2
    return [
        *parts,
        tag("line", class_="axis", x1=LEFT, x2=frame.right, y1=base, y2=base),
        tag("text", "accuracy, %", class_="unit", x=2, y=12),
        tag("text", unit, class_="unit", x=middle, y=HEIGHT - 3, text_anchor="middle"),
    ]


def _level(index: int, value: float, chart: XYChart, frame: _Frame) -> Element:
    y = frame.height(value)
    line = tag("line", x1=LEFT, x2=frame.right, y1=y, y2=y, stroke_dasharray=FLAT)
    return tag("g", line, class_=_look(len(chart.series) + index))


def _look(index: int) -> str:
    return f"curve look-{index % NUM_LOOKS}"


def _series(index: int, series: XYSeries, chart: XYChart, frame: _Frame) -> Element:
    shift = APART * (index - (len(chart.series) - 1) / 2) if chart.connected else 0.0
    places = [(frame.at(x, y)[0] + shift, frame.height(y), ends) for x, y, ends in series.points]
    parts = []
    if chart.connected and len(places) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        parts.append(tag("polyline", points=path, stroke_dasharray=dashes(index) or None))
    for x, y, ends in places:
        if ends is not None:
            low, high = (frame.height(min(1.0, max(0.0, end))) for end in ends)
            parts.append(tag("line", x1=x, x2=x, y1=low, y2=high))
        parts.append(tag("circle", cx=x, cy=y, r=3))
    return tag("g", tag("title", series.name), parts, class_=_look(index))


def _keys(chart: XYChart, frame: _Frame) -> list[Element]:
    """Write the letter of every series and level beside its end, apart from each other."""
    if len(chart.series) + len(chart.levels) < 2 or not chart.connected:
        return []
    ends = [(frame.height(one.points[-1][1]), index) for index, one in enumerate(chart.series)]
    ends += [
        (frame.height(value), len(chart.series) + index)
        for index, (_, value) in enumerate(chart.levels)
    ]
    ends.sort()
    places = spread([y for y, _ in ends], LINE_HEIGHT, HEIGHT - BOTTOM)
    return [
        tag(
            "text",
            letter(index),
            class_=f"end look-{index % NUM_LOOKS}",
            x=frame.right + LETTER_WIDTH,
            y=y + 4,
        )
        for (_, index), y in zip(ends, places, strict=True)
    ]


def _legend(chart: XYChart) -> Element:
    several = len(chart.series) + len(chart.levels) > 1
    items = []
    for index, one in enumerate(chart.series):
        key = tag("strong", letter(index)) if several and chart.connected else None
        items.append(tag("li", swatch(index), " ", key, " ", one.name))
    for place, (name, value) in enumerate(chart.levels, start=len(chart.series)):
        items.append(
            tag(
                "li",
                _flat_swatch(place),
                " ",
                tag("strong", letter(place)),
                f" {name} ",
                tag("span", percent(value), class_="value"),
            )
        )
    return tag("div", tag("ul", items, class_="legend"))


def _flat_swatch(look: int) -> Element:
    line = tag("line", x1=1, x2=25, y1=5, y2=5, stroke_dasharray=FLAT)
    group = tag("g", line, class_=_look(look))
    return tag("svg", group, viewBox="0 0 26 10", class_="swatch", aria_hidden="true")


def _describe(chart: XYChart) -> str:
    parts = [f"{chart.title}: accuracy over {chart.x_unit}."]
    for one in chart.series:
        points = "; ".join(f"{percent(y)} at {number(x)}" for x, y, _ in one.points)
        parts.append(f"{one.name}: {points}.")
    parts += [f"{name}: {percent(value)}." for name, value in chart.levels]
    return " ".join(parts)
