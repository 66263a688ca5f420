"""Progress over rows without a terminal."""

import io

import pytest
from rich.console import Console

from vsalt.cli import row_progress


def test_every_pass_has_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((100.0, 102.0, 106.0, 108.0, 112.0, 118.0))
    monkeypatch.setattr(row_progress.time, "monotonic", lambda: next(clock))
    console = Console(file=io.StringIO())
    with row_progress.row_progress(console, "rows") as show:
        for done, total in ((1, 9), (5, 9), (8, 9), (2, 4), (3, 4)):
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
