"""A clock that moves only when a test moves it."""


class Clock:
    """Stands for `time.monotonic`; the fixture `clock` puts it there."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
