"""report.html of a comparison: one page that holds all it shows and loads nothing."""

from collections.abc import Sequence
from pathlib import Path

from vsalt import __version__, durable
from vsalt.compare.analysis import Accuracy
from vsalt.compare.bootstrap import Estimate
from vsalt.compare.page_words import LEAST_USED, UNCLEAR, about, arm_name, side, verdict
from vsalt.compare.result import CellResult
from vsalt.compare.results import Results, swept
from vsalt.compare.selection import Correlation
from vsalt.compare.xy_chart import XYChart, XYSeries, xy_chart
from vsalt.report.html import Child, Element, render_page, tag
from vsalt.report.numbers import count, flops, number, percent, plural, short
from vsalt.report.section import Section
from vsalt.report.tables import Cell, facts, note, scrolling, table
from vsalt.report.write import contents, style

PAGE = "report.html"
MEASURES = {"loss": "training loss", "val_loss": "held-out loss", "rankme": "RankMe"}
WHOSE = {"runs": "of the last stage", "teachers": "of the teacher"}
MOST_LISTED = 40


def write_page(results: Results, out: Path, *, text: str, command: str) -> None:
    """Write the page.

    Args:
        results: what is shown.
        out: folder of the comparison.
        text: of the specification's file.
        command: that the comparison was made by.
    """
    sections = [
        *_frontiers(results),
        _differences(results),
        *_sweep(results),
        *_selection(results),
        _origin(results, text, command),
    ]
    page = render_page("vsalt compare", style(), _body(results, sections))
    durable.write_file(out / PAGE, page)


def _body(results: Results, sections: Sequence[Section]) -> Element:
    spec = results.spec
    lead = (
        f"{plural(len(spec.arms), 'arm')} at {plural(len(spec.budgets), 'budget')} by "
        f"{plural(len(spec.seeds), 'seed')}. Every arm gets at most the same FLOPs, its teacher's "
        "training and forward passes included, and no test clip is seen in any training. An arm is "
        "a method with its settings; a cell is one arm at one budget by one seed on one data set "
        "and fold."
    )
    return tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        tag(
            "header",
            tag("p", "vsalt compare", class_="kicker"),
            tag("h1", "Accuracy at matched compute"),
            tag("p", lead, class_="lead"),
            _left(results),
        ),
        tag("nav", contents(sections), aria_label="Sections"),
        tag("main", [section.element() for section in sections], id="content", tabindex="-1"),
        tag("footer", tag("p", f"Made by vsalt {__version__}.")),
    )


def _left(results: Results) -> Element | None:
    """Say what is missing."""
    if not results.left:
        return None
    listed = results.left[:MOST_LISTED]
    more = len(results.left) - len(listed)
    items = [tag("li", f"{key}{': failed' if key in results.failed else ''}") for key in listed]
    items += [tag("li", f"and {more} more")] if more else []
    head = f"{plural(len(results.left), 'cell')} not finished; what they belong to is not shown"
    return tag("details", tag("summary", head), tag("ul", items, class_="note"))


def _frontiers(results: Results) -> list[Section]:
    """Return a section for every data set that has results."""
    sections = []
    for data in results.spec.data:
        found = [one for one in results.analysis.accuracies if one.point.data == data.name]
        if not found:
            continue
        parts: list[Child] = [note(about(results, data.name))]
        sizes: Sequence[str | None] = results.spec.students or (None,)
        for index, size in enumerate(sizes):
            own = [one for one in found if one.point.student in (None, size)]
            if len(sizes) > 1:
                parts.append(tag("h3", f"ViT-{size}"))
            if said := verdict(results, data.name, size):
                parts.append(note(said))
            chart = _pareto(
                f"frontier-{data.name}-{index}", own, results.analysis.chance[data.name]
            )
            right = _accuracy_table(data.name, own)
            # In a box of its own the chart is not stretched to the height of the table.
            both = tag("div", tag("div", chart), right, class_="beside")
            parts.append(both if chart else right)
        title = f"Accuracy on {data.name}"
        sections.append(Section(anchor=f"data-{data.name}", title=title, content=tuple(parts)))
    return sections


def _pareto(name: str, found: Sequence[Accuracy], chance: float) -> Element | None:
    """Return accuracy over FLOPs, with what was not trained as lines across."""
    arms = dict.fromkeys(one.point.arm for one in found if one.point.budget is not None)
    if not arms:
        return None
    series = [
        XYSeries(
            name=arm,
            points=tuple(
                (one.point.flops, one.estimate.value, (one.estimate.low, one.estimate.high))
                for one in sorted(found, key=lambda one: one.point.flops)
                if one.point.arm == arm
            ),
        )
        for arm in arms
    ]
    levels = [
        (arm_name(one.point.arm), one.estimate.value) for one in found if one.point.budget is None
    ]
    budgets = tuple(sorted({one.point.budget for one in found if one.point.budget is not None}))
    return xy_chart(
        XYChart(
            name=name,
            title="Accuracy over compute",
            explanation="FLOPs of all stages of a training.",
            x_unit="FLOPs",
            series=tuple(series),
            levels=(*levels, ("chance", chance)),
            log_x=True,
            ticks=budgets,
        )
    )


