"""Writes a report: one HTML page that holds all it shows and loads nothing."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from vsalt import __version__, durable
from vsalt.report.charts import sign
from vsalt.report.cost import cost_section
from vsalt.report.curves import curves_section
from vsalt.report.html import Element, render_page, tag
from vsalt.report.incidents import quarantine_section, warnings_section
from vsalt.report.overview import overview
from vsalt.report.picture_section import Say, picture_section
from vsalt.report.probe_section import probe_section
from vsalt.report.probes import read_probe
from vsalt.report.records import RunRecord, read_runs
from vsalt.report.section import Section
from vsalt.report.settings import environment_section, settings_section

if TYPE_CHECKING:
    from vsalt.training.teachers import ReadOutside

STYLE = "style.css"


def write_report(
    runs: Sequence[Path],
    probes: Sequence[Path],
    out: Path,
    *,
    num_clips: int = 2,
    data: str | None = None,
    title: str | None = None,
    say: Say = lambda _: None,
    read_outside: "ReadOutside | None" = None,
) -> None:
    """Write the page of one run, or of several side by side.

    The page is one file that holds its pictures and its style, loads nothing, and needs no script.
    Of a run in progress it shows what is there.

    Args:
        runs: folders of `vsalt salt` or `vsalt pretrain` runs; at least one.
        probes: folders of `vsalt probe fit`.
        out: the file to write, replaced if it exists.
        num_clips: clips of which pictures are drawn; 0: none, and neither videos nor checkpoints
            are read.
        data: source of the videos, if they are not where the run found them.
        title: heading of the page; by default the names of the runs.
        say: told what takes time.
        read_outside: reads teachers from outside, `vsalt.read_hf_teacher`; without it there are no
            pictures of their students.

    Raises:
        RunFolderError: if a folder holds no run or no probe, or the page cannot be written.
    """
    records = read_runs(runs)
    found = [read_probe(folder) for folder in probes]
    # Before the pictures, which take time.
    durable.create_folder(out.parent)
    sections = [
        overview(records),
        probe_section(found),
        curves_section(records),
        picture_section(
            records, num_clips=num_clips, data=data, say=say, read_outside=read_outside
        ),
        cost_section(records),
        warnings_section(records),
        quarantine_section(records),
        environment_section(records),
        settings_section(records),
    ]
    heading = title or " and ".join(record.label for record in records)
    page = render_page(f"{heading} – vsalt report", style(), _body(heading, records, sections))
    durable.write_file(out, page)


def style() -> str:
    """Return the style sheet of the page."""
    return resources.files("vsalt.report").joinpath(STYLE).read_text(encoding="utf-8")


def _body(heading: str, runs: Sequence[RunRecord], sections: Sequence[Section]) -> Element:
    return tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        tag(
            "header",
            tag("p", "vsalt report", class_="kicker"),
            tag("h1", heading),
            tag("p", _lead(runs), class_="lead"),
            _legend(runs),
        ),
        tag("nav", contents(sections), aria_label="Sections"),
        tag("main", [section.element() for section in sections], id="content", tabindex="-1"),
        tag("footer", tag("p", f"Made by vsalt {__version__} from the folders of the runs.")),
    )


def _lead(runs: Sequence[RunRecord]) -> str:
    if len(runs) > 1:
        return f"{len(runs)} runs side by side; each has its letter, colour and dashes."
    if runs[0].kind == "salt":
        return (
            "A run of SALT: a teacher learns to predict hidden pixels, is frozen, and a student "
            "learns to predict its latents. The student is what is kept."
        )
    return f"A run of one stage ({runs[0].stages[0].method})."


def _legend(runs: Sequence[RunRecord]) -> Element | None:
    if len(runs) == 1:
        return None
    items = [tag("li", sign(index, run.label)) for index, run in enumerate(runs)]
    return tag("ul", items, class_="legend")


def contents(sections: Sequence[Section]) -> Element:
    """Return the list of links to all sections."""
    links = [tag("a", section.title, href=f"#{section.anchor}") for section in sections]
    return tag("ul", [tag("li", link) for link in links])
