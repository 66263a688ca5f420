"""How long cells take, from those that were done before."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsalt.compare.cells import Cell

SECONDS = "seconds.jsonl"


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A cell that was done: the name of its data set, its arm and budget, and its seconds."""

    data: str
    arm: str
    budget: float | None
    seconds: float


class Timings:
    """Remembers the seconds of cells, also for the next start.

    Args:
        out: folder of the comparison; `seconds.jsonl` in it has one line per cell.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / SECONDS
        self._known: list[_Known] = []
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                # A line may be cut short where the program was killed; it says nothing.
                with contextlib.suppress(json.JSONDecodeError):
                    self._known.append(_read(json.loads(line)))

    def add(self, cell: Cell, seconds: float) -> None:
        """Remember a cell that was done."""
        entry = {
            "key": cell.key, "arm": cell.arm, "budget": cell.budget, "seconds": round(seconds, 3),
        }  # fmt: skip
        self._known.append(_read(entry))
        with self._path.open("a+b") as file:
            # What follows a line that was cut short must not become a part of it.
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(f"{json.dumps(entry)}\n".encode())

    def expect(self, cell: Cell) -> float | None:
        """Return how many seconds a cell will take; None where nothing is known yet.

        It is the mean of those of the same arm and budget; without any, the seconds per FLOP of
        the same arm, then of all arms. Only cells of the same data set count, if there are any:
        where encoders are scored that were trained on another one, a cell is a probe alone.
        """
        known = [one for one in self._known if one.data == cell.data] or self._known
        same = [one for one in known if (one.arm, one.budget) == (cell.arm, cell.budget)]
        if same:
            return _mean(same)
        if cell.budget is None:
            untrained = [one for one in known if one.budget is None]
            return _mean(untrained) if untrained else None
        trained = [one for one in known if one.budget is not None]
        pairs = [one for one in trained if one.arm == cell.arm] or trained
        if not pairs:
            return None
        return cell.budget * _mean(pairs) * len(pairs) / sum(one.budget or 0.0 for one in pairs)


def _read(entry: Mapping[str, Any]) -> _Known:
    # A key begins with the data set, after a purpose if that is not to compare.
    first, _, rest = entry["key"].partition(".")
    data = rest.partition(".")[0] if first in ("sweep", "selection") else first
    return _Known(data=data, arm=entry["arm"], budget=entry["budget"], seconds=entry["seconds"])


def _mean(cells: Sequence[_Known]) -> float:
    return sum(one.seconds for one in cells) / len(cells)
