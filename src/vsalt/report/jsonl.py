"""Logs as they are, also while a run writes them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsalt.errors import RunFolderError

LARGEST = 2**53
"""Whole numbers up to which a float is exact; no step or count of a run is above."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """The records of a log.

    Attributes:
        records: in the order of the file; none if there is no file.
        damaged: numbers of the lines that are no record, from 1; a last line without an end is
            still being written and is not counted.
    """

    records: tuple[dict[str, Any], ...]
    damaged: tuple[int, ...]


def read_log(path: Path, *, needs: tuple[str, ...] = ("step",)) -> Log:
    """Read a file of JSON objects, one per line.

    Args:
        path: the file; there need not be one.
        needs: keys that every record has; `step` is an integer.

    Raises:
        RunFolderError: if there is a file that cannot be read.
    """
    records: list[dict[str, Any]] = []
    damaged: list[int] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                record = _record(line)
                if record is None or not _is_whole(record, needs):
                    damaged.append(number)
                else:
                    records.append(record)
    except FileNotFoundError:
        return Log(records=(), damaged=())
    except OSError as error:
        raise RunFolderError(
            f"{path} cannot be read: {error.strerror}; mend or remove it"
        ) from error
    return Log(records=tuple(records), damaged=tuple(damaged))


def _record(line: bytes) -> dict[str, Any] | None:
    # A byte that is no UTF-8 damages its line, not the file.
    try:
        value = json.loads(line)
    # Brackets within brackets beyond what the parser can follow are a RecursionError.
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_whole(record: dict[str, Any], needs: tuple[str, ...]) -> bool:
    step = record.get("step", 0)
    is_step = isinstance(step, int) and not isinstance(step, bool) and abs(step) <= LARGEST
    return is_step and all(key in record for key in needs)
