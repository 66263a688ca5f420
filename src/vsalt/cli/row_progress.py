"""Progress over rows: a bar on a terminal, a line every few seconds elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_EVERY_S = 5.0


@contextmanager
def row_progress(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows (done, total) inside this block.

    Where `done` falls a new pass begins, with its own clock.
    """
    if not console.is_terminal:
        yield _plain(console, title)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        before = 0

        def show(done: int, total: int) -> None:
            nonlocal before
            if done < before:
                bar.reset(task)
            before = done
            bar.update(task, completed=done, total=total)

        yield show


def _plain(console: Console, title: str) -> Callable[[int, int], None]:
    begin = last = time.monotonic()
    before = 0

    def show(done: int, total: int) -> None:
        nonlocal begin, before, last
        now = time.monotonic()
        if done < before:
            begin = now
        before = done
        if now - last >= PLAIN_EVERY_S:
            last = now
            line = f"{title}: {done} of {total}, {now - begin:.0f} s"
            console.print(line, highlight=False, soft_wrap=True)

    return show
