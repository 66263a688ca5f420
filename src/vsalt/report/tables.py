"""Tables and other wide things, which scroll by themselves where the page is narrow."""

from collections.abc import Sequence
from typing import TypeAlias

from vsalt.report.html import Child, Element, tag

Cell: TypeAlias = Element | str


def table(
    label: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    numeric: Sequence[int] = (),
    classes: str | None = None,
) -> Element:
    """Return a table whose rows begin with their own heading.

    Args:
        label: what it shows; its caption for those who cannot see the heading above.
        heads: of the columns.
        rows: as many cells as there are columns.
        numeric: columns of numbers, which are set to the right.
        classes: of the table.
    """
    body = [
        tag("tr", [_cell(index, cell, index in numeric) for index, cell in enumerate(row)])
        for row in rows
    ]
    head = [
        tag("th", name, scope="col", class_="num" if index in numeric else None)
        for index, name in enumerate(heads)
    ]
    whole = tag("table", tag("thead", tag("tr", head)), tag("tbody", body), class_=classes)
    return scrolling(label, whole)


def _cell(index: int, cell: Cell, is_number: bool) -> Element:
    classes = "num" if is_number else None
    if index == 0:
        return tag("th", cell, scope="row", class_=classes)
    return tag("td", cell, class_=classes)


def scrolling(label: str, *children: Child) -> Element:
    """Return a region that scrolls sideways, also by the keyboard."""
    return tag("div", *children, class_="scroll", tabindex="0", role="region", aria_label=label)


def facts(pairs: Sequence[tuple[str, Child]], *, classes: str | None = None) -> Element:
    """Return a list of names and what they are."""
    rows = [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs]
    return tag("dl", rows, class_=classes)


def note(*children: Child) -> Element:
    """Return a sentence beside the matter."""
    return tag("p", *children, class_="note")
