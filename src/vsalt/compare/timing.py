"""How long cells take, from those that were done before."""

import contextlib
import json
import os
from pathlib import Path

from vsalt.compare.cells import Cell

SECONDS = "seconds.jsonl"


class Timings:
    """Remembers the seconds of cells, also for the next start.

    Args:
        out: folder of the comparison; `seconds.jsonl` in it has one line per cell.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / SECONDS
        self._known: list[tuple[str, float | None, float]] = []
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                # A line may be cut short where the program was killed; it says nothing.
                with contextlib.suppress(json.JSONDecodeError):
                    entry = json.loads(line)
                    self._known.append((entry["arm"], entry["budget"], entry["seconds"]))

    def add(self, cell: Cell, seconds: float) -> None:
        """Remember a cell that was done."""
        self._known.append((cell.arm, cell.budget, seconds))
        entry = {"arm": cell.arm, "budget": cell.budget, "seconds": round(seconds, 3)}
        with self._path.open("a+b") as file:
            # What follows a line that was cut short must not become a part of it.
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(f"{json.dumps({'key': cell.key, **entry})}\n".encode())

    def expect(self, cell: Cell) -> float | None:
        """Return how many seconds a cell will take; None where nothing is known yet.

        It is the mean of those of the same arm and budget; without any, the seconds per FLOP of
        the same arm, then of all arms.
        """
        same = [s for arm, budget, s in self._known if (arm, budget) == (cell.arm, cell.budget)]
        if same:
            return sum(same) / len(same)
        trained = [(arm, budget, s) for arm, budget, s in self._known if budget is not None]
        if cell.budget is None:
            others = [s for _, budget, s in self._known if budget is None]
            return sum(others) / len(others) if others else None
        own = [(budget, s) for arm, budget, s in trained if arm == cell.arm]
        pairs = own or [(budget, s) for _, budget, s in trained]
        if not pairs:
            return None
        return cell.budget * sum(s for _, s in pairs) / sum(budget for budget, _ in pairs)
