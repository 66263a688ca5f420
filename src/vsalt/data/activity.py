"""What a worker is on, where its parent sees it: that is how a reading that hangs is found.

The worker writes into shared memory and takes no lock, so that it can be killed at any moment.
"""

import time
from typing import NamedTuple

import numpy as np

from vsalt.data.config import ReadLimits
from vsalt.data.shared_memory import SharedBlock


class Place(NamedTuple):
    """One reading in a task.

    Attributes:
        item: index of the item in the task.
        attempt: how many readings in the item's place have failed before.
    """

    item: int
    attempt: int = 0


class Reading(NamedTuple):
    """What a worker is on: the task's number, where in the task, and since when."""

    number: int
    place: Place
    began_s: float


class Activity:
    """What one worker is on, in memory that its parent sees."""

    def __init__(self) -> None:
        self._block = SharedBlock()
        self._block.grow(32)
        self._map()

    def begin(self, number: int, place: Place) -> None:
        """Tell what is being read from now on."""
        self._numbers[:] = number, *place
        # The clock is the same in all processes. It comes last: see `now`.
        self._began_s[0] = time.monotonic()

    def end(self) -> None:
        """Tell that nothing is being read."""
        self._began_s[0] = 0.0

    def now(self) -> Reading | None:
        """Return what is being read; exact once it has been read for more than an instant."""
        began_s = float(self._began_s[0])
        if not began_s:
            return None
        number, item, attempt = (int(value) for value in self._numbers)
        return Reading(number, Place(item, attempt), began_s)

    def _map(self) -> None:
        memory = self._block.view()
        self._numbers = memory[:24].view(np.int64)
        self._began_s = memory[24:32].view(np.float64)

    def __getstate__(self) -> SharedBlock:
        return self._block

    def __setstate__(self, block: SharedBlock) -> None:
        self._block = block
        self._map()


def hard_limit_s(limits: ReadLimits) -> float:
    """Return after how many seconds a worker that has not ended a reading by itself is killed.

    A video gives up at `timeout_s` by itself, between two packets; twice that is beyond doubt.
    """
    return 2 * limits.timeout_s + 5
