"""Packs a source into tar shards with an index; as a source they give the same rows and clips.

    OUT/
      shard-000000.tar, …   see `vsalt.data.shards`
      index.jsonl           one line per row, in the order of the source: path, shard, offset, size
                            and the row's columns; written last, so its presence marks a whole set
      pack.json             the source, the settings, and the SHA-256 of every finished shard

A killed process is followed by one that keeps the finished shards, after it has read them again and
compared their hashes.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsalt import durable
from vsalt.data.manifest import Row, Source, read_source
from vsalt.data.media import Media
from vsalt.data.output_folder import (
    PARTIAL,
    fresh_partial,
    media_version,
    require_apart,
    require_own,
    require_same_source,
)
from vsalt.data.shard_index import INDEX_NAME, SHARD_COLUMNS
from vsalt.data.shards import PackedFile, Shard, divide, file_of
from vsalt.errors import DataError, DecodeError, printable

STATE = "pack.json"
INDEX_COLUMNS = ("path", *SHARD_COLUMNS, "rows")
"""Names that mean something in the index or the members, so that no column may have them."""


@dataclass(frozen=True, kw_only=True)
class PackResult:
    """What was packed.

    Attributes:
        num_rows: lines of the index.
        num_files: files in the shards.
        num_shards: shards.
        num_kept: those that had been finished before.
        num_bytes: size of all shards.
    """

    num_rows: int
    num_files: int
    num_shards: int
    num_kept: int
    num_bytes: int


def pack(
    path: Path,
    out: Path,
    *,
    shard_bytes: int,
    on_progress: Callable[[int, int], object] | None = None,
) -> PackResult:
    """Pack all files of a source; see the head of this module.

    Args:
        path: a folder or a manifest.
        out: the folder to write to: a new one, or one that the same command has begun.
        shard_bytes: size of a shard at most, unless one file alone is larger.
        on_progress: called with (shards done, all shards).

    Raises:
        DataError: the source cannot be used or read, or `out` is not apart from it.
        RunFolderError: `out` cannot be written, is in use or full; finished shards stay.
    """
    source = read_source(path)
    _check_columns(source)
    files = plan_files(source.rows)
    require_apart(path, {file.media.path for file in files}, out)
    require_own(out, "data pack", marker=STATE)
    shards = divide(files, shard_bytes)
    durable.create_folder(out)
    with durable.hold(out):
        state = _State(out, path, shard_bytes)
        kept = state.keep(shards)
        left = [shard for shard in shards if shard.name not in kept]
        durable.require_free_disk(
            out,
            sum(shard.num_bytes() for shard in left),
            what="the shards need",
            advice="pack a part of the source",
        )
        fresh_partial(out)
        for number, shard in enumerate(left, start=len(kept)):
            if on_progress is not None:
                on_progress(number, len(shards))
            with _advice():
                sha256 = _write_shard(out, shard)
            state.add(shard, sha256)
        shutil.rmtree(out / PARTIAL)
        durable.write_file(out / INDEX_NAME, _index(source.rows, shards))
    return PackResult(
        num_rows=len(source.rows),
        num_files=len(files),
        num_shards=len(shards),
        num_kept=len(kept),
        num_bytes=sum(shard.num_bytes() for shard in shards),
    )


def _check_columns(source: Source) -> None:
    taken = {name for row in source.rows for name in row.columns} & set(INDEX_COLUMNS)
    if taken:
        raise DataError(
            f"{source.name} has columns that shards need for themselves: "
            f"{', '.join(sorted(taken))}; rename them"
        )


def plan_files(rows: Sequence[Row]) -> list[PackedFile]:
    """Return the files of some rows, each once, in order, with the rows that use it."""
    users: dict[Media, list[Row]] = {}
    for row in rows:
        users.setdefault(row.media, []).append(row)
    files = []
    for number, (media, group) in enumerate(users.items()):
        with _advice():
            size, modified_ns = media_version(media)
        files.append(file_of(number, media._replace(size=size), modified_ns, group))
    return files


@contextmanager
def _advice() -> Iterator[None]:
    """Tell what to do about a file that cannot be packed."""
    try:
        yield
    except DecodeError as error:
        raise DataError(
            f"{error}. Pack what can be read: vsalt data check SOURCE --write-clean MANIFEST "
            "writes a manifest of it"
        ) from error


class _State:
    """pack.json: which shards are finished."""

    def __init__(self, out: Path, source: Path, shard_bytes: int) -> None:
        self._out = out
        self._shards: dict[str, dict[str, Any]] = {}
        before = durable.read_json(out / STATE) if (out / STATE).exists() else {}
        self._source = require_same_source(out, before.get("source"), source)
        if before:
            if before.get("shard_bytes") != shard_bytes:
                raise DataError(
                    f"{out} was begun with --shard-size {before.get('shard_bytes')}, and now it is "
                    f"{shard_bytes}; give that, or name another OUT"
                )
            self._shards = before["shards"]
        self._shard_bytes = shard_bytes
        self._write()

    def _write(self) -> None:
        state = {
            "source": self._source,
            "shard_bytes": self._shard_bytes,
            "shards": self._shards,
        }
        durable.write_json(self._out / STATE, state)

    def keep(self, shards: Sequence[Shard]) -> set[str]:
        """Return the names of the shards that are finished and whole; forget all others."""
        kept = {shard.name for shard in shards if self._is_finished(shard)}
        for name in set(self._shards) - kept:
            del self._shards[name]
        self._write()
        stale = [path for path in self._out.glob("shard-*.tar") if path.name not in kept]
        if stale or len(kept) < len(shards):
            # Before them: whole or not, the set has no index that tells of shards that are gone.
            (self._out / INDEX_NAME).unlink(missing_ok=True)
        for path in stale:
            path.unlink()
        return kept

    def _is_finished(self, shard: Shard) -> bool:
        record = self._shards.get(shard.name)
        path = self._out / shard.name
        if record is None or record["plan"] != shard.digest() or not path.is_file():
            return False
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        return bool(found == record["sha256"])

    def add(self, shard: Shard, sha256: str) -> None:
        """Note down a finished shard."""
        self._shards[shard.name] = {"sha256": sha256, "plan": shard.digest()}
        self._write()


def _write_shard(out: Path, shard: Shard) -> str:
    partial = out / PARTIAL / shard.name
    with durable.explain_write_errors(f"to {out}"):
        with open(partial, "wb") as file:
            sha256 = shard.write(file)
            file.flush()
            os.fsync(file.fileno())
        for packed in shard.files:
            if media_version(packed.media) != (packed.size, packed.modified_ns):
                raise DataError(
                    f"{printable(packed.media.path)} changed while it was packed; run again"
                )
        os.replace(partial, out / shard.name)
        durable.sync_folder(out)
    return sha256


def _index(rows: Sequence[Row], shards: Sequence[Shard]) -> str:
    packed = [
        (shard.name, offset, file.size)
        for shard in shards
        for file, offset in zip(shard.files, shard.offsets(), strict=True)
    ]
    # In the order of `plan_files`; two parts of one file may begin at the same byte.
    places = dict(zip(dict.fromkeys(row.media for row in rows), packed, strict=True))
    lines = []
    for row in rows:
        cells = dict(zip(SHARD_COLUMNS, places[row.media], strict=True))
        lines.append(json.dumps({"path": row.relative_path, **cells, **row.columns}) + "\n")
    return "".join(lines)
