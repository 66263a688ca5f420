"""What went wrong: warnings of the training, and files that could not be read."""

from collections.abc import Sequence

from vsalt.report.html import Child
from vsalt.report.numbers import count, plural
from vsalt.report.records import RunRecord, StageRecord
from vsalt.report.section import Section, stage_title
from vsalt.report.tables import Cell, note, table

MOST_ROWS = 200
"""Rows of a table; a set with a million broken files has them in its own file."""


def warnings_section(runs: Sequence[RunRecord]) -> Section:
    """Return what the alarms said."""
    rows: list[list[Cell]] = [
        [
            stage_title(stage, runs),
            count(entry["step"]),
            str(entry.get("kind", "")),
            str(entry.get("message", "")),
            str(entry.get("cause", "")),
            _clips(entry.get("clips")),
        ]
        for stage in _stages(runs)
        for entry in stage.warnings
    ]
    content: list[Child] = []
    if rows:
        heads = ("stage", "step", "warning", "what was seen", "likely cause", "clips")
        content.append(
            table("Warnings", heads, rows[:MOST_ROWS], numeric=(1,), classes="wordy wide")
        )
        content += _more(rows, "warnings.jsonl")
    else:
        content.append(
            note(
                "No warning was raised. That does not mean that all is well: a loss that rises "
                "slowly raises none, nor do features that vary in nothing of use."
            )
        )
    return Section(anchor="warnings", title="Warnings", content=tuple(content))


def quarantine_section(runs: Sequence[RunRecord]) -> Section:
    """Return the files that could not be read."""
    rows: list[list[Cell]] = [
        [
            str(entry["path"]),
            str(entry["error"]) + (" (took too long)" if entry.get("timed_out") else ""),
            stage_title(stage, runs),
            _place(entry),
        ]
        for stage in _stages(runs)
        for entry in stage.quarantine
    ]
    content: list[Child] = []
    for stage in _stages(runs):
        bad = stage.last.get("bad_reads")
        if isinstance(bad, int) and bad:
            name = stage_title(stage, runs)
            content.append(note(f"{name}: {plural(bad, 'read')} failed, other clips took over."))
    if rows:
        heads = ("file", "error", "stage", "step")
        content.append(
            table("Unreadable files", heads, rows[:MOST_ROWS], numeric=(3,), classes="wordy")
        )
        content += _more(rows, "quarantine.jsonl")
    elif not content:
        content.append(note("Every file that was asked for could be read."))
    return Section(anchor="quarantine", title="Unreadable files", content=tuple(content))


def _stages(runs: Sequence[RunRecord]) -> list[StageRecord]:
    return [stage for run in runs for stage in run.stages]


def _clips(clips: object) -> str:
    return ", ".join(map(str, clips)) if isinstance(clips, list) else ""


def _place(entry: dict[str, object]) -> str:
    """Return the step; held-out clips have one below 0."""
    step = entry.get("step")
    if not isinstance(step, int):
        return "–"
    return "held out" if step < 0 else count(step)


def _more(rows: Sequence[object], log: str) -> list[Child]:
    hidden = len(rows) - MOST_ROWS
    return [note(f"{count(hidden)} more are in {log} of the run folder.")] if hidden > 0 else []
