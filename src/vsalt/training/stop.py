"""Stopping on SIGTERM, SIGINT and SIGHUP: finish the step, save, leave with 143, 130 or 129."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from vsalt.config import STAGES
from vsalt.errors import DataError, VsaltError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class InterruptedRunError(VsaltError):
    """A signal stopped the run after a checkpoint was written.

    Attributes:
        number: of the signal.
        exit_code: 128 + number.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number
        self.exit_code = 128 + number


class UnreadableRunError(DataError):
    """A run could not read its data any more, after a checkpoint was written."""


def in_stage(title: str) -> str:
    """Return the words that name a stage of several; of a run of one stage there are none."""
    return f" in the {title}" if title in STAGES else ""


class StopFlag:
    """Remembers the first signal. A second one is handled as if there were no flag."""

    def __init__(self) -> None:
        self.number: int | None = None

    @contextmanager
    def listen(self) -> Iterator["StopFlag"]:
        """Catch the signals inside this block; one that is ignored (nohup) stays ignored."""
        previous = {number: signal.getsignal(number) for number in SIGNALS}
        previous = {
            number: handler for number, handler in previous.items() if handler is not signal.SIG_IGN
        }

        def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            self.number = number
            for each, handler in previous.items():
                signal.signal(each, handler)

        try:
            for number in previous:
                signal.signal(number, remember)
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
