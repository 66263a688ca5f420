"""Logs as they are, also while a run writes them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Log:
    """The records of a log.

    Attributes:
        records: in the order of the file.
        exists: whether there is a file.
        damaged: numbers of the lines that are no record, from 1; a last line without an end is
            still being written and is not counted.
    """

    records: tuple[dict[str, Any], ...]
    exists: bool
    damaged: tuple[int, ...]


def read_log(path: Path, *, needs: tuple[str, ...] = ("step",)) -> Log:
    """Read a file of JSON objects, one per line.

    Args:
        path: the file; there need not be one.
        needs: keys that every record has; `step` is an integer.
    """
    if not path.is_file():
        return Log(records=(), exists=False, damaged=())
    records, damaged = [], []
    # A byte that is no UTF-8 damages its line, not the file.
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        record = _record(line)
        if record is None or any(key not in record for key in needs) or not _has_step(record):
            damaged.append(number)
        else:
            records.append(record)
    return Log(records=tuple(records), exists=True, damaged=tuple(damaged))


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    # Brackets within brackets beyond what the parser can follow are a RecursionError.
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _has_step(record: dict[str, Any]) -> bool:
    step = record.get("step", 0)
    return isinstance(step, int) and not isinstance(step, bool)
