"""Writes down files that cannot be read, and stops the run when there are too many."""

import json
import os
from collections import defaultdict
from collections.abc import Collection, Hashable
from pathlib import Path
from typing import NamedTuple

from vsalt.data.types import BadFile, Batch, SampleKey
from vsalt.errors import DataError, RunFolderError

MIN_READS = 100
"""The share of bad files is judged from so many reads on."""

_NAMED_IN_ERROR = 3


class ReadCounts(NamedTuple):
    """Clips that were tried, and those of them that could not be read."""

    reads: int = 0
    bad: int = 0


class Quarantine:
    """The file `quarantine.jsonl` of a run folder.

    A file that cannot be read is written once, with its first error; `counts` counts every time.
    What replaces a bad clip never depends on that list, it is only for people.

    A time-out depends on the clock, so every one is written, before its batch is used: a run that
    is resumed takes the same clips again by not reading what has timed out before (`verdicts`).

    Args:
        path: the file; made when there is something to write.
        max_bad_share: the run stops when more than this share of all reads fails.
        counts: the counts of the run so far, when it is resumed.
        writes: whether this process writes the file; of several, one does.

    Raises:
        RunFolderError: if the file is damaged.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bad_share: float,
        counts: ReadCounts | None = None,
        writes: bool = True,
    ) -> None:
        self._path = path
        self._writes = writes
        self._max_bad_share = max_bad_share
        self._known = {_identity(record): record for record in _read(path)}
        self.counts = counts or ReadCounts()

    def record(self, batch: Batch) -> None:
        """Count a batch's reads and write its new bad files.

        Raises:
            DataError: after at least `MIN_READS` reads, more than `max_bad_share` of them failed.
        """
        self.add(batch.num_reads, batch.bad_files)

    def add(self, reads: int, bad_files: Collection[BadFile]) -> None:
        """Count reads and write those down that failed, if they are new.

        Raises:
            DataError: see `record`.
        """
        self.counts = ReadCounts(self.counts.reads + reads, self.counts.bad + len(bad_files))
        for record in bad_files:
            self.note(record)
        self._check()

    def note(self, record: BadFile) -> None:
        """Write a bad file down, unless it has been before, without counting it."""
        if _identity(record) in self._known:
            return
        self._known[_identity(record)] = record
        if not self._writes:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record._asdict()) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def positions(self, step: int) -> set[int]:
        """Return the positions at a step of held-out clips whose bad files are written down."""
        assert step < 0, "of other steps a file is written down once, wherever it was met"
        return {record.position for record in self._known.values() if record.step == step}

    def verdicts(self) -> dict[SampleKey, dict[int, str]]:
        """Return the time-outs that are known: for each sample the attempts, with their errors."""
        verdicts: dict[SampleKey, dict[int, str]] = defaultdict(dict)
        for record in self._known.values():
            if record.timed_out:
                key = SampleKey(record.step, record.position)
                verdicts[key][record.attempt] = record.error
        return dict(verdicts)

    def _check(self) -> None:
        reads, bad = self.counts
        if reads < MIN_READS or bad <= self._max_bad_share * reads:
            return
        errors = {record.path: record.error for record in self._known.values()}
        first = "; ".join(list(errors.values())[:_NAMED_IN_ERROR])
        raise DataError(
            f"{bad} of {reads} clips could not be read, more than --data.max-bad-share "
            f"{self._max_bad_share:g} allows. {len(errors)} files are named in {self._path}; "
            f"the first: {first}. vsalt data check SOURCE --write-clean MANIFEST writes a manifest "
            "of what can be read"
        )

    def cut(self, step: int) -> None:
        """Forget what was found at `step` or later, before resuming there; not the time-outs."""
        if not self._path.exists():
            return
        self._known = {
            identity: record
            for identity, record in self._known.items()
            if record.step < step or record.timed_out
        }
        if not self._writes:
            return
        temporary = self._path.with_name(self._path.name + ".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record._asdict()) + "\n" for record in self._known.values())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)


def _identity(record: BadFile) -> Hashable:
    """Return what is written once: time-outs and held-out clips by place, others by file."""
    if record.timed_out or record.step < 0:
        return record.step, record.position, record.attempt
    return record.path


def _read(path: Path) -> list[BadFile]:
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        # A run that was killed while writing leaves half a line, which `cut` then drops.
        if not line.endswith(b"\n"):
            break
        try:
            found.append(BadFile(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise RunFolderError(
                f"{path} is damaged in line {number}: {error}; remove that line"
            ) from error
    return found
