"""Where points and ticks of a chart stand."""

import pytest

from support.markup import Page
from vsalt.compare.xy_chart import XYChart, XYSeries, xy_chart
from vsalt.report.html import render_page, tag
from vsalt.report.line_chart import LEFT, WIDTH


def circles(*values: float, budgets: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """Return the places of points and of the axis' ticks."""
    points = tuple((value, 0.5, None) for value in values)
    chart = XYChart(
        name="p",
        title="P",
        explanation="",
        x_unit="FLOPs",
        series=(XYSeries(name="salt", points=points),),
        log_x=True,
        ticks=budgets,
    )
    page = Page(render_page("p", "", tag("body", xy_chart(chart))))
    names = [f"{budget:.3g}".replace("e+", "e") for budget in budgets]
    ticks = [float(one.attributes["x"]) for one in page.all("text") if one.text in names]
    return [float(one.attributes["cx"]) for one in page.all("circle")], ticks


@pytest.mark.parametrize("used", [1.0, 0.85, 0.4])
def test_a_single_budget_stands_in_the_middle(used: float) -> None:
    (point,), (tick,) = circles(used * 2e10, budgets=(2e10,))
    assert tick == pytest.approx((LEFT + WIDTH) / 2, abs=15)
    assert LEFT < point <= tick


def test_two_budgets_take_the_width() -> None:
    _, (low, high) = circles(1e10, 2e10, budgets=(1e10, 2e10))
    assert low < LEFT + 0.1 * WIDTH
    assert high > 0.85 * WIDTH
