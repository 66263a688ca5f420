"""Records of one length, one for each view of each row, in files that are mapped into memory.

Row number i of n has its V records one after the other, in file i // rows_per_file. What a record
says is for others to know. A map is opened in the process that reads it, and never written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from vsalt.data.shared_memory import SharedArray
from vsalt.errors import DataError, DecodeError, printable


@dataclass(frozen=True)
class RecordLayout:
    """Where the records of some rows lie.

    Attributes:
        num_rows: n.
        num_views: V, records of a row.
        record_bytes: length of a record.
        rows_per_file: rows of every file but the last.
    """

    num_rows: int
    num_views: int
    record_bytes: int
    rows_per_file: int

    @property
    def num_files(self) -> int:
        """Number of files."""
        return -(-self.num_rows // self.rows_per_file)

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return self.num_rows * self.num_views * self.record_bytes

    def rows_of(self, file: int) -> range:
        """Return which of the n rows a file has."""
        begin = file * self.rows_per_file
        return range(begin, min(begin + self.rows_per_file, self.num_rows))

    def bytes_of(self, file: int) -> int:
        """Return the length of a file."""
        return len(self.rows_of(file)) * self.num_views * self.record_bytes


class Records:
    """Reads records by row and view; it can be sent to worker processes.

    Args:
        files: in their order.
        layout: of the files.
        rows: numbers of the rows in the catalogue, ascending, shape (n,).
        left_out: rows without records, with the reason.

    Raises:
        DataError: a file is missing, or not as long as it should be.
    """

    def __init__(
        self,
        files: Sequence[Path],
        layout: RecordLayout,
        rows: Int64[np.ndarray, "n"],
        left_out: Mapping[int, str],
    ) -> None:
        self._files = tuple(files)
        self._layout = layout
        self._rows = SharedArray(np.asarray(rows, dtype=np.int64))
        self._left_out = dict(left_out)
        self._maps: dict[int, np.ndarray] = {}
        for number, path in enumerate(self._files):
            size, wanted = _size(path), layout.bytes_of(number)
            if size != wanted:
                found = "is missing" if size is None else f"has {size:,} bytes, not {wanted:,}"
                raise DataError(f"{printable(str(path))} {found}; write the cache anew")

    @property
    def record_bytes(self) -> int:
        """Length of a record."""
        return self._layout.record_bytes

    def read(self, row: int, view: int, path: str) -> UInt8[np.ndarray, "bytes"]:
        """Return a record, as it lies in its file.

        Args:
            row: number of the row in the catalogue.
            view: number of the view.
            path: the row's file, for messages.

        Raises:
            DecodeError: the row was left out.
        """
        if row in self._left_out:
            raise DecodeError(f"{path}: it has no cached targets: {self._left_out[row]}")
        place = int(np.searchsorted(self._rows.values, row))
        if place == len(self._rows.values) or self._rows.values[place] != row:
            raise DataError(f"row {row}, {printable(path)}, is not in the cache of targets")
        number, inside = divmod(place, self._layout.rows_per_file)
        record: np.ndarray = self._map(number)[inside * self._layout.num_views + view]
        return record

    def _map(self, number: int) -> np.ndarray:
        if number not in self._maps:
            shape = (-1, self.record_bytes)
            self._maps[number] = np.memmap(self._files[number], np.uint8, "r").reshape(shape)
        return self._maps[number]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps behind."""
        return {**self.__dict__, "_maps": {}}


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
