"""Progress of a stage: a live line on a terminal, plain lines elsewhere."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from vsalt.errors import printable

WIDE = 110
"""Columns from which the live line has room for a bar and long names."""
RECENT = 20
"""Records whose pace gives the time left: a slow start is soon forgotten, a val_loss is not."""


class Progress:
    """Shows step, loss, learning rate, clips/s, data-wait share, FLOPs and time left.

    Args:
        console: where to print.
        title: name of the stage.
        first_step: steps done before.
        num_steps: steps at the end.
        batch_size: clips per step.
        plain_every_s: on anything but a terminal, seconds between lines.
    """

    def __init__(
        self,
        console: Console,
        *,
        title: str,
        first_step: int,
        num_steps: int,
        batch_size: int,
        plain_every_s: float = 5.0,
    ) -> None:
        self.console = console
        self.title = title
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.plain_every_s = plain_every_s
        self._first_step = self._last_step = first_step
        self._begin = self._last_time = time.monotonic()
        self._recent = deque([(self._begin, first_step)], maxlen=RECENT)
        self._last_wait_s = 0.0
        self._paused_s = self._total_paused_s = 0.0
        self._printed = float("-inf")
        self._bar: RichProgress | None = None

    @property
    def _wide(self) -> bool:
        return self.console.width >= WIDE

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        """Show the live line inside this block, if the console is a terminal."""
        if not self.console.is_terminal:
            yield self
            return
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}"),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[values]}"),
        ]
        if self._wide:
            columns.insert(1, BarColumn(bar_width=16))
        with RichProgress(*columns, console=self.console) as bar:
            self._bar = bar
            self._task = bar.add_task(
                self.title, total=self.num_steps, completed=self._first_step, values=""
            )
            try:
                yield self
            finally:
                self._bar = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time spent in this block out of clips/s."""
        begin = time.monotonic()
        yield
        self._paused_s += time.monotonic() - begin

    def update(self, step: int, values: dict[str, Any], wait_s: float) -> dict[str, float]:
        """Show a step's values, and return its timings.

        Args:
            step: steps done.
            values: with `loss`, `lr` and `flops_exact`; of a mixed run also `shape`.
            wait_s: seconds waited for data since the start.

        Returns:
            `clips_per_s` and `data_wait_share` since the last call, `elapsed_s` since the start.
        """
        now = time.monotonic()
        span = max(1e-9, now - self._last_time - self._paused_s)
        clips_per_s = (step - self._last_step) * self.batch_size / span
        wait_share = min(1.0, (wait_s - self._last_wait_s) / span)
        self._total_paused_s += self._paused_s
        self._last_time, self._last_step, self._last_wait_s = now, step, wait_s
        self._paused_s = 0.0
        flops = values["flops_exact"]
        loss, lr = f"loss {values['loss']:.4f}", f"lr {values['lr']:.1e}"
        if "shape" in values:
            loss += f" ({values['shape']})"
        if self._wide or self._bar is None:
            rate, wait = f"{clips_per_s:.1f} clips/s", f"data wait {wait_share:.0%}"
            text = "  ".join([loss, lr, rate, wait, f"{flops:.2e} FLOPs"])
        else:
            rate, wait = f"{clips_per_s:.1f}/s", f"wait {wait_share:.0%}"
            text = " ".join([loss, lr, rate, wait, f"{flops:.1e} FLOPs"])
        self._show(step, text, now)
        self._recent.append((now, step))
        return {
            "clips_per_s": round(clips_per_s, 3),
            "data_wait_share": round(wait_share, 4),
            "elapsed_s": round(now - self._begin, 3),
        }

    def note(self, text: str) -> None:
        """Print lines of their own; names of files in them are made printable."""
        lines = f"{self.title}: {text}".split("\n")
        self.console.print("\n".join(map(printable, lines)), highlight=False, markup=False)

    def _show(self, step: int, text: str, now: float) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=step, values=text)
        elif now - self._printed >= self.plain_every_s or step == self.num_steps:
            self._printed = now
            line = f"{self.title}: step {step}/{self.num_steps}  {text}  {self._eta(step, now)}"
            self.console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _eta(self, step: int, now: float) -> str:
        begin, first_step = self._recent[0]
        left_s = (now - begin) / max(1, step - first_step) * (self.num_steps - step)
        minutes, seconds = divmod(round(left_s), 60)
        return f"{minutes}:{seconds:02d} left"
