"""Probes: tables with intervals, and the same as bars beside chance."""

from collections.abc import Sequence

from vsalt.report.bar_chart import LONGEST_NAME, Bar, bar_chart
from vsalt.report.html import Element, tag
from vsalt.report.numbers import count, percent
from vsalt.report.probes import TRAINED, ProbeRecord, Score
from vsalt.report.section import Section
from vsalt.report.tables import Cell, note, table
from vsalt.training.encoder_names import EncoderName, name_encoders

HEADS = ("encoder", "accuracy", "95 % interval", "balanced", "test rows", "pretraining saw")
LONGEST_IN_TABLE = 40
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
    names = _names(probe, LONGEST_NAME)
    bars = [_bar(name, score) for name, score in zip(names, probe.scores, strict=True)]
    chart = bar_chart(f"probe-{index}", "Accuracy on test rows", bars, probe.uniform)
    return [
        tag("h3", title),
        note(f"{len(probe.classes)} classes, {probe.source}; from {probe.folder}"),
        tag("div", chart, tag("div", _scores(title, probe)), class_="beside"),
        tag("ul", [tag("li", text) for text in probe.notes], class_="note"),
        tag("details", tag("summary", "Recall of every class"), _classes(title, probe)),
    ]


def _names(probe: ProbeRecord, longest: int) -> list[EncoderName]:
    return name_encoders([(score.name, score.stage) for score in probe.scores], longest=longest)


def _bar(name: EncoderName, score: Score) -> Bar:
    return Bar(
        name=str(name),
        value=score.accuracy,
        interval=score.interval,
        is_main=score.role == TRAINED,
    )


def _scores(title: str, probe: ProbeRecord) -> Element:
    rows: list[list[Cell]] = [
        [
            _name(name, score),
            tag("strong", percent(score.accuracy)),
            _interval(score),
            percent(score.balanced_accuracy),
            count(score.num_rows),
            score.exposure,
        ]
        for name, score in zip(_names(probe, LONGEST_IN_TABLE), probe.scores, strict=True)
    ]
    rows.append(["chance: even guess", percent(probe.uniform), "", "", "", ""])
    rows.append(["chance: most frequent class", percent(probe.majority), "", "", "", ""])
    return table(title, HEADS, rows, numeric=(1, 2, 3, 4))


def _name(name: EncoderName, score: Score) -> Cell:
    """Return what an encoder is and, small below it, where it lies; of another what it is."""
    below = name.place or ROLES.get(score.role, "")
    if below in ("", name.role):
        return name.role
    return tag("span", name.role, " ", tag("small", below))


def _interval(score: Score) -> str:
    if score.interval is None:
        return "–"
    low, high = score.interval
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _classes(title: str, probe: ProbeRecord) -> Element:
    rows = [
        [name, *(_recall(score, index) for score in probe.scores)]
        for index, name in enumerate(probe.classes)
    ]
    heads = ("class", *map(str, _names(probe, LONGEST_IN_TABLE)))
    return table(f"{title}: recall", heads, rows, numeric=range(1, len(heads)))


def _recall(score: Score, index: int) -> str:
    return percent(score.recalls[index]) if index < len(score.recalls) else "–"
