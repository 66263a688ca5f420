"""Parts of the page that the sections share: a section, a run's sign, words about a stage."""

from collections.abc import Sequence
from dataclasses import dataclass

from vsalt.report.html import Child, Element, tag
from vsalt.report.numbers import count
from vsalt.report.records import RunRecord, StageRecord

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with its own heading.

    Attributes:
        anchor: its name in addresses.
        title: its heading.
        content: what stands below.
    """

    anchor: str
    title: str
    content: tuple[Child, ...]

    def element(self) -> Element:
        """Return its markup."""
        heading = tag("h2", self.title, id=f"{self.anchor}-heading")
        return tag(
            "section",
            heading,
            *self.content,
            id=self.anchor,
            aria_labelledby=f"{self.anchor}-heading",
        )


def letter(index: int) -> str:
    """Return the sign of a run among several: A, B, …, Z, A2, …."""
    number, place = divmod(index, len(LETTERS))
    return LETTERS[place] + (str(number + 1) if number else "")


def by_stage(runs: Sequence[RunRecord]) -> dict[str, list[tuple[int, StageRecord]]]:
    """Return each stage's records with the numbers of their runs, the stages in their order."""
    found: dict[str, list[tuple[int, StageRecord]]] = {}
    for index, run in enumerate(runs):
        for stage in run.stages:
            found.setdefault(stage.name, []).append((index, stage))
    first = ("teacher", "assistant", "student")
    known = {name: found[name] for name in first if name in found}
    return known | {name: found[name] for name in found if name not in first}


def stage_title(stage: StageRecord, runs: Sequence[RunRecord]) -> str:
    """Return what a stage is called in tables; with several runs, whose it is."""
    if len(runs) == 1:
        return stage.name
    return f"{stage.run}: {stage.name}"


def progress_of(stage: StageRecord) -> str:
    """Say how far a stage is."""
    if stage.num_steps is None:
        return f"{count(stage.steps_done)} steps; its configuration does not say how many it has"
    if stage.is_finished:
        return f"finished: {count(stage.num_steps)} steps"
    if not stage.last:
        return f"no step of {count(stage.num_steps)} is logged yet"
    return f"unfinished: {count(stage.steps_done)} of {count(stage.num_steps)} steps"


def state_of(run: RunRecord) -> str:
    """Say in a few words whether a run is done."""
    if run.is_finished:
        return "finished"
    parts = [f"{stage.name} {progress_of(stage)}" for stage in run.stages if not stage.is_finished]
    parts += [f"{name} not begun" for name in run.waiting]
    return "; ".join(parts)
