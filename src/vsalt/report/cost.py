"""What the runs took: clips, FLOPs by two conventions, seconds, and the share spent waiting."""

from collections.abc import Sequence

from vsalt.report.charts import Quantity, over_runs
from vsalt.report.html import Child, Element, tag
from vsalt.report.line_chart import line_chart
from vsalt.report.numbers import count, duration, flops, number, percent
from vsalt.report.records import RunRecord, StageRecord
from vsalt.report.section import Section, by_stage
from vsalt.report.spent import Cost, cost_of, total
from vsalt.report.tables import Cell, note, table

HEADS = ("stage", "clips", "FLOPs, exact", "FLOPs, 6ND", "time", "clips/s", "waiting for data")

SPEED = Quantity("clips_per_s", "Clips per second", "Since the record before.", "clips/s", low=0.0)
WAITING = Quantity(
    "data_wait_share",
    "Waiting for data",
    "Share of the time; near 1 the data is what limits.",
    "share",
    low=0.0,
    high=1.0,
)


def cost_section(runs: Sequence[RunRecord]) -> Section:
    """Return the table of costs, and how fast the clips came."""
    rows: list[list[Cell]] = []
    for run in runs:
        prefix = "" if len(runs) == 1 else f"{run.label}: "
        rows += [_row(f"{prefix}{stage.name}", cost_of(stage)) for stage in run.stages]
        if len(run.stages) > 1:
            rows.append(_row(f"{prefix}all stages", total(run)))
    notes = [
        "FLOPs: exact counts all matrix products with the true numbers of tokens; 6ND is the "
        "paper's convention. Those of a frozen teacher are counted, those of val_loss are not.",
        "Time is that of the processes that trained, of the steps that are in the logs: what a "
        "kill undid is not in it. Clips per second leave val_loss out.",
    ]
    notes += [
        f"{_name(stage, runs)}: there are no timings, so its time is not known."
        for run in runs
        for stage in run.stages
        if not stage.timings
    ]
    content: list[Child] = [
        table("Clips, FLOPs and time", HEADS, rows, numeric=range(1, len(HEADS))),
        *map(note, notes),
        _speed(runs),
    ]
    return Section(anchor="cost", title="FLOPs and time", content=tuple(content))


def _row(name: str, cost: Cost) -> list[Cell]:
    starts = f" ({cost.num_starts} starts)" if cost.num_starts > 1 else ""
    return [
        name,
        count(cost.clips),
        flops(cost.flops_exact),
        flops(cost.flops_six_nd),
        duration(cost.elapsed_s) + starts,
        number(cost.clips_per_s, 3),
        percent(cost.data_wait_share),
    ]


def _name(stage: StageRecord, runs: Sequence[RunRecord]) -> str:
    return stage.name if len(runs) == 1 else f"{stage.run}, {stage.name}"


def _speed(runs: Sequence[RunRecord]) -> list[Element]:
    rows = []
    for name, stages in by_stage(runs).items():
        timed = [(index, stage, stage.timings) for index, stage in stages]
        titled = [item._replace(title=f"{item.title}, {name}") for item in (SPEED, WAITING)]
        charts = [over_runs(timed, item, stage_name=name, num_runs=len(runs)) for item in titled]
        drawn = [line_chart(chart) for chart in charts if chart is not None]
        if drawn:
            rows.append(tag("div", drawn, class_="charts"))
    return rows
