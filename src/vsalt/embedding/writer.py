"""Embeddings on disk, written shard by shard so that a killed process can go on.

    OUT/
      embeddings-00000.safetensors, …   tensor `embeddings`, float32, (embeddings of the shard, F),
                                        and maybe `tokens`, (embeddings, T', H', W', C)
      index.jsonl                       one line per embedding, in the order of the shards
      bad.jsonl                         one line per row that cannot be read
      embedding.json                    settings, and the finished shards

With format parquet the shards end in .parquet and hold their own index; there is no index.jsonl.

A shard's file, then its lines are written and flushed; then embedding.json is replaced by one that
lists the shard. Whatever is on disk beyond what embedding.json lists is removed on resume.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vsalt import durable
from vsalt.embedding.shard import Shard, ShardFormat, write_shard_file
from vsalt.errors import RunFolderError

MANIFEST = "embedding.json"
INDEX = "index.jsonl"
BAD = "bad.jsonl"
_BEFORE_FORMATS = {"format": "safetensors", "dense": "none"}
"""Settings of folders that were begun when there was no choice."""


class EmbeddingWriter:
    """Appends shards to a folder of embeddings.

    Args:
        out: the folder; it is made, or must have been begun with the same settings.
        settings: everything that the embeddings and their files depend on, as plain values;
            `format` is that of the shards.
        where: what is noted down, too, but may differ on resume (paths).

    Raises:
        RunFolderError: if the folder holds something else, was begun with other settings (the
            differences are listed), or is damaged.
    """

    def __init__(self, out: Path, settings: dict[str, Any], where: dict[str, Any]) -> None:
        self.out = out
        if (out / MANIFEST).exists():
            self._manifest = durable.read_json(out / MANIFEST)
            for name, value in _BEFORE_FORMATS.items():
                self._manifest["settings"].setdefault(name, value)
            _require_same(self._manifest["settings"], settings, out)
        else:
            self._manifest = {"complete": False, **where, "settings": settings, "shards": []}
            self._write_manifest()
        self._format: ShardFormat = settings["format"]
        self._cut()

    @property
    def num_shards(self) -> int:
        """Finished shards."""
        return len(self._manifest["shards"])

    @property
    def next_row(self) -> int:
        """Index of the first row of the source that is not in a finished shard."""
        shards = self._manifest["shards"]
        return int(shards[-1]["end_row"]) if shards else 0

    def count(self, name: str) -> int:
        """Return the sum of a number (num_embeddings, num_unreadable) over the finished shards."""
        return sum(int(shard[name]) for shard in self._manifest["shards"])

    def write_shard(self, shard: Shard) -> None:
        """Write the shard of the rows from `next_row` to `shard.end_row`."""
        name = f"embeddings-{self.num_shards:05d}.{self._format}"
        with durable.explain_write_errors(f"to {self.out}"):
            self._write_file(name, shard)
            if self._has_lines:
                records = ({"shard": name, "row": row} | own for row, own in enumerate(shard.index))
                _append(self.out / INDEX, records)
            _append(self.out / BAD, shard.bad)
        entry = {
            "file": name,
            "first_row": self.next_row,
            "end_row": shard.end_row,
            "num_embeddings": len(shard.index),
            "num_unreadable": len(shard.bad),
        }
        self._manifest["shards"].append(entry)
        self._write_manifest()

    def finish(self) -> None:
        """Note that nothing is missing."""
        if not self._manifest["complete"]:
            self._manifest["complete"] = True
            self._write_manifest()

    @property
    def _has_lines(self) -> bool:
        """Whether the index is a file of its own."""
        return self._format == "safetensors"

    def _write_file(self, name: str, shard: Shard) -> None:
        temporary = self.out / f".{name}.tmp"
        write_shard_file(temporary, shard, self._format, self._manifest["settings"])
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, self.out / name)
        durable.sync_folder(self.out)

    def _write_manifest(self) -> None:
        durable.write_json(self.out / MANIFEST, self._manifest)

    def _cut(self) -> None:
        """Bring the lines back to the finished shards."""
        missing = [
            shard["file"]
            for shard in self._manifest["shards"]
            if not (self.out / shard["file"]).is_file()
        ]
        if missing:
            raise RunFolderError(
                f"{self.out / MANIFEST} lists shards that are not there: {', '.join(missing)}; "
                "put them back, or choose another --out"
            )
        if self._has_lines:
            _cut_lines(self.out / INDEX, self.count("num_embeddings"))
        _cut_lines(self.out / BAD, self.count("num_unreadable"))


def check_folder(out: Path) -> None:
    """Make a folder that embeddings can be written to, or go on in.

    Raises:
        RunFolderError: if it holds other things, or cannot be written to.
    """
    durable.create_folder(out)
    own = (".lock", f".{MANIFEST}.tmp")
    foreign = any(entry.name not in own for entry in out.iterdir())
    if foreign and not (out / MANIFEST).is_file():
        raise RunFolderError(
            f"{out} is not empty and has no {MANIFEST} to go on from; choose another --out"
        )


def _require_same(before: dict[str, Any], now: dict[str, Any], out: Path) -> None:
    before, now = _flat(before), _flat(now)
    lines = [
        f"  {name}: {before.get(name)} there, {now.get(name)} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if lines:
        raise RunFolderError(
            f"the embeddings in {out} were begun with other settings; use the same, or choose "
            "another --out:\n" + "\n".join(lines)
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _append(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
        file.flush()
        os.fsync(file.fileno())


def _cut_lines(path: Path, count: int) -> None:
    """Keep the first `count` lines."""
    with durable.explain_write_errors(str(path)):
        path.touch()
        with open(path, "r+b") as file:
            for _ in range(count):
                if not file.readline().endswith(b"\n"):
                    raise RunFolderError(
                        f"{path} has fewer lines than {MANIFEST} says; choose another --out"
                    )
            file.truncate(file.tell())
            os.fsync(file.fileno())
