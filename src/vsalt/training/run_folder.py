"""A run folder: what lies in it, and its logs; writing to it safely is `vsalt.durable`.

RUN/
  config.json        the resolved configuration and the command; written last, so its presence
                     marks a run
  environment.json   versions, commit, device, threads, command line, manifest hash; per start
  metrics.jsonl      one record per `log_every` steps and per val_loss; a function of the config
  timings.jsonl      clips/s and data-wait share of the same steps; differs from run to run
  warnings.jsonl     what looked wrong in training; empty if nothing did
  quarantine.jsonl   files that could not be read
  seen.jsonl         the rows that pretraining may draw
  track.json         which tracker follows the run, if one was asked for
  teacher/           of a salt stage: the frozen teacher (weights, meta.json, seen.jsonl)
  checkpoints/       step-N/, and the pointers latest and best
"""

import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from vsalt import __version__
from vsalt.durable import explain_write_errors, sync_folder, write_file, write_json
from vsalt.errors import RunFolderError

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
TIMINGS = "timings.jsonl"
WARNINGS = "warnings.jsonl"
QUARANTINE = "quarantine.jsonl"
SEEN = "seen.jsonl"
TEACHER = "teacher"
CHECKPOINTS = "checkpoints"
LATEST = "latest"
BEST = "best"


def check_new_run(path: Path) -> None:
    """Refuse at once what would fail later: a run where there is one, a folder closed to writing.

    Raises:
        RunFolderError: if a run cannot begin at `path`.
    """
    if (path / CONFIG).exists():
        raise RunFolderError(
            f"{path} holds a run already; `vsalt resume {path}` goes on with it, "
            "or choose another --out"
        )
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise RunFolderError(f"{existing} is not a folder; choose another --out")
    with explain_write_errors(f"to {path}"):
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "not writable")


def write_config(run: Path, kind: str, config: Mapping[str, Any], **facts: Any) -> None:
    """Write a run's config.json.

    Args:
        run: its folder, in which all else is there.
        kind: of run.
        config: resolved configuration, as plain values.
        facts: what else is to be known of the run.
    """
    head = {"kind": kind, "vsalt": __version__, "command": sys.argv, "config": config}
    write_json(run / CONFIG, {**head, **facts})


@runtime_checkable
class LogListener(Protocol):
    """Hears what is written to a log."""

    def hear(self, record: Mapping[str, Any]) -> None:
        """Take a record that has been written."""
        ...

    def sync(self) -> None:
        """Put what was heard to disk, as the log has been."""
        ...


class JsonLines:
    """An append-only log of JSON records that carry a `step`.

    Args:
        path: the file.
        keep_to_step: records of later steps, and a last line cut short, are removed first.

    Attributes:
        listeners: hear every record after it has been written.
    """

    def __init__(self, path: Path, keep_to_step: int) -> None:
        self.path = path
        self.listeners: list[LogListener] = []
        with explain_write_errors(str(path)):
            if path.exists():
                write_file(path, "".join(_lines_to_step(path, keep_to_step)))
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115
            sync_folder(path.parent)

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        with explain_write_errors(str(self.path)):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        for listener in self.listeners:
            listener.hear(record)

    def sync(self) -> None:
        """Flush to disk."""
        with explain_write_errors(str(self.path)):
            os.fsync(self._file.fileno())
        for listener in self.listeners:
            listener.sync()

    def close(self) -> None:
        """Close the file."""
        with explain_write_errors(str(self.path)):
            self._file.close()


class NoLog(JsonLines):
    """A log of a process that writes none."""

    def __init__(self, path: Path, keep_to_step: int) -> None:
        del keep_to_step
        self.path = path
        self.listeners = []

    def write(self, record: dict[str, Any]) -> None:
        """Write nothing."""

    def sync(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def _lines_to_step(path: Path, step: int) -> Iterator[str]:
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                keep = json.loads(line)["step"] <= step
            except (ValueError, KeyError, TypeError) as error:
                raise RunFolderError(f"{path} is damaged in line {number}: {error}") from error
            if keep:
                yield line
