"""Probes: tables with intervals, and the same as bars beside chance."""

from collections.abc import Sequence

from vsalt.report.bar_chart import Bar, bar_chart
from vsalt.report.html import Element, tag
from vsalt.report.numbers import count, percent
from vsalt.report.probes import TRAINED, ProbeRecord, Score
from vsalt.report.section import Section
from vsalt.report.tables import Cell, note, table

HEADS = ("encoder", "accuracy", "95 % interval", "balanced", "test rows", "pretraining saw")
ROLES = {"random-init": "random initialisation", "floor": "no network"}


def probe_section(probes: Sequence[ProbeRecord]) -> Section:
    """Return all probes, or the sentence that there are none."""
    if not probes:
        missing = note(
            "No probe was given. vsalt probe fit scores an encoder on labelled videos; "
            "vsalt report RUN --probe FOLDER shows what it found."
        )
        return Section(anchor="probes", title="Probes", content=(missing,))
    parts = [part for index, probe in enumerate(probes) for part in _probe(index, probe)]
    return Section(anchor="probes", title="Probes", content=tuple(parts))


def _probe(index: int, probe: ProbeRecord) -> list[Element]:
    title = f"{probe.kind.capitalize()} probe of {probe.target}"
    bars = [_bar(score) for score in probe.scores]
    chart = bar_chart(f"probe-{index}", "Accuracy on test rows", bars, probe.uniform)
    return [
        tag("h3", title),
        note(f"{len(probe.classes)} classes, {probe.source}; from {probe.folder}"),
        tag("div", chart, tag("div", _scores(title, probe)), class_="beside"),
        tag("ul", [tag("li", text) for text in probe.notes], class_="note"),
        tag("details", tag("summary", "Recall of every class"), _classes(title, probe)),
    ]


def _bar(score: Score) -> Bar:
    return Bar(
        name=score.name,
        value=score.accuracy,
        low=score.low,
        high=score.high,
        is_main=score.role == TRAINED,
    )


def _scores(title: str, probe: ProbeRecord) -> Element:
    rows: list[list[Cell]] = [
        [
            _name(score),
            tag("strong", percent(score.accuracy)),
            f"{100 * score.low:.1f} to {100 * score.high:.1f} %",
            percent(score.balanced_accuracy),
            count(score.num_rows),
            score.exposure,
        ]
        for score in probe.scores
    ]
    rows.append(["chance: even guess", percent(probe.uniform), "", "", "", ""])
    rows.append(["chance: most frequent class", percent(probe.majority), "", "", "", ""])
    return table(title, HEADS, rows, numeric=(1, 2, 3, 4))


def _name(score: Score) -> Cell:
    role = ROLES.get(score.role)
    if role is None or role == score.name:
        return score.name
    return tag("span", score.name, " ", tag("small", role))


def _classes(title: str, probe: ProbeRecord) -> Element:
    rows = [
        [name, *(_recall(score, index) for score in probe.scores)]
        for index, name in enumerate(probe.classes)
    ]
    heads = ("class", *(score.name for score in probe.scores))
    return table(f"{title}: recall", heads, rows, numeric=range(1, len(heads)))


def _recall(score: Score, index: int) -> str:
    return percent(score.recalls[index]) if index < len(score.recalls) else "–"
