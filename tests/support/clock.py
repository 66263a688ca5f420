"""A clock that moves only when a test moves it."""

import time

import pytest


class Clock:
    """Stands for `time.monotonic`; `now` is in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Put a clock that stands still in place of `time.monotonic`."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock
