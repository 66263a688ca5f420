"""Makes the index of WebDataset shards that others have packed, from their tar headers.

The tar files are only read. Names in them are text in the index; nothing is written under them.
Members that are no plain file inside of the shard are reported and left out.
"""

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from vsalt import durable
from vsalt.data.manifest import IMAGE_SUFFIXES, VIDEO_SUFFIXES, path_problem
from vsalt.data.output_folder import open_regular
from vsalt.data.pack import INDEX_COLUMNS
from vsalt.data.shard_index import INDEX_NAME
from vsalt.errors import DataError, DecodeError

_TEXT_COLUMNS = {".cls": "label", ".txt": "text"}
# A header with a long name or a member with columns has no reason to be larger.
_MAX_TEXT_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class IndexResult:
    """What was found in the shards.

    Attributes:
        num_shards: tar files.
        num_rows: lines of the index.
        problems: what was left out, with the reason, one sentence each.
    """

    num_shards: int
    num_rows: int
    problems: tuple[str, ...]


def index_tars(folder: Path) -> IndexResult:
    """Write index.jsonl for the tar files of a folder, in the order of their names and members.

    Members whose names are the same up to the first dot of the last part belong together. Each
    video or image among them is a row; .json gives columns, .cls the label, .txt the column text.
    The row's path is that in the .json if there is one, else shard/member, without suffix `.tar`.

    Raises:
        DataError: the folder has an index, no tar file, or no video in them.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    if (folder / INDEX_NAME).exists():
        raise DataError(f"{folder / INDEX_NAME} is there already; remove it to make it anew")
    shards = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".tar")
    problems: list[str] = []
    lines = [
        json.dumps(row) + "\n"
        for shard in shards
        for sample in _samples(shard, problems)
        for row in sample.rows(shard, problems)
    ]
    if not lines:
        found = f"{len(shards)} tar files" if shards else "no tar file (compressed ones do not do)"
        raise DataError("\n".join([f"no video or image in {folder}: {found}", *problems[:10]]))
    durable.write_file(folder / INDEX_NAME, "".join(lines))
    return IndexResult(num_shards=len(shards), num_rows=len(lines), problems=tuple(problems))


@dataclass
class _Sample:
    """The members of one key."""

    key: str
    media: list[tarfile.TarInfo] = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=dict)

    def rows(self, shard: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
        """Yield the lines of the index."""
        columns = dict(self.columns)
        given = columns.pop("path", None)
        several = columns.pop("rows", [{}])
        taken = sorted(set(columns) & set(INDEX_COLUMNS))
        if taken:
            problems.append(
                f"{shard.name}: {self.key!a}: columns left out, as the index has its own: "
                f"{', '.join(taken)}"
            )
        usable = isinstance(given, str) and not path_problem(given) and len(self.media) == 1
        for info in self.media:
            place = {
                "path": given if usable else f"{shard.stem}/{info.name}",
                "shard": shard.name,
                "offset": info.offset_data,
                "size": info.size,
            }
            for row in several if isinstance(several, list) and several else [{}]:
                cells = {**columns, **_flat(row)}
                own = {name: cell for name, cell in cells.items() if name not in INDEX_COLUMNS}
                yield {**place, **own}


def _samples(shard: Path, problems: list[str]) -> Iterator[_Sample]:
    """Yield the samples of a shard: runs of members with one key."""
    sample = None
    try:
        with open_regular(os.fspath(shard)) as file:
            for info in _members(shard, file, problems):
                folder, name = os.path.split(info.name)
                key = os.path.join(folder, name.split(".", 1)[0])
                if sample is None or key != sample.key:
                    if sample is not None:
                        yield sample
                    sample = _Sample(key)
                _take(sample, info, shard, file, problems)
    except DecodeError as error:
        problems.append(str(error))
    if sample is not None:
        yield sample


def _members(shard: Path, file: BinaryIO, problems: list[str]) -> Iterator[tarfile.TarInfo]:
    """Yield the plain files of a shard that lie inside of it; report all others."""
    num_bytes = os.fstat(file.fileno()).st_size
    bounded = _BoundedFile(file)
    position, end = -1, 0
    try:
        with tarfile.open(fileobj=bounded, mode="r:") as tar:  # type: ignore[call-overload]
            for info in tar:
                # The reader would keep a record of every member.
                tar.members = []
                end = info.offset_data + (info.size if info.isreg() else 0)
                if info.size < 0 or info.offset <= position or end > num_bytes:
                    raise tarfile.ReadError(
                        f"member {info.name!a} claims the bytes {info.offset_data} to {end}"
                    )
                position = info.offset
                reason = _refusal(info)
                if reason:
                    problems.append(f"{shard.name}: {info.name!a}: {reason}; left out")
                elif info.isreg():
                    yield info
            _require_end(file, end)
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        problems.append(
            f"{shard.name}: damaged or cut off, what follows is left out: "
            f"{str(error) or type(error).__name__}"
        )


def _require_end(file: BinaryIO, end: int) -> None:
    """Refuse a tar file without its mark of the end, an empty block behind the last member.

    The reader takes a damaged header for the end.
    """
    file.seek(-(-end // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no header and no end where one should be, after byte {end}")


def _refusal(info: tarfile.TarInfo) -> str:
    """Return why a member cannot be in the index; nothing for folders, which hold no bytes."""
    parts = info.name.split("/")
    if info.name.startswith("/") or ".." in parts:
        return "its name leads out of the shard"
    if path_problem(info.name):
        return path_problem(info.name)
    if info.issym() or info.islnk():
        return "it is a link"
    if info.issparse():
        return "it is a sparse file"
    if not (info.isreg() or info.isdir()):
        return "it is not a plain file"
    return ""


class _BoundedFile:
    """A file that no header can have read into memory as a whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_TEXT_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()


def _take(
    sample: _Sample, info: tarfile.TarInfo, shard: Path, file: BinaryIO, problems: list[str]
) -> None:
    """Add a member to its sample."""
    suffix = os.path.splitext(info.name)[1].lower()
    if suffix in VIDEO_SUFFIXES or suffix in IMAGE_SUFFIXES:
        sample.media.append(info)
        return
    if suffix != ".json" and suffix not in _TEXT_COLUMNS:
        return
    before = file.tell()
    file.seek(info.offset_data)
    data = file.read(min(info.size, _MAX_TEXT_BYTES))
    file.seek(before)
    try:
        if info.size > _MAX_TEXT_BYTES:
            raise ValueError(f"{info.size} bytes are too many for columns")
        if suffix == ".json":
            sample.columns.update(_object(data))
        else:
            sample.columns[_TEXT_COLUMNS[suffix]] = data.decode().strip()
    except (ValueError, RecursionError) as error:
        problems.append(f"{shard.name}: {info.name!a}: {str(error) or 'nested too deep'}; left out")


def _object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    keep = {name: value[name] for name in ("rows",) if name in value}
    return {**_flat(value), **keep}


def _flat(value: object) -> dict[str, Any]:
    """Return the values of an object that fit into a cell."""
    if not isinstance(value, dict):
        return {}
    return {name: cell for name, cell in value.items() if isinstance(cell, str | int | float)}
