"""Reads CSV and JSONL tables as text, with line numbers for messages."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsalt.errors import DataError


@dataclass(frozen=True, slots=True)
class TextRecord:
    """One line of a table: its number, from 1, and its non-empty cells by column."""

    line: int
    cells: dict[str, str]


def read_csv(path: Path, *, delimiter: str = ",") -> tuple[list[str], list[TextRecord]]:
    """Read a CSV file with a header, in UTF-8 with or without a byte order mark.

    Returns:
        The names of the columns, and the records; blank lines are left out.

    Raises:
        DataError: no header, a column named twice or not at all, or lines with more or fewer
            cells than the header, or text that is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_names(path, header)
            lines = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from error
    ragged = [
        f"line {line} has {len(cells)} cells" for line, cells in lines if len(cells) != len(header)
    ]
    if ragged:
        raise DataError(
            f"{path}: the header has {len(header)} columns, but {'; '.join(ragged[:5])}"
            + (f" and {len(ragged) - 5} more lines differ" if len(ragged) > 5 else "")
        )
    return header, [
        TextRecord(line, {name: cell for name, cell in zip(header, cells, strict=True) if cell})
        for line, cells in lines
    ]


def _check_names(path: Path, header: list[str]) -> None:
    if not any(header):
        raise DataError(f"{path} is empty; its first line must name the columns, one of them path")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        named = ", ".join(name or "(no name)" for name in twice)
        raise DataError(f"{path}: the header names a column twice: {named}")
    if "" in header:
        raise DataError(f"{path}: column {header.index('') + 1} of the header has no name")


def read_jsonl(path: Path) -> tuple[list[str], list[TextRecord]]:
    """Read a file with one JSON object per line.

    Text is kept, other values are written as JSON; null is an empty cell.

    Returns:
        The names of the columns of all lines in order of appearance, and the records.

    Raises:
        DataError: the file is empty, not UTF-8, or a line is not an object or names a key twice.
    """
    names: dict[str, None] = {}
    records: list[TextRecord] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    cells = _parse_object(path, line, text)
                    names.update(dict.fromkeys(cells))
                    records.append(TextRecord(line, {k: v for k, v in cells.items() if v}))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}") from error
    if not records:
        raise DataError(f"{path} is empty; every line must be a JSON object with a path")
    return list(names), records


def _parse_object(path: Path, line: int, text: str) -> dict[str, str]:
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys)
    except ValueError as error:
        raise DataError(f"{path} line {line}: not a usable line of JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} line {line}: not a JSON object but {text.strip()[:40]!r}")
    return {key: _as_text(cell) for key, cell in value.items()}


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"the object names a key twice: {', '.join(twice)}")
    return dict(pairs)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
