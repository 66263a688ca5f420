"""Whether an encoder has seen the rows that it is tested on.

A run lists the rows that its pretraining may draw in `seen.jsonl`, one `SeenRow` per line. Files
are recognised by name and size, so that a data set that was moved, or is divided by another
manifest, is recognised too; stretches of one file must overlap.
"""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vsalt.data.catalogue import SeenRow, ask_sizes, file_identity
from vsalt.data.manifest import Row
from vsalt.errors import RunFolderError

_File = tuple[str, int]
_Stretch = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What pretraining has seen of the test rows.

    Attributes:
        kind: inductive if none of them; transductive if some; unknown if the checkpoint lies
            outside of its run; none for weights that were never trained.
        num_seen: test rows that overlap with something pretraining may have drawn.
        num_test: all test rows.
    """

    kind: Literal["inductive", "transductive", "unknown", "none"]
    num_seen: int
    num_test: int

    def __str__(self) -> str:
        """Say which test rows it has seen, as the column *pretraining saw* does."""
        return {
            "none": "not trained",
            "inductive": "no test rows",
            "transductive": f"{self.num_seen} of {self.num_test} test rows",
            "unknown": "unknown",
        }[self.kind]


def exposure_of(
    seen: Sequence[Path], test_rows: Sequence[Row], *, part: str | None = None
) -> Exposure:
    """Compare the rows of `seen.jsonl` files with test rows.

    Args:
        seen: the files of a run; empty if they are not known.
        test_rows: the rows whose predictions count.
        part: of a probe's list, take only the rows with this part among their `parts`.

    Raises:
        RunFolderError: if a file cannot be read.
    """
    if not seen:
        return Exposure(kind="unknown", num_seen=0, num_test=len(test_rows))
    stretches: dict[_File, list[_Stretch]] = defaultdict(list)
    for path in seen:
        _collect(path, stretches, part)
    ask_sizes(test_rows)
    num_seen = sum(_is_seen(row, stretches) for row in test_rows)
    kind: Literal["inductive", "transductive"] = "transductive" if num_seen else "inductive"
    return Exposure(kind=kind, num_seen=num_seen, num_test=len(test_rows))


def _collect(path: Path, stretches: dict[_File, list[_Stretch]], part: str | None) -> None:
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                if part is not None and part not in record["parts"]:
                    continue
                row = SeenRow(**{name: record[name] for name in SeenRow._fields})
                stretches[row.file_name, row.size_bytes].append(_stretch(row.start_s, row.end_s))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path}, the list of what was learned from, cannot be read: {error!r}"
        ) from error


def _is_seen(row: Row, stretches: dict[_File, list[_Stretch]]) -> bool:
    start, end = _stretch(row.start_s, row.end_s)
    found = stretches.get(file_identity(row), ())
    return any(start < other_end and other_start < end for other_start, other_end in found)


def _stretch(start_s: float | None, end_s: float | None) -> _Stretch:
    return start_s or 0.0, math.inf if end_s is None else end_s
