"""Progress over rows without a terminal."""

import io

import pytest
from rich.console import Console

from vsalt.cli import row_progress


def test_every_pass_has_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(row_progress.time, "monotonic", lambda: now)
    console = Console(file=io.StringIO())
    with row_progress.row_progress(console, "rows") as show:
        for now, done, total in ((102, 1, 9), (106, 5, 9), (108, 8, 9), (112, 2, 4), (118, 3, 4)):
            show(done, total)
    assert console.file.getvalue().splitlines() == [
        "rows: 5 of 9, 6 s",
        "rows: 2 of 4, 0 s",
        "rows: 3 of 4, 6 s",
    ]


def test_a_terminal_gets_a_bar_that_starts_again() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with row_progress.row_progress(console, "rows") as show:
        for done in (1, 9, 2):
            show(done, 9)
    assert "2/9" in console.file.getvalue()