def _accuracy_table(data: str, found: Sequence[Accuracy]) -> Element:
    """Return one row per arm, one column per budget; what is not trained has one of its own."""
    budgets = sorted(
        {one.point.budget for one in found}, key=lambda budget: -1 if budget is None else budget
    )
    rows: list[list[Cell]] = []
    for arm in dict.fromkeys(one.point.arm for one in found):
        own = {one.point.budget: one for one in found if one.point.arm == arm}
        cells = (
            "" if (budget is None) != (None in own) else _accuracy(own.get(budget))
            for budget in budgets
        )
        rows.append([arm_name(arm), *cells])
    named = ("untrained" if budget is None else f"{flops(budget)} FLOPs" for budget in budgets)
    heads = ("arm", *named)
    return table(f"Accuracies on {data}", heads, rows, numeric=range(1, len(heads)))


def _accuracy(found: Accuracy | None) -> Cell:
    if found is None:
        return "–"
    point = found.point
    share = point.teacher_flops / point.flops if point.flops else 0.0
    teacher = tag("small", f"teacher {percent(share)} of FLOPs") if share else None
    used = point.flops / point.budget if point.budget else 1.0
    less = tag("small", f"uses {percent(used)} of the budget") if used < LEAST_USED else None
    # Below the value, so that a narrow screen shows the first column of values.
    ends = tag("small", _ends(found.estimate))
    return tag("span", tag("strong", percent(found.estimate.value)), " ", ends, teacher, less)


def _ends(estimate: Estimate) -> str:
    """Return the interval of an accuracy, which lies between 0 and 1 whatever the formula says."""
    if estimate.low == float("-inf"):
        return "[–]"
    low, high = max(0.0, estimate.low), min(1.0, estimate.high)
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def _points(share: float) -> str:
    return "–" if abs(share) == float("inf") else _signed(100 * share, digits=1)


def _signed(value: float, *, digits: int = 2) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _differences(results: Results) -> Section:
    """Return the table of paired differences."""
    rows: list[list[Cell]] = []
    for one in results.analysis.differences:
        estimate = one.estimate
        sure = {1: "yes", -1: "no: less", 0: UNCLEAR}[side(one)]
        rows.append(
            [
                one.data if one.student is None else f"{one.data}, ViT-{one.student}",
                flops(one.budget),
                tag("span", f"{one.arm} − {arm_name(one.against)}", class_="whole"),
                tag("strong", _points(estimate.value)),
                f"{_points(estimate.low)} to {_points(estimate.high)}",
                sure,
                _points(estimate.detectable).removeprefix("+"),
            ]
        )
    smallest = "smallest difference it could show"
    heads = ("data", "FLOPs", "difference", "points", "95 % interval", "more?", smallest)
    text = note(
        "In percentage points of accuracy, on the same clips by the same seeds. “No clear "
        "difference”: the interval holds 0. The last column is the true difference that such an "
        "experiment finds in four of five cases: what is smaller, this set and these seeds could "
        "hardly show. Of twenty differences that are none, one seems clear by chance."
    )
    content: tuple[Child, ...] = (note("No two arms are finished yet."),)
    if rows:
        content = (text, table("Differences", heads, rows, numeric=(1, 3, 4, 6)))
    return Section(anchor="differences", title="Paired differences", content=content)


def _sweep(results: Results) -> list[Section]:
    found = swept(results)
    if not found:
        return []
    rows: list[list[Cell]] = [
        [
            one["data"] if one["fold"] is None else f"{one['data']}, fold {one['fold']}",
            one["arm"],
            f"× {one['lr']:g}",
            "" if one["momentum"] is None else f"{one['momentum']:g}",
            "diverged" if one["accuracy"] is None else percent(one["accuracy"]),
            flops(one["flops"]),
            "chosen" if one["chosen"] else "",
        ]
        for one in found
    ]
    heads = ("data", "arm", "learning rate", "momentum", "accuracy", "FLOPs", "")
    total = sum(one["flops"] for one in found)
    text = note(
        "Every arm got the same search at the smallest budget, by the first seed, scored on a part "
        "of the training clips that neither these trainings nor their probes learned from. It took "
        f"{flops(total)} FLOPs, which no budget above contains."
    )
    content = (text, table("The sweep", heads, rows, numeric=(2, 3, 4, 5)))
    return [Section(anchor="sweep", title="Sweep", content=content)]


