"""Charts in numbers: where points lie, what breaks a curve, what is said beside it."""

import itertools
import re

from support.markup import Found, Page
from vsalt.report.bar_chart import Bar, bar_chart
from vsalt.report.html import render
from vsalt.report.line_chart import BOTTOM, HEIGHT, LEFT, TOP, LineChart, line_chart, spread
from vsalt.report.series import Point, Series, thin


def curve(points: list[Point], *, name: str = "run", key: str = "", look: int = 0) -> Series:
    return Series(name=name, key=key, look=look, points=thin(points), num_records=len(points))


def page_of(*series: Series, log: bool | None = False, limit: float | None = None) -> Page:
    chart = LineChart(
        name="loss",
        title="Loss",
        explanation="Of clips.",
        unit="nats",
        series=series,
        log=log,
        limit=limit,
    )
    return Page(render(line_chart(chart)))


def places(line: Found) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for x, y in (pair.split(",") for pair in line.attributes["points"].split())
    ]


def test_points_lie_where_the_axes_say() -> None:
    page = page_of(curve([(0.0, 0.0), (50.0, 0.5), (100.0, 1.0)]))
    (line,) = page.all("polyline")
    (x0, y0), (x1, y1), (x2, y2) = places(line)
    assert (x0, y0, y2) == (LEFT, HEIGHT - BOTTOM, TOP)
    assert abs(x1 - (x0 + x2) / 2) < 0.1
    assert abs(y1 - (y0 + y2) / 2) < 0.1
    labels = [text.text for text in page.all("text")]
    assert labels[:5] == ["0", "0.25", "0.50", "0.75", "1.00"]
    assert {"step", "nats", "100"} <= {*labels}


def test_a_gap_breaks_the_line_and_a_lone_point_is_marked() -> None:
    points: list[Point] = [(float(step), 1.0 + step) for step in range(60)]
    points[20] = (20.0, None)
    points[22] = (22.0, None)
    page = page_of(curve(points))
    lines = page.all("polyline")
    assert [len(places(line)) for line in lines] == [20, 37]
    assert len(page.all("circle")) == 1


def test_a_curve_of_one_point_is_seen() -> None:
    page = page_of(curve([(5.0, 3.0)]))
    assert not page.all("polyline")
    assert len(page.all("circle")) == 1


def test_curves_differ_by_more_than_colour() -> None:
    names = [chr(ord("A") + index) for index in range(8)]
    page = page_of(
        *(
            curve([(0.0, 1.0), (9.0, float(index))], name=f"run {name}", key=name, look=index)
            for index, name in enumerate(names)
        )
    )
    groups = [group for group in page.all("g") if "run " in group.text]
    looks = [
        (group.attributes["class"], group.attributes.get("stroke-dasharray")) for group in groups
    ]
    assert len({*looks}) == 8
    assert len({dash for _, dash in looks}) == 4
    ends = [text for text in page.all("text") if "end" in text.attributes.get("class", "")]
    assert sorted(text.text for text in ends) == names
    heights = sorted(float(text.attributes["y"]) for text in ends)
    assert all(b - a >= 12.9 for a, b in itertools.pairwise(heights))


def test_labels_are_spread_within_the_drawing() -> None:
    assert spread([10.0, 11.0, 12.0], 10.0, 100.0) == [10, 20, 30]
    assert spread([95.0, 96.0, 97.0], 10.0, 100.0) == [80, 90, 100]
    assert spread([], 10.0, 100.0) == []


def test_the_drawing_is_described_in_words() -> None:
    page = page_of(curve([(1.0, 4.0), (2.0, 1.0), (3.0, 2.0)], name="run1"), limit=1.5)
    drawing = page.all("svg")[0]
    assert drawing.attributes["role"] == "img"
    by_id = {one.attributes["id"]: one for one in page.elements if "id" in one.attributes}
    assert by_id[drawing.attributes["aria-labelledby"]].text == "Loss"
    text = by_id[drawing.attributes["aria-describedby"]].text
    assert "run1: 4 at step 1, lowest 1, highest 4, 2 at step 3." in text
    assert any("warns below 1.5" in one.text for one in page.all("text"))


def test_thinning_is_said() -> None:
    many: list[Point] = [(float(step), step % 5 + 1.0) for step in range(5000)]
    note = page_of(curve(many)).all("p")[0].text
    assert re.match(r"\d{3} of 5,000 records are drawn", note)
    assert not page_of(curve(many[:100])).all("p")


def test_a_wide_range_gets_a_logarithmic_axis_where_that_is_left_open() -> None:
    wide = curve([(0.0, 0.001), (9.0, 100.0)])
    assert any("log scale" in text.text for text in page_of(wide, log=None).all("text"))
    assert not any("log scale" in text.text for text in page_of(wide).all("text"))
    narrow = curve([(0.0, 1.0), (9.0, 2.0)])
    assert not any("log scale" in text.text for text in page_of(narrow, log=None).all("text"))


def test_bars_whiskers_and_chance_lie_where_they_should() -> None:
    bars = [
        Bar(name="student", value=0.5, interval=(0.25, 0.75), is_main=True),
        Bar(name="<b>" + "long" * 20, value=0.0, interval=(0.0, 0.25), is_main=False),
    ]
    page = Page(render(bar_chart("probe-0", "Accuracy", bars, 0.125)))
    first, second = page.all("rect")
    full = float(first.attributes["width"]) / 0.5  # the axis may end above the highest value
    whisker = next(
        line for line in page.all("line") if "whisker" in line.attributes["class"]
    ).attributes
    assert abs(float(whisker["x1"]) / full - 0.25) < 1e-4
    assert abs(float(whisker["x2"]) / full - 0.75) < 1e-4
    chance = [line for line in page.all("line") if line.attributes["class"] == "limit"]
    assert all(abs(float(line.attributes["x1"]) / full - 0.125) < 1e-4 for line in chance)
    # It crosses every bar, and no label: a letter reaches at most 9 above its line, and 3 below.
    spans = [(float(line.attributes["y1"]), float(line.attributes["y2"])) for line in chance]
    for bar, (top, end) in zip((first, second), spans, strict=True):
        y, height = float(bar.attributes["y"]), float(bar.attributes["height"])
        assert top < y
        assert y + height < end
    for text in page.all("text"):
        if text.attributes.get("class") in ("name", "limit"):
            y = float(text.attributes["y"])
            assert all(end < y - 9 or top > y + 3 for top, end in spans)
    assert first.attributes["class"] != second.attributes["class"]
    # The short name ends as the whole one, which is in the title.
    assert any(text.text.startswith("…") for text in page.all("text"))
    assert any(title.text.startswith("<b>long") for title in page.all("title"))


def test_long_names_of_bars_stay_different() -> None:
    long = "x" * 40
    for one, other in ((f"a{long}", f"b{long}"), (f"{long}a", f"{long}b"), (long, f"{long}{long}")):
        bars = [Bar(name=name, value=0.5, interval=None, is_main=True) for name in (one, other)]
        page = Page(render(bar_chart("probe-0", "Accuracy", bars, 0.5)))
        shown = [text.text for text in page.all("text") if text.attributes.get("class") == "name"]
        assert len({name for name in shown if name != "50.0 %"}) == 2
        assert not any("interval" in one.text for one in page.all("desc", "span"))
