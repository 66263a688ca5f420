"""A row is one process that prints what it measured; the rows of a piece are kept in a file.

Every row has a process of its own, so that none holds memory of the device while another runs, and
one that fails or hangs takes nothing with it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsalt import durable

REPOSITORY = Path(__file__).resolve().parents[2]
TAIL = 3000
"""Characters of what a failed process said last that are kept."""


@dataclass(frozen=True)
class Row:
    """What one process measures.

    Attributes:
        name: unique in its piece.
        command: words after `python`; a script's name is relative to the repository.
        read: makes of what the process prints what is recorded; a ValueError makes the row fail.
        cwd: folder to run in; None: this process's.
    """

    name: str
    command: Sequence[str]
    read: Callable[[str], Any]
    cwd: Path | None = None


def take(row: Row, timeout_s: float) -> dict[str, Any]:
    """Run a row; what it found is in `found`, and why there is nothing in `errors`."""
    begin = time.monotonic()
    script, *words = row.command
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / script) if script.endswith(".py") else script, *words],
        cwd=row.cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # A group of its own: its workers end with it, and cannot keep its pipes open.
        start_new_session=True,
    )
    late = False
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        late = True
        end_group(process)
        out, err = process.communicate()
    except BaseException:
        end_group(process)
        raise
    record = {
        "row": row.name,
        "command": list(row.command),
        "exit_code": None if late else process.returncode,
        "seconds": round(time.monotonic() - begin, 1),
    }
    said = out[-TAIL:] + err[-TAIL:]
    if late:
        return record | {"errors": f"ended after {timeout_s:g} s, see --timeout\n{said}"}
    if process.returncode:
        return record | {"errors": said}
    try:
        return record | {"found": row.read(out)}
    except ValueError as error:
        return record | {"errors": f"{error}\n{said}"}


def end_group(process: subprocess.Popen[str]) -> None:
    """End a process and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class Results:
    """The rows of one piece, in a file that is whole after each of them.

    Args:
        path: of the file; read if it is there.
        piece: its name.
        machine: where the rows are taken.

    Raises:
        ValueError: the file's rows are of another machine.
        RunFolderError: the file cannot be read.
    """

    def __init__(self, path: Path, piece: str, machine: dict[str, Any]) -> None:
        self._path = path
        self._head = {"piece": piece, "machine": machine}
        kept = durable.read_json(path) if path.exists() else self._head
        if without_load(kept.get("machine", {})) != without_load(machine):
            raise ValueError(
                f"{path} is of another machine or of other versions; give another --out"
            )
        self._rows: dict[str, dict[str, Any]] = {row["row"]: row for row in kept.get("rows", [])}

    def found(self, row: Row) -> Any:
        """Return what a row of the same command has found; None if it failed or was not taken."""
        kept = self._rows.get(row.name, {})
        return kept.get("found") if kept.get("command") == list(row.command) else None

    def keep(self, rows: Sequence[Row]) -> None:
        """Forget what is of other commands than these rows'."""
        commands = {row.name: list(row.command) for row in rows}
        self._rows = {
            name: kept for name, kept in self._rows.items() if commands.get(name) == kept["command"]
        }

    def add(self, record: dict[str, Any]) -> None:
        """Write a row in the place of one of the same name."""
        self._rows[record["row"]] = record
        self._write()

    def note(self, **facts: Any) -> None:
        """Write facts about the whole piece."""
        self._head |= facts
        self._write()

    def _write(self) -> None:
        durable.write_json(self._path, self._head | {"rows": list(self._rows.values())})


def without_load(machine: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in machine.items() if name != "load"}
