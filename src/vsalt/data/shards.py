"""The layout of packed shards: tar files in WebDataset naming, the same bytes for the same files.

A file of a source becomes two members next to each other: `<key>.<ext>` with its bytes and
`<key>.json` with its path and columns. Keys are running numbers, which are safe as names.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from vsalt.data.manifest import Row
from vsalt.data.media import Media
from vsalt.data.output_folder import copy_media

# What readers of tar files expect at the end: two empty blocks, then a whole record.
_END_BYTES = 2 * tarfile.BLOCKSIZE
_NO_SUFFIX = ".bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile:
    """One file of a source, with its rows, as it lies in a shard.

    Attributes:
        key: its name in the shard, without a suffix.
        media: where its bytes come from; the size is set.
        modified_ns: when it was changed last, in nanoseconds.
        path: as the source names it.
        columns: of each of its rows.
    """

    key: str
    media: Media
    modified_ns: int
    path: str
    columns: tuple[dict[str, str], ...]

    @property
    def size(self) -> int:
        """Number of its bytes."""
        assert self.media.size is not None
        return self.media.size

    @property
    def header(self) -> bytes:
        """The tar header of its bytes."""
        suffix = PurePosixPath(self.path).suffix.lower() or _NO_SUFFIX
        if not suffix[1:].isalnum() or not suffix.isascii():
            suffix = _NO_SUFFIX
        return _header(f"{self.key}{suffix}", self.size)

    def sidecar(self) -> bytes:
        """Return the JSON member: the columns, or `rows` with those of each row."""
        first, *others = self.columns
        cells = {"rows": self.columns} if others else first
        return json.dumps({"path": self.path, **cells}).encode()

    def num_bytes(self) -> int:
        """Return how many bytes of a shard it takes."""
        sidecar = self.sidecar()
        headers = len(self.header) + len(_header(f"{self.key}.json", len(sidecar)))
        return headers + _padded(self.size) + _padded(len(sidecar))

    def chunks(self) -> Iterator[bytes | Media]:
        """Yield what a shard holds of it, piece by piece."""
        yield self.header
        yield self.media
        yield _padding(self.size)
        sidecar = self.sidecar()
        yield _header(f"{self.key}.json", len(sidecar)) + sidecar + _padding(len(sidecar))


@dataclass(frozen=True, slots=True)
class Shard:
    """A tar file: its name, and what is in it, in order."""

    name: str
    files: tuple[PackedFile, ...]

    def offsets(self) -> list[int]:
        """Return where the bytes of each file begin."""
        found = []
        position = 0
        for file in self.files:
            found.append(position + len(file.header))
            position += file.num_bytes()
        return found

    def num_bytes(self) -> int:
        """Return the size of the tar file."""
        content = sum(file.num_bytes() for file in self.files)
        return _padded(content + _END_BYTES, tarfile.RECORDSIZE)

    def digest(self) -> str:
        """Return a hash of all that the shard is made from, contents by size and time."""
        plan = [
            [file.header.hex(), file.sidecar().decode(), *file.media, file.modified_ns]
            for file in self.files
        ]
        return hashlib.sha256(json.dumps(plan).encode()).hexdigest()

    def write(self, target: IO[bytes]) -> str:
        """Write the tar file, and return the SHA-256 of its bytes.

        Raises:
            DecodeError: a file cannot be read or has become shorter.
            OSError: `target` cannot be written.
        """
        hashing = _Hashing(target)
        for file in self.files:
            for chunk in file.chunks():
                if isinstance(chunk, Media):
                    copy_media(chunk, hashing)
                else:
                    hashing.write(chunk)
        hashing.write(bytes(self.num_bytes() - hashing.num_bytes))
        return hashing.hexdigest()


class _Hashing:
    """Writes on, and hashes what goes through."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.num_bytes = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.num_bytes += len(data)
        return self._target.write(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def divide(files: Sequence[PackedFile], shard_bytes: int) -> list[Shard]:
    """Divide files, in order, into shards of at most so many bytes; a larger file is alone."""
    groups: list[list[PackedFile]] = []
    room = 0
    for file in files:
        needed = file.num_bytes()
        if not groups or needed > room:
            groups.append([])
            room = shard_bytes - _END_BYTES
        groups[-1].append(file)
        room -= needed
    return [Shard(f"shard-{n:06d}.tar", tuple(group)) for n, group in enumerate(groups)]


def file_of(number: int, media: Media, modified_ns: int, rows: Sequence[Row]) -> PackedFile:
    """Return how a file is packed.

    Args:
        number: running number of the file in the source.
        media: where its bytes are, with their number.
        modified_ns: when they were changed last.
        rows: those that use it.
    """
    return PackedFile(
        key=f"{number:09d}",
        media=media,
        modified_ns=modified_ns,
        path=rows[0].relative_path,
        columns=tuple(dict(row.columns) for row in rows),
    )


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    # Owner, time and permissions are constants, so that equal files give equal shards.
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int, unit: int = tarfile.BLOCKSIZE) -> int:
    return -(-size // unit) * unit


def _padding(size: int) -> bytes:
    return bytes(_padded(size) - size)
