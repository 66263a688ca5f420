"""Writes that survive a power cut, into folders that one process at a time may write to."""

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


@contextmanager
def explain_all_write_errors(what: str) -> Iterator[None]:
    """Turn those errors of the file system, too, for which there is no advice.

    For what one process does while others wait to be told how it went.
    """
    try:
        with explain_write_errors(what):
            yield
    except OSError as error:
        raise RunFolderError(f"cannot write {what}: {error}") from error


def create_folder(path: Path) -> None:
    """Create a folder and its parents, and make sure that files can be written in it.

    Raises:
        RunFolderError: if that is not possible.
    """
    with explain_write_errors(f"to {path}"):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RunFolderError(f"{path} is not a folder; name another one to write to") from error
        except FileNotFoundError as error:  # as in /proc
            raise RunFolderError(f"no folder can be made at {path}; name another one") from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "not writable")


def create_new_folder(path: Path, name: str) -> None:
    """Create a folder that is written once.

    Args:
        path: the folder; may be there if it is empty.
        name: what the command line calls it, for the message.

    Raises:
        RunFolderError: if it holds something, or cannot be written.
    """
    if path.is_dir() and any(path.iterdir()):
        raise RunFolderError(f"{path} exists and is not empty; choose another {name}")
    create_folder(path)


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Be the only process that writes to a folder; the system lets go when a process dies.

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


@contextmanager
def wait_to_hold(path: Path) -> Iterator[None]:
    """Wait until no other process holds a file that serves as a lock, and hold it."""
    with contextlib.ExitStack() as stack:
        with explain_write_errors(f"the lock {path}"):
            lock = stack.enter_context(open(path, "a"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _take(lock: FileIO, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        owner = lock.read().decode().strip() or "unknown"
        raise RunFolderError(
            f"the folder {path} is in use by process {owner}; wait for it, stop it, "
            "or write to another folder"
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
    with whole_file(path) as temporary, open(temporary, "x", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a free name beside `path` to write to; the file is on disk and has its name afterwards.

    If the block fails, nothing is left.

    Raises:
        RunFolderError: if it cannot be written.
    """
    temporary = temporary_name(path)
    with explain_write_errors(str(path)):
        # A link that somebody has put there must not be written through.
        temporary.unlink(missing_ok=True)
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def temporary_name(path: Path) -> Path:
    """Return the name of a file while it is being written."""
    return path.with_name(f".{path.name}.tmp")


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
