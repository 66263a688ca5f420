"""A folder that a set is written to: apart from its source, and nobody else's."""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from vsalt.data.media import Media
from vsalt.data.urls import is_url
from vsalt.durable import read_json, temporary_name, write_json
from vsalt.errors import DataError, DecodeError, printable

PARTIAL = ".partial"
"""Folder of files that are being written, inside of the output folder; what a killed process left
there is removed by the next one."""
LOCK = ".lock"
MANIFEST = "manifest.jsonl"
"""The rows of a set whose files lie in the folder as they are."""

_BLOCK_BYTES = 1 << 20


@runtime_checkable
class SupportsWrite(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes, /) -> int:
        """Write all of it."""
        ...


def require_apart(source: Path, inputs: Iterable[str], out: Path) -> None:
    """Refuse an output folder in which, by whatever name, an input lies.

    Args:
        source: the folder or manifest that names the inputs.
        inputs: the files.
        out: the folder to write to; it need not exist.

    Raises:
        DataError: `out` is in the source's folder, holds the manifest or an input, or holds a
            link, which may lead to one; or an input is a URL.
        DecodeError: an input is gone.
    """
    real_out = os.path.realpath(out)
    real_source = os.path.realpath(source)
    if os.path.isdir(source) and _is_inside(real_out, real_source):
        raise DataError(f"OUT {out} lies in the source {source}; name a folder outside of it")
    if _is_inside(real_source, real_out):
        raise DataError(f"the source {source} lies in OUT {out}; name another OUT")
    present = _files_in(out)
    for path in inputs:
        require_local(path)
        with read_errors(path):
            status = os.stat(path)
        twin = present.get((status.st_dev, status.st_ino))
        if twin is not None:
            raise DataError(
                f"{printable(twin)} in OUT is the same file as the input {printable(path)}; name "
                "another OUT"
            )
        if _is_inside(_real_path(path), real_out):
            raise DataError(f"the input {printable(path)} lies in OUT {out}; name another OUT")


def require_local(name: str) -> Path:
    """Return the path of what must lie in the local file system.

    Raises:
        DataError: it is a URL.
    """
    if is_url(name):
        raise DataError(
            f"{printable(name)} is a URL, and this verb reads local files only; copy what it needs "
            "to this machine. pretrain, salt, embed, probe and data check read URLs"
        )
    return Path(name)


def require_own(out: Path, verb: str, *, marker: str | None = None) -> None:
    """Refuse a folder with anything in it, unless its marker says that this verb has begun it.

    Args:
        out: the folder; it need not exist.
        verb: for the message.
        marker: a file's name; None: the verb always begins anew.

    Raises:
        DataError: the folder is in use, or is no folder.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out} is not a folder; name another OUT")
    names = {entry.name for entry in os.scandir(out)}
    # What a process that was killed before it wrote the marker may have left.
    begun = {LOCK} if marker is None else {LOCK, temporary_name(Path(marker)).name}
    if marker not in names and names - begun:
        raise DataError(
            f"{out} is not empty and nothing that `vsalt {verb}` could go on with; name another OUT"
        )


def require_same_source(out: Path, begun_from: str | None, source: Path) -> str:
    """Refuse to go on with a set in a folder that was begun from another source.

    Its files would be taken for ones that the source has dropped, and removed.

    Args:
        out: the folder of the set.
        begun_from: what this function returned when the set was begun; None if it is begun now.
        source: where the set comes from.

    Returns:
        The name to note down.

    Raises:
        DataError: it is another source.
    """
    name = os.path.realpath(source)
    if begun_from not in (None, name):
        raise DataError(f"{out} was begun from {begun_from}, not from {name}; name another OUT")
    return name


def take_settings(out: Path, name: str, source: Path, settings: Mapping[str, object]) -> None:
    """Note down of what and how a set is made, or refuse to mix it with another.

    Args:
        out: the folder of the set.
        name: of the file for the notes.
        source: where the set comes from.
        settings: the value of each flag, by its name without dashes in front.

    Raises:
        DataError: `out` was begun from another source or with other settings.
    """
    before = read_json(out / name) if (out / name).exists() else {}
    now = {"source": require_same_source(out, before.get("source"), source), **settings}
    differ = [
        f"--{flag} was {before.get(flag)!r} and is now {value!r}"
        for flag, value in settings.items()
        if before and before.get(flag) != value
    ]
    if differ:
        raise DataError(
            f"{out} was begun with other settings: {'; '.join(differ)}; give those, or name "
            "another OUT"
        )
    write_json(out / name, now)


def fresh_partial(out: Path) -> Path:
    """Return the folder for files that are being written, empty."""
    partial = out / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    return partial


def copy_media(media: Media, target: SupportsWrite) -> None:
    """Append the bytes of a video or image to an open file.

    Raises:
        DecodeError: the source cannot be read, or has not so many bytes.
        OSError: `target` cannot be written.
    """
    with open_regular(media.path) as source:
        with read_errors(media.path):
            source.seek(media.offset)
        left = os.fstat(source.fileno()).st_size - media.offset
        if media.size is not None:
            left = media.size
        while left:
            with read_errors(media.path):
                block = source.read(min(left, _BLOCK_BYTES))
            if not block:
                raise DecodeError(f"{media}: the file ends {left} bytes early")
            target.write(block)
            left -= len(block)


def media_version(media: Media) -> tuple[int, int]:
    """Return the number of its bytes, and when its file was changed last, in nanoseconds.

    Raises:
        DecodeError: the file is gone.
    """
    with read_errors(media.path):
        status = os.stat(media.path)
    size = status.st_size - media.offset if media.size is None else media.size
    return size, status.st_mtime_ns


@contextmanager
def open_regular(path: str) -> Iterator[BinaryIO]:
    """Open a regular file for reading; pipes and devices are refused.

    Raises:
        DecodeError: it cannot be opened.
    """
    with read_errors(path):
        # Without O_NONBLOCK the opening of a pipe would wait for its writer.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DecodeError(f"{path}: not a regular file")
        yield file


@contextmanager
def read_errors(path: str) -> Iterator[None]:
    """Turn errors of the file system in this block into a `DecodeError`."""
    try:
        yield
    except OSError as error:
        raise DecodeError(f"{path}: {error.strerror or error}") from error


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _real_path(path: str) -> str:
    if os.path.islink(path):
        return os.path.realpath(path)
    return os.path.join(_real_folder(os.path.dirname(path)), os.path.basename(path))


@lru_cache(maxsize=1 << 16)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _files_in(out: Path) -> dict[tuple[int, int], str]:
    """Return the files of a folder by what tells them apart under all of their names."""
    return {(status.st_dev, status.st_ino): path for path, status in _entries(out)}


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for parent, subfolders, names in os.walk(folder):
        for name in (*subfolders, *names):
            path = os.path.join(parent, name)
            if os.path.islink(path):
                raise DataError(f"{printable(path)} in OUT is a link; name another OUT")
        for name in names:
            path = os.path.join(parent, name)
            yield path, os.lstat(path)
