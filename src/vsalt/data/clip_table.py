"""The rows of a catalogue as workers need them: where each clip is, in a few shared arrays.

Millions of rows as Python objects would be copied, slowly, into every worker process.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vsalt.data.manifest import Row
from vsalt.data.media import Media
from vsalt.data.shared_memory import SharedArray


class ClipPlace(NamedTuple):
    """Where a clip is: a video and, in seconds, the stretch of it (None: from or to its end)."""

    media: Media
    start_s: float | None
    end_s: float | None


class ClipTable:
    """A sequence of `ClipPlace`, in the order of the catalogue's rows."""

    def __init__(self, rows: Sequence[Row]) -> None:
        # surrogateescape: a file name need not be valid UTF-8.
        paths = [row.path.encode("utf-8", "surrogateescape") for row in rows]
        self._text = SharedArray(np.frombuffer(b"".join(paths), np.uint8))
        self._ends = SharedArray(np.cumsum([0, *map(len, paths)], dtype=np.int64))
        self._offsets = SharedArray(np.array([row.offset for row in rows], dtype=np.int64))
        sizes = [-1 if row.size is None else row.size for row in rows]
        self._sizes = SharedArray(np.array(sizes, dtype=np.int64))
        self._start_s = _as_floats([row.start_s for row in rows])
        self._end_s = _as_floats([row.end_s for row in rows])

    def __len__(self) -> int:
        return len(self._sizes.values)

    def __getitem__(self, index: int) -> ClipPlace:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        begin, end = self._ends.values[index : index + 2]
        path = self._text.values[begin:end].tobytes()
        size = int(self._sizes.values[index])
        return ClipPlace(
            media=Media(
                path=path.decode("utf-8", "surrogateescape"),
                offset=int(self._offsets.values[index]),
                size=None if size < 0 else size,
            ),
            start_s=_or_none(self._start_s.values[index]),
            end_s=_or_none(self._end_s.values[index]),
        )


def _as_floats(values: Sequence[float | None]) -> SharedArray:
    floats = [np.nan if value is None else value for value in values]
    return SharedArray(np.array(floats, dtype=np.float64))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
