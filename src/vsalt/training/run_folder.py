"""A run folder: what lies in it, who may write to it, and writes that survive a power cut.

RUN/
  config.json        the resolved configuration; written last, so its presence marks a run
  environment.json   versions, commit, device, threads, command line, manifest hash; per start
  metrics.jsonl      one record per `log_every` steps and per val_loss; a function of the config
  timings.jsonl      clips/s and data-wait share of the same steps; differs from run to run
  warnings.jsonl     what looked wrong in training; empty if nothing did
  quarantine.jsonl   files that could not be read
  seen.jsonl         the rows that pretraining may draw
  teacher/           of a salt stage: the frozen teacher (weights, meta.json, seen.jsonl)
  checkpoints/       step-N/, and the pointers latest and best
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

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

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space, or write to another disk",
    errno.EDQUOT: "your disk quota is used up; free some space, or write to another disk",
    errno.EROFS: "the file system is read-only; write to another folder",
    errno.EACCES: "you may not write there; change its permissions, or write to another folder",
    errno.EPERM: "you may not write there; change its permissions, or write to another folder",
}


@contextmanager
def explain_write_errors(what: str) -> Iterator[None]:
    """Turn errors of the file system into a `RunFolderError` that says what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0)
        if advice is None:
            raise
        raise RunFolderError(f"cannot write {what}: {advice}") from error


def create_folder(path: Path) -> None:
    """Create a folder and its parents, and make sure that files can be written in it.

    Raises:
        RunFolderError: if that is not possible.
    """
    with explain_write_errors(f"to {path}"):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RunFolderError(f"{path} is not a folder; choose another --out") from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "not writable")


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Be the only process that writes to a run folder; the system lets go when a process dies.

    Raises:
        RunFolderError: if another process holds it.
    """
    with contextlib.ExitStack() as stack:
        with explain_write_errors(f"the lock of {path}"):
            # Unbuffered: closing must not try again to write what a full disk has refused.
            lock = stack.enter_context(open(path / ".lock", "a+b", buffering=0))
            _take(lock, path)
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n".encode())
        yield


def _take(lock: FileIO, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        owner = lock.read().decode().strip() or "unknown"
        raise RunFolderError(
            f"the run folder {path} is in use by process {owner}; wait for it, stop it, "
            "or choose another --out"
        ) from error


def require_free_disk(
    path: Path,
    needed_bytes: int,
    *,
    what: str = "the run's checkpoints need",
    advice: str = "lower loop.keep-last",
) -> None:
    """Refuse to start what would not fit on the disk of a folder.

    Raises:
        RunFolderError: with both numbers.
    """
    free = shutil.disk_usage(path).free
    if needed_bytes > free:
        raise RunFolderError(
            f"{path} has {free / 1e6:,.1f} MB free, {what} {needed_bytes / 1e6:,.1f} MB; "
            f"free some space, write to another disk, or {advice}"
        )


def write_file(path: Path, text: str) -> None:
    """Write a text file under a temporary name, flush it to disk and rename it into place."""
    temporary = path.with_name(f".{path.name}.tmp")
    with explain_write_errors(str(path)):
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file as `write_file` does."""
    write_file(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RunFolderError: if the file is missing or not JSON.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RunFolderError(f"{path} must hold a JSON object")
    return value


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


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Flush every file and folder below `path`, and `path` itself, to disk."""
    for entry in sorted(path.rglob("*")):
        if entry.is_dir():
            sync_folder(entry)
        else:
            with open(entry, "rb") as file:
                os.fsync(file.fileno())
    sync_folder(path)


class JsonLines:
    """An append-only log of JSON records that carry a `step`.

    Args:
        path: the file.
        keep_to_step: records of later steps, and a last line cut short, are removed first.
    """

    def __init__(self, path: Path, keep_to_step: int) -> None:
        self.path = path
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

    def sync(self) -> None:
        """Flush to disk."""
        with explain_write_errors(str(self.path)):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with explain_write_errors(str(self.path)):
            self._file.close()


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
