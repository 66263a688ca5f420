"""Leaves out the decoding of frames that nobody asks for and that no other frame refers to.

With a frame step of 4, three frames of four are decoded only because others refer to them; in
common files about half of all frames are such that none does (B-frames). Whether a frame will be on
display at a wanted time is foretold from the time of its packet and the frame rate; afterwards the
times of all packets tell whether that was right, so that what is read is exact.
"""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

SIEVED_CODECS = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4"})
"""Codecs whose decoders know for certain that no frame refers to another one."""

# How long a frame is expected to be on display, in frames of the mean rate; more than 1 for times
# that jitter.
_REACH = 1.25


class FrameSieve:
    """Tells which packets are needed for some times.

    Args:
        wanted_s: ascending times in seconds, shape (T,).
        frame_s: seconds between frames.
        tolerance_s: a frame counts as shown from so much before its time on.
    """

    def __init__(
        self, wanted_s: Float64[np.ndarray, "T"], *, frame_s: float, tolerance_s: float
    ) -> None:
        self._wanted_s: list[float] = wanted_s.tolist()
        self._reach_s = _REACH * frame_s
        self._tolerance_s = tolerance_s
        self._seen_s: list[float] = []

    @property
    def is_useful(self) -> bool:
        """Whether there are frames between the wanted ones."""
        gaps_s = np.diff(self._wanted_s)
        return bool((gaps_s > self._reach_s).any())

    def needs(self, time_s: float) -> bool:
        """Return whether the frame of this time is expected at a wanted time, and note the time."""
        self._seen_s.append(time_s)
        place = bisect_left(self._wanted_s, time_s - self._tolerance_s)
        return place < len(self._wanted_s) and self._wanted_s[place] < time_s + self._reach_s

    def confirms(self, picked_s: Sequence[float]) -> bool:
        """Return whether the frames of these times, one per wanted time, are those on display.

        That is the last frame of all, decoded or not, whose time has come; before the first one it
        is the first.
        """
        times_s = np.sort(self._seen_s)
        due = np.searchsorted(times_s, np.add(self._wanted_s, self._tolerance_s), side="right")
        return bool((times_s[np.maximum(due - 1, 0)] == picked_s).all())
