"""Charts of one quantity for all runs, or for one run with the kinds of it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from vsalt.report.html import Element, tag
from vsalt.report.line_chart import LineChart, swatch
from vsalt.report.records import StageRecord
from vsalt.report.section import letter
from vsalt.report.series import Series, series_of

Records: TypeAlias = Sequence[Mapping[str, Any]]


class Quantity(NamedTuple):
    """A key of a log, and how it is shown; the rest is as in `LineChart`."""

    key: str
    title: str
    explanation: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    log: bool | None = False
    limit: float | None = None


def over_runs(
    stages: Sequence[tuple[int, StageRecord, Records]],
    item: Quantity,
    *,
    stage_name: str,
    num_runs: int,
) -> LineChart | None:
    """Return a chart of one quantity, a curve for each run.

    Args:
        stages: number of the run, stage, and the log that has the key.
        item: what is shown.
        stage_name: of all these stages.
        num_runs: with one run, its curve needs no sign.

    Returns:
        The chart, or None if there is no value to draw.
    """
    curves = [
        series_of(
            records,
            item.key,
            name=stage.run,
            label=letter(index) if num_runs > 1 else "",
            look=index,
        )
        for index, stage, records in stages
    ]
    return chart_of(
        curves,
        name=f"{stage_name}-{item.key.replace('_', '-')}",
        num_steps=longest([stage for _, stage, _ in stages]),
        **{name: value for name, value in item._asdict().items() if name != "key"},
    )


def chart_of(curves: Sequence[Series | None], **options: Any) -> LineChart | None:
    """Return a chart of the curves that have values, or None if there are none."""
    drawn = tuple(curve for curve in curves if curve is not None and curve.values)
    return LineChart(series=drawn, **options) if drawn else None


def sign(index: int, label: str) -> Element:
    """Return how a run among several is marked in all charts, and its name."""
    mark = tag("span", swatch(index), " ", tag("strong", letter(index)), class_="whole")
    return tag("span", mark, " ", label)


def longest(stages: Sequence[StageRecord]) -> int:
    """Return the most steps that a stage is to have, so that an unfinished curve looks so."""
    return max((stage.num_steps or 0 for stage in stages), default=0)
