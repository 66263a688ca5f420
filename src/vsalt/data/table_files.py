"""Reads CSV and JSONL tables as text, record by record, with line numbers for messages.

A table behind a URL is read as a whole, into memory, before its first record.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vsalt.data.remote import read_whole
from vsalt.data.urls import Location
from vsalt.errors import DataError, printable

MAX_RAGGED_SHOWN = 5


class TextRecord(NamedTuple):
    """One record of a table.

    Attributes:
        number: of its line, or of the row where the format has no lines, from 1.
        names: the columns; one tuple for all records that have the same.
        cells: the text of each column; "" is an empty cell.
    """

    number: int
    names: tuple[str, ...]
    cells: tuple[str, ...]


class Cells(Mapping[str, str]):
    """The non-empty cells of a record by column.

    Millions of records share the tuple of names, where a dict of each would hold its own table.
    """

    __slots__ = ("_cells", "_names")

    def __init__(self, names: tuple[str, ...], cells: tuple[str, ...]) -> None:
        self._names = names
        self._cells = cells

    def __getitem__(self, name: str) -> str:
        if name not in self._names or not (cell := self._cells[self._names.index(name)]):
            raise KeyError(name)
        return cell

    def __iter__(self) -> Iterator[str]:
        return (name for name, cell in zip(self._names, self._cells, strict=True) if cell)

    def __len__(self) -> int:
        return sum(map(bool, self._cells))

    def __repr__(self) -> str:
        return repr(dict(self))


def open_table(path: Location, *, newline: str | None = None) -> io.TextIOBase:
    """Open a table in UTF-8, with or without a byte order mark.

    Raises:
        DataError: it lies behind a URL and cannot be read.
    """
    if isinstance(path, str):
        return io.TextIOWrapper(io.BytesIO(read_whole(path)), encoding="utf-8-sig", newline=newline)
    return path.open(encoding="utf-8-sig", newline=newline)


def read_csv(path: Location, *, delimiter: str = ",") -> Iterator[TextRecord]:
    """Read a CSV file with a header, in UTF-8 with or without a byte order mark.

    Yields:
        The records; blank lines are left out.

    Raises:
        DataError: no header, a column named twice or not at all, or lines with more or fewer
            cells than the header (after the last record), or text that is not UTF-8.
    """
    ragged: list[str] = []
    num_ragged = 0
    try:
        with open_table(path, newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            names = tuple(name.strip() for name in next(reader, []))
            check_names(path, names)
            for cells in reader:
                if len(cells) == len(names) and any(map(str.strip, cells)):
                    yield TextRecord(reader.line_num, names, tuple(cells))
                elif any(map(str.strip, cells)):
                    num_ragged += 1
                    if num_ragged <= MAX_RAGGED_SHOWN:
                        ragged.append(f"line {reader.line_num} has {len(cells)} cells")
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if ragged:
        more = num_ragged - len(ragged)
        raise DataError(
            f"{path}: the header has {len(names)} columns, but {'; '.join(ragged)}"
            + (f" and {more} more lines differ" if more else "")
        )


def check_names(path: Location, names: Sequence[str]) -> None:
    """Refuse a table whose columns are not told apart by name.

    Raises:
        DataError: a column named twice or not at all, or no column.
    """
    if not any(names):
        raise DataError(
            f"{path} is empty; it must begin with the names of columns, one of them path"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        named = ", ".join(printable(name) or "(no name)" for name in twice)
        raise DataError(f"{path}: the header names a column twice: {named}")
    if "" in names:
        raise DataError(f"{path}: column {names.index('') + 1} of the header has no name")


def read_jsonl(path: Location) -> Iterator[TextRecord]:
    """Read a file with one JSON object per line.

    Text is kept, other values are written as JSON; null is an empty cell.

    Yields:
        The records; blank lines are left out.

    Raises:
        DataError: the file is empty, not UTF-8, or a line is not an object or names a key twice.
    """
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    try:
        with open_table(path) as file:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    value = _parse_object(path, line, text)
                    names = tuple(value)
                    names = shared.setdefault(names, names)
                    yield TextRecord(line, names, tuple(map(as_text, value.values())))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}") from error
    if not shared:
        raise DataError(f"{path} is empty; every line must be a JSON object with a path")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"the object names a key twice: {', '.join(map(printable, twice))}")
    return found


# json.loads with a hook would make a decoder for each line.
_decode = json.JSONDecoder(object_pairs_hook=_unique_keys).decode


def _parse_object(path: Location, line: int, text: str) -> dict[str, Any]:
    try:
        value = _decode(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} line {line}: not a usable line of JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} line {line}: not a JSON object but {text.strip()[:40]!r}")
    return value


def as_text(value: object) -> str:
    """Write a value as a cell: text as it is, None as empty, all else as JSON."""
    if isinstance(value, str):
        return value
    # As JSON writes numbers, several times as fast.
    if type(value) in (int, float):
        return repr(value)
    return "" if value is None else json.dumps(value)
