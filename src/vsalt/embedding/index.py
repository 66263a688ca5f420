"""Reads a folder of embeddings, of either format, to be searched.

Shapes: n embeddings, F channels of a feature.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError

from vsalt import durable
from vsalt.embedding.shard import read_shard, read_shard_index
from vsalt.embedding.writer import INDEX, MANIFEST
from vsalt.errors import MissingExtraError, RunFolderError


class Entry(NamedTuple):
    """The clip that an embedding is of.

    Attributes:
        source_row: index of its row in the source.
        path: its video, as the source names it.
        label: its class, if the source has one.
        start_s: where it starts in the video, in seconds.
        end_s: where it ends.
    """

    source_row: int
    path: str
    label: str | None
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingIndex:
    """A folder that `vsalt embed` has written.

    Attributes:
        folder: where it is.
        settings: what the embeddings depend on, as in embedding.json.
        checkpoint: where the encoder was.
        source: where the videos were.
        num_rows: rows that have been embedded or found unreadable.
        embeddings: one per entry, shape (n, F).
        entries: the clips.
    """

    folder: Path
    settings: dict[str, Any]
    checkpoint: Path
    source: str
    num_rows: int
    embeddings: Float32[np.ndarray, "n F"]
    entries: tuple[Entry, ...]


def read_index(folder: Path) -> EmbeddingIndex:
    """Read all finished shards of a folder; one that is still being written can be read, too.

    Raises:
        RunFolderError: the folder holds no embeddings, or is damaged.
        MissingExtraError: it holds Parquet and pyarrow is not installed.
    """
    if not (folder / MANIFEST).is_file():
        raise RunFolderError(
            f"{folder} has no {MANIFEST}; name a folder that `vsalt embed --out` has written"
        )
    manifest = durable.read_json(folder / MANIFEST)
    settings, shards = manifest["settings"], manifest["shards"]
    kind = settings.get("format", "safetensors")
    try:
        arrays = [read_shard(folder / shard["file"], kind) for shard in shards]
        records = _records(folder, shards, kind)
    except ImportError as error:
        raise MissingExtraError(f"the tables in {folder} need pyarrow", extra="parquet") from error
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise RunFolderError(f"the embeddings in {folder} cannot be read: {error}") from error
    empty = np.empty((0, settings["num_features"]), dtype=np.float32)
    embeddings = np.concatenate([empty, *arrays])
    if len(embeddings) != len(records):
        raise RunFolderError(
            f"{folder} has {len(embeddings)} embeddings and {len(records)} entries; write it anew"
        )
    return EmbeddingIndex(
        folder=folder,
        settings=settings,
        checkpoint=Path(manifest["checkpoint"]),
        source=manifest["source"],
        num_rows=int(shards[-1]["end_row"]) if shards else 0,
        embeddings=embeddings,
        entries=tuple(records),
    )


def _records(folder: Path, shards: list[dict[str, Any]], kind: str) -> list[Entry]:
    if kind == "parquet":
        found = [own for shard in shards for own in read_shard_index(folder / shard["file"])]
    else:
        # Lines beyond the listed shards belong to one that is not finished.
        count = sum(int(shard["num_embeddings"]) for shard in shards)
        lines = (folder / INDEX).read_text(encoding="utf-8").splitlines()[:count]
        found = [json.loads(line) for line in lines]
    return [Entry(*(record[name] for name in Entry._fields)) for record in found]