def _selection(results: Results) -> list[Section]:
    if not results.runs:
        return []
    text = note(
        "Runs of equal steps with other settings: does a measure that needs no label tell which "
        "run is better? R² is the share of the accuracies' variance that a line explains, with its "
        "95 % interval by Fisher's z. Each run was trained once, by the first seed."
        f"{_other_tasks(results)}"
    )
    rows: list[list[Cell]] = [
        [
            one.arm,
            _measure(one),
            count(one.num_runs),
            f"{one.r2:.2f} [{one.r2_low:.2f}, {one.r2_high:.2f}]",
            _signed(one.r),
            _signed(one.spearman),
        ]
        for one in results.correlations
    ]
    heads = ("arm", "measure", "runs", "R²", "r", "Spearman")
    shown = [table("Correlations", heads, rows, numeric=(2, 3, 4, 5))] if rows else []
    charts = tag("div", _scatters(results), class_="charts")
    runs: list[list[Cell]] = [
        [
            run.variant,
            run.arm,
            run.stage,
            percent(run.accuracy),
            *(number(run.measures[name]) for name in MEASURES),
        ]
        for run in results.runs
    ]
    names = ("run", "arm", "varies", "accuracy", *MEASURES.values())
    listed = table("Runs of the selection", names, runs, numeric=(3, 4, 5, 6))
    return [
        Section(
            anchor="selection",
            title="Model selection",
            content=(text, *shown, charts, tag("details", tag("summary", "All runs"), listed)),
        )
    ]


def _other_tasks(results: Results) -> str:
    """Say which runs have losses that are not those of the others' task."""
    others = list(dict.fromkeys(run.variant for run in results.runs if not run.same_task))
    if not others:
        return ""
    names = ", ".join(others)
    return (
        f" With other masks or another target a loss is that of another task ({names}): it may be "
        "higher or lower whatever was learned. Where three others are left, R² stands once more "
        "without these runs."
    )


def _measure(one: Correlation) -> Element:
    whole = tag("span", f"{MEASURES[one.measure]} {WHOSE[one.stage]}", class_="whole")
    few = tag("small", "same masks and target") if one.same_task else None
    return tag("span", whole, few)


def _scatters(results: Results) -> list[Element]:
    """Return accuracy over each measure, for each arm."""
    figures = []
    for one in (one for one in results.correlations if not one.same_task):
        points = tuple(
            (value, run.accuracy, None)
            for run in results.runs
            if (run.arm, run.stage) == (one.arm, one.stage)
            and (value := run.measures[one.measure]) is not None
        )
        figures.append(
            xy_chart(
                XYChart(
                    name=f"selection-{one.arm}-{one.stage}-{one.measure.replace('_', '-')}",
                    title=f"{one.arm}: {MEASURES[one.measure]} {WHOSE[one.stage]}",
                    explanation=f"R² {one.r2:.2f}, Spearman {_signed(one.spearman)}.",
                    x_unit=MEASURES[one.measure],
                    series=(XYSeries(name=f"{one.num_runs} runs", points=points),),
                    connected=False,
                )
            )
        )
    return figures


def _origin(results: Results, text: str, command: str) -> Section:
    """Return how the comparison was made, and every cell."""
    pairs: list[tuple[str, Child]] = [("command", tag("code", command))]
    pairs += results.environment.items()
    every = [results.found[cell.key] for cell in results.cells if cell.key in results.found]
    content: tuple[Child, ...] = (
        facts(pairs),
        tag("details", tag("summary", "All cells"), _cell_table(every)),
        tag(
            "details",
            tag("summary", "Specification"),
            scrolling("Specification", tag("pre", tag("code", text))),
        ),
    )
    return Section(anchor="origin", title="How it was made", content=content)


def _cell_table(found: Sequence[CellResult]) -> Element:
    heads = ("cell", "accuracy", "FLOPs", "steps", "learning rate", "loss", "held-out", "RankMe")
    rows: list[list[Cell]] = []
    for one in found:
        last = one.stages[-1] if one.stages else None
        steps = " + ".join(count(stage.steps) for stage in one.stages) or "–"
        rows.append(
            [
                one.cell.key,
                percent(one.accuracy),
                flops(one.flops) if one.stages else "–",
                steps,
                f"× {short(one.cell.choice.lr)}" if last else "–",
                number(last.loss if last else None),
                number(last.val_loss if last else None),
                number(last.rankme if last else None),
            ]
        )
    return table("All cells", heads, rows, numeric=range(1, 8))
