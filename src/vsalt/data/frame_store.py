"""Where decoded frames are kept: entries of bytes by row, in memory or on disk.

Both stores are used by several processes at once. An entry is there once its last byte is written;
a process that is killed before leaves none. Two processes that store the same row at once store
the same bytes twice.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import mmap
import os
import tempfile
import weakref
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import av
import numpy as np

from vsalt.data.clip_table import ClipPlace
from vsalt.data.config import ReadLimits
from vsalt.data.remote import describe
from vsalt.data.urls import is_url
from vsalt.errors import ConfigError, DecodeError

# Change it whenever the same file may give other pixels or times.
_FORMAT = 1
_WORD = np.dtype("<i8")
_PARTIAL = "partial-"


@runtime_checkable
class Store(Protocol):
    """Keeps entries by row; must be picklable, for worker processes."""

    def load(self, row: int, place: ClipPlace) -> memoryview | None:
        """Return the bytes of a complete entry, or None."""
        ...

    def save(self, row: int, place: ClipPlace, chunks: Iterator[memoryview]) -> bool:
        """Store an entry and return True, or leave it if there is no room for it."""
        ...


class RamStore:
    """Entries in one piece of memory without a name.

    It begins with the first free byte, then (start, length) of every row's entry; a start of 0 is
    no entry. An entry is announced after its last byte, so a writer that is killed leaves nothing
    but a hole. Worker processes reach the memory through the process that made it.

    Args:
        num_rows: number of rows.
        capacity: bytes that it may grow to; memory is taken as entries come.
    """

    def __init__(self, num_rows: int, capacity: int) -> None:
        data_start = _WORD.itemsize * (1 + 2 * num_rows)
        self._file = os.memfd_create("vsalt-frames")
        self._capacity = data_start + capacity
        os.ftruncate(self._file, self._capacity)
        self._owner = (os.getpid(), self._file)
        self._put(0, data_start)
        self._attach()

    def __getstate__(self) -> dict[str, object]:
        """Name the memory instead of sending it."""
        return {"owner": self._owner, "capacity": self._capacity}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Open the memory of the process that made it."""
        assert isinstance(state["owner"], tuple)
        assert isinstance(state["capacity"], int)
        self._owner, self._capacity = state["owner"], state["capacity"]
        self._file = os.open("/proc/{}/fd/{}".format(*self._owner), os.O_RDWR | os.O_CLOEXEC)
        self._attach()

    def _attach(self) -> None:
        weakref.finalize(self, os.close, self._file)
        self._memory = memoryview(mmap.mmap(self._file, self._capacity, prot=mmap.PROT_READ))

    def load(self, row: int, place: ClipPlace) -> memoryview | None:
        """Return the bytes of a complete entry, or None."""
        del place
        start, length = self._get(1 + 2 * row), self._get(2 + 2 * row)
        return self._memory[start : start + length] if start else None

    def save(self, row: int, place: ClipPlace, chunks: Iterator[memoryview]) -> bool:
        """Store an entry and return True, or leave it if there is no room for it."""
        del place
        content: deque[memoryview] = deque()
        length = 0
        for chunk in chunks:
            content.append(chunk)
            length += len(chunk)
            # What does not fit must not be gathered either.
            if self._get(0) + length > self._capacity:
                return False
        start = self._reserve(length)
        if start is None:
            return False
        place_of_next = start
        while content:
            # Each piece is let go as it is written.
            chunk = content.popleft()
            _write_at(self._file, chunk, place_of_next)
            place_of_next += len(chunk)
        self._put(2 + 2 * row, length)
        self._put(1 + 2 * row, start)
        return True

    def _reserve(self, length: int) -> int | None:
        # The lock ends with the process that holds it.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            start = self._get(0)
            if start + length > self._capacity:
                return None
            self._put(0, start + length)
            return start
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _get(self, index: int) -> int:
        place = index * _WORD.itemsize
        return int(np.frombuffer(os.pread(self._file, _WORD.itemsize, place), _WORD)[0])

    def _put(self, index: int, value: int) -> None:
        content = np.array([value], dtype=_WORD).tobytes()
        os.pwrite(self._file, content, index * _WORD.itemsize)


def _write_at(file: int, content: memoryview, place: int) -> None:
    while len(content):
        written = os.pwrite(file, content, place)
        content, place = content[written:], place + written


class DiskStore:
    """Entries as files in a folder, which are mapped into memory to be read.

    A file is written under another name and renamed when it is complete. What killed processes
    have left half-written is removed the next time that the folder is used.

    Args:
        folder: is made if it is not there.
        limits: part of what an entry depends on.

    Raises:
        ConfigError: the folder cannot be written.
    """

    def __init__(self, folder: Path, limits: ReadLimits) -> None:
        self._folder = folder
        self._limits = limits
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            reason = f"the frame cache {folder} cannot be written: {error.strerror}"
            raise ConfigError([f"{reason}; name another folder by --data.cache-dir"]) from error
        self._remove_half_written()

    def load(self, row: int, place: ClipPlace) -> memoryview | None:
        """Return the bytes of a complete entry, or None."""
        del row
        try:
            with entry_path(self._folder, place, self._limits).open("rb") as file:
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        # An empty file cannot be mapped.
        except (FileNotFoundError, ValueError):
            return None

    def save(self, row: int, place: ClipPlace, chunks: Iterator[memoryview]) -> bool:
        """Store an entry and return True, or leave it if there is no room for it."""
        del row
        path = entry_path(self._folder, place, self._limits)
        try:
            self._write(path, chunks)
        except OSError:
            return False
        return True

    def _write(self, path: Path, chunks: Iterator[memoryview]) -> None:
        handle, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=self._folder)
        try:
            with open(handle, "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.writelines(chunks)
                file.flush()
                # Without it, a power failure could leave a whole file of unwritten pixels.
                os.fsync(file.fileno())
                path.parent.mkdir(exist_ok=True)
                os.rename(partial, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)

    def _remove_half_written(self) -> None:
        for path in self._folder.glob(f"{_PARTIAL}*"):
            with contextlib.suppress(OSError), path.open("rb") as file:
                # Whoever still writes to it holds the lock.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def entry_path(folder: Path, place: ClipPlace, limits: ReadLimits) -> Path:
    """Return the file of a row's entry, named by a hash of all that its content depends on.

    Raises:
        DecodeError: the video's file has gone.
    """
    path = place.media.path
    if is_url(path):
        # To read the video itself takes as long again, and a worker is given little more than that.
        file = [path, *describe(path, remaining_s=limits.timeout_s)]
    else:
        path = os.path.realpath(path)
        try:
            status = os.stat(path)
        except OSError as error:
            raise DecodeError(f"{place.media}: {error.strerror}") from error
        file = [path, status.st_size, status.st_mtime_ns]
    key = {
        "versions": [_FORMAT, av.__version__, sorted(av.library_versions.items())],
        "limits": {**dataclasses.asdict(limits), "timeout_s": None},
        "file": file,
        "part": [place.media.offset, place.media.size, place.start_s, place.end_s],
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder / name[:2] / f"{name}.frames"
