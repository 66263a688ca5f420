"""Puts the page together from its parts in this folder."""

import base64
import hashlib
import json
from importlib import resources

from vsalt.linear.page.controls import controls_markup, meanings_markup, panels_markup
from vsalt.linear.page.self_test import Row, self_test_rows

SCRIPTS = (
    "gains.js",
    "moving_average.js",
    "state.js",
    "results.js",
    "words.js",
    "table.js",
    "chart.js",
    "app.js",
)
"""In the order in which the page runs them; all but the last two need no browser."""


def render_page(version: str, *, rows: list[Row] | None = None) -> str:
    """Return the whole page: one HTML document that loads nothing.

    Args:
        version: of vsalt, shown at the foot.
        rows: the table that the page checks itself against; by default `self_test_rows()`.
    """
    script = "\n" + "".join(['"use strict";\n', *map(part, SCRIPTS)])
    table = json.dumps(self_test_rows() if rows is None else rows, allow_nan=False)
    filled = {
        "HASH": f"sha256-{_sha256(script)}",
        "STYLE": part("style.css"),
        "PANELS": panels_markup(),
        "CONTROLS": controls_markup(),
        "MEANINGS": meanings_markup(),
        "VERSION": version,
        "TABLE": table,
        "SCRIPT": script,
    }
    page = part("page.html")
    for name, text in filled.items():
        page = page.replace(f"@{name}@", text)
    return page


def part(name: str) -> str:
    """Return a script, the style sheet or the frame of the page."""
    return resources.files("vsalt.linear.page").joinpath(name).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
