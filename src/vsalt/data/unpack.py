"""Writes chosen videos of packed shards back into a folder, under the paths that they came from.

Nothing is trusted: every file lands inside of the new folder, under a name that is free; only plain
members of the shards are read, and what the index says must agree with the member's header.
"""

import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vsalt import durable
from vsalt.data.manifest import Row, read_source
from vsalt.data.media import Media
from vsalt.data.output_folder import (
    LOCK,
    MANIFEST,
    copy_media,
    open_regular,
    require_apart,
    require_own,
)
from vsalt.data.output_names import OutputNames
from vsalt.errors import DataError, DecodeError, printable

# From this size on the header that stands before the bytes does not tell it.
_MAX_PLAIN_SIZE = 8 << 30


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rows to take.

    Attributes:
        where: values of columns that a row must have.
        split: the split it must be in; None is any.
        limit: take the first so many; None is all.
    """

    where: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    limit: int | None = None

    def of(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that are chosen, in their order.

        Raises:
            DataError: none is, or no row has a column that is asked for.
        """
        missing = [name for name in self.where if not any(name in row.columns for row in rows)]
        if missing:
            known = sorted({name for row in rows for name in row.columns})
            raise DataError(
                f"no row has a column {', '.join(map(repr, missing))} (--where); there are: "
                f"{', '.join(map(printable, known)) or 'none'}"
            )
        chosen = [row for row in rows if self._takes(row)][: self.limit]
        if not chosen:
            raise DataError(f"none of {len(rows)} rows is chosen by --where and --split")
        return chosen

    def _takes(self, row: Row) -> bool:
        if self.split is not None and row.split != self.split.casefold():
            return False
        return all(row.columns.get(name) == value for name, value in self.where.items())


def unpack(
    folder: Path,
    out: Path,
    selection: Selection,
    *,
    on_progress: Callable[[int, int], object] | None = None,
) -> tuple[int, int]:
    """Write the chosen videos and a manifest of their rows.

    Args:
        folder: shards with their index.
        out: the folder to write to; new or empty.
        selection: which rows.
        on_progress: called with (files done, all files).

    Returns:
        The numbers of rows and of files.

    Raises:
        DataError: the index or a shard cannot be used, nothing is chosen, or `out` is in use.
        RunFolderError: `out` cannot be written or is full.
    """
    rows = selection.of(read_source(folder).rows)
    require_apart(folder, {row.path for row in rows}, out)
    require_own(out, "data unpack")
    places = {row.media: row.relative_path for row in rows}
    names = OutputNames(frozenset({MANIFEST, LOCK}))
    outputs = {media: names.assign(path) for media, path in places.items()}
    durable.create_folder(out)
    with durable.hold(out):
        # Another process may have been quicker.
        require_own(out, "data unpack")
        durable.require_free_disk(
            out,
            sum(media.size or 0 for media in places),
            what="the files need",
            advice="choose fewer by --where or --limit",
        )
        for number, (media, name) in enumerate(outputs.items(), start=1):
            _write(media, out / name)
            if on_progress is not None:
                on_progress(number, len(outputs))
        lines = [json.dumps({"path": outputs[row.media], **row.columns}) + "\n" for row in rows]
        durable.write_file(out / MANIFEST, "".join(lines))
    return len(rows), len(outputs)


def _write(media: Media, target: Path) -> None:
    if media.size is None:
        raise DataError(f"{media} is no member of a shard; unpack takes a folder with index.jsonl")
    _check_header(media)
    with durable.explain_write_errors(f"to {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        # "x": never over another file, nor through a link.
        with open(target, "xb") as file:
            copy_media(media, file)
            file.flush()
            os.fsync(file.fileno())


def _check_header(media: Media) -> None:
    """Refuse bytes that do not lie behind the header of a plain file of their size.

    Raises:
        DecodeError: what lies there is something else.
    """
    with open_regular(media.path) as file:
        begin = media.offset - tarfile.BLOCKSIZE
        file.seek(max(0, begin))
        block = file.read(tarfile.BLOCKSIZE) if begin >= 0 else b""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise DecodeError(f"{media}: no tar header stands before these bytes ({error})") from error
    if not info.isreg() or (info.size != media.size and info.size < _MAX_PLAIN_SIZE):
        raise DecodeError(
            f"{media}: the header before these bytes is that of another member, "
            f"{info.name!a} of {info.size} bytes; is the index that of other shards?"
        )
