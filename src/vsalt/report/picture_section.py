"""Masks, reconstructions and features as pictures, which read the videos and a checkpoint."""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsalt.errors import VsaltError
from vsalt.report.html import Child, Element, tag
from vsalt.report.picture import Picture
from vsalt.report.records import RunRecord, StageRecord
from vsalt.report.section import Section
from vsalt.report.tables import note, scrolling

if TYPE_CHECKING:
    from vsalt.training.teachers import ReadOutside

WIDEST = 980
"""Pixels up to which a picture is enlarged, by a whole factor so that its pixels stay even."""
LARGEST_FACTOR = 4
SHRINKABLE = 5
"""Columns up to which a picture can be seen on a phone at the width of the page; one of more
scrolls there."""

Say = Callable[[str], None]


def picture_section(
    runs: Sequence[RunRecord],
    *,
    num_clips: int,
    data: str | None,
    say: Say,
    read_outside: "ReadOutside | None" = None,
) -> Section:
    """Return the pictures of all stages, or the reason why there are none.

    Args:
        runs: the runs.
        num_clips: clips to draw; 0: no pictures.
        data: where the videos are, if not where the run found them.
        say: told what is being drawn.
        read_outside: reads teachers from outside.
    """
    content: list[Child] = []
    for run in runs:
        for stage in run.stages:
            title = stage.name.capitalize()
            content.append(tag("h3", title if len(runs) == 1 else f"{run.label}: {title}"))
            content += _stage(stage, num_clips, data, say, read_outside)
    if num_clips == 0:
        content = [note("Pictures were not asked for (--clips 0).")]
    elif not content:
        content = [note("No stage has begun, so there is nothing to draw.")]
    return Section(anchor="pictures", title="Pictures", content=tuple(content))


def _stage(
    stage: StageRecord,
    num_clips: int,
    data: str | None,
    say: Say,
    read_outside: "ReadOutside | None",
) -> list[Element]:
    if num_clips == 0:
        return []
    say(f"drawing {stage.run}, {stage.name}")
    try:
        pictures = draw(stage.folder, num_clips=num_clips, data=data, read_outside=read_outside)
    except VsaltError as error:
        return [note("No pictures: ", str(error))]
    if not pictures:
        return [note("There are no pictures of this method.")]
    return [figure(picture) for picture in pictures]


def draw(
    folder: Path,
    *,
    num_clips: int,
    data: str | None,
    read_outside: "ReadOutside | None" = None,
) -> Sequence[Picture]:
    """Draw a stage; only here does a report need torch."""
    from vsalt.report.pictures import stage_pictures

    return stage_pictures(folder, num_clips=num_clips, data=data, read_outside=read_outside)


def figure(picture: Picture) -> Element:
    """Return a picture with its title, caption and names of rows.

    It shrinks with the page; on a phone one of many columns scrolls by itself, and says so.
    """
    factor = max(1, min(LARGEST_FACTOR, WIDEST // max(picture.width, 1)))
    image = tag(
        "img",
        src="data:image/png;base64," + base64.b64encode(picture.png).decode("ascii"),
        alt=picture.alt,
        width=str(picture.width * factor),
        height=str(picture.height * factor),
    )
    caption = tag("figcaption", tag("strong", picture.title), " ", tag("span", picture.caption))
    names = tag("ul", *(tag("li", name) for name in picture.rows))
    drawing = tag("div", names, image, class_="rows")
    is_wide = picture.num_columns > SHRINKABLE
    hint = note(f"{picture.num_columns} columns: scroll the picture sideways to see all.")
    return tag(
        "figure",
        caption,
        tag("div", hint, class_="hint") if is_wide else None,
        scrolling(picture.title, drawing),
        class_="picture many" if is_wide else "picture",
    )
