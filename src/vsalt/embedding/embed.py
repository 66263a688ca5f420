"""`vsalt embed`: one embedding per clip, or per sliding window, for all rows of a source."""

import hashlib
import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vsalt import __version__, durable
from vsalt.config import to_dict
from vsalt.data.catalogue import ask_sizes, file_identity
from vsalt.data.config import ReadLimits
from vsalt.data.free_memory import free_memory_bytes
from vsalt.data.manifest import Row, read_source
from vsalt.data.urls import Location, is_url
from vsalt.embedding.features import features_and_maps, map_shape, num_features
from vsalt.embedding.shard import Shard, ShardFormat, require_format
from vsalt.embedding.writer import EmbeddingWriter, check_folder
from vsalt.errors import DataError, DecodeTimeoutError, printable, report_problems
from vsalt.models.tokenizer import IMAGENET_MEAN, IMAGENET_STD
from vsalt.training.device import choose_device
from vsalt.training.extract import (
    ExtractConfig,
    Progress,
    RowFeatures,
    RowWindows,
    encoder_features,
    extract_features,
    plan_windows,
)
from vsalt.training.locate import LoadedEncoder

_SHARD_SIZE = 4096
_SHARD_BYTES = 1 << 28
_BYTES = {"float16": 2, "float32": 4}
_TYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """Settings of an embedding run.

    Attributes:
        extract: windows, pooling, batches, workers, device. With a window stride there is one
            embedding per window; else one per row, the mean over its evenly spaced windows.
        format: of the shards, see `vsalt.embedding.shard`.
        dense: write the map of each window's tokens, too, with numbers of this type.
        shard_size: a shard is closed at the end of the row that brings it to so many embeddings;
            None is 4096, or with maps as many as fit into 256 MB, if those are fewer.
    """

    extract: ExtractConfig = field(default_factory=ExtractConfig)
    format: ShardFormat = "safetensors"
    dense: Literal["none", "float16", "float32"] = "none"
    shard_size: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if self.shard_size is not None and self.shard_size < 1:
            problems.append(f"shard-size is {self.shard_size}; it must be at least 1")
        if self.is_dense and self.extract.windows.per_row > 1:
            problems.append(
                f"dense is {self.dense} and segments is {self.extract.windows.per_row}; a map of "
                "tokens is of one window: give segments 1, or window-stride-s"
            )
        report_problems(problems)

    @property
    def is_dense(self) -> bool:
        """Whether maps of tokens are kept."""
        return self.dense != "none"

    def rows_per_shard(self, map_shape: tuple[int, int, int, int]) -> int:
        """Return the shard size that holds for maps of this shape."""
        if self.shard_size is not None or not self.is_dense:
            return self.shard_size or _SHARD_SIZE
        map_bytes = math.prod(map_shape) * _BYTES[self.dense]
        return max(1, min(_SHARD_SIZE, _SHARD_BYTES // map_bytes))


@dataclass(frozen=True, kw_only=True)
class EmbedResult:
    """What lies in the folder at the end.

    Attributes:
        num_rows: rows of the source.
        num_resumed: rows that were done before.
        num_embeddings: embeddings in all shards.
        num_unreadable: rows in bad.jsonl.
    """

    num_rows: int
    num_resumed: int
    num_embeddings: int
    num_unreadable: int


def embed(
    loaded: LoadedEncoder,
    source: Location,
    out: Path,
    options: EmbedOptions,
    *,
    on_progress: Progress | None = None,
) -> EmbedResult:
    """Write the embeddings of all rows of a source; the same call again goes on where it stopped.

    Rows that cannot be read are listed in bad.jsonl. The files at the end are the same, byte for
    byte, however often the process was killed.

    Args:
        loaded: the encoder.
        source: a folder of videos or a manifest.
        out: the folder (see `vsalt.embedding.writer`).
        options: settings.
        on_progress: is called with the rows done and their number.

    Raises:
        DataError: if the source cannot be used, or has names that the format cannot hold.
        RunFolderError: if `out` is in use by another process, holds something else or embeddings
            of other settings, or cannot be written.
    """
    require_format(options.format)
    rows = read_source(source).rows
    if options.format == "parquet":
        _require_utf8(rows)
    check_folder(out)
    with durable.hold(out):
        where = {
            "checkpoint": str(loaded.checkpoint.path),
            "step": loaded.checkpoint.step,
            "source": str(source),
        }
        writer = EmbeddingWriter(out, _settings(loaded, rows, options), where)
        first = writer.next_row
        if on_progress:
            on_progress(first, len(rows))
        for shard in _shards(loaded, rows, first, options, on_progress):
            writer.write_shard(shard)
        writer.finish()
        return EmbedResult(
            num_rows=len(rows),
            num_resumed=first,
            num_embeddings=writer.count("num_embeddings"),
            num_unreadable=writer.count("num_unreadable"),
        )


def _require_utf8(rows: Sequence[Row]) -> None:
    """Check that names and labels can be text in Parquet, which those of files need not be."""
    for text in itertools.chain.from_iterable((row.relative_path, row.label or "") for row in rows):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{printable(text)} is not UTF-8, as text in Parquet must be; rename it, or take "
                "--format safetensors"
            ) from error


def _settings(loaded: LoadedEncoder, rows: Sequence[Row], options: EmbedOptions) -> dict[str, Any]:
    """Everything that the embeddings and their files depend on."""
    extract = options.extract
    shape = map_shape(loaded.encoder, loaded.config.clip, extract)
    return {
        "vsalt": __version__,
        "encoder_sha256": loaded.sha256,
        "preprocessing": {
            "clip": to_dict(loaded.config.clip),
            "windows": asdict(extract.windows),
            "view": "short side to int(256 / 224 x size), centre crop",
            "antialias": loaded.config.data.antialias,
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        },
        "limits": _limits(extract.limits),
        "pooling": extract.pooling,
        "layers": list(extract.layers),
        "num_features": num_features(loaded.encoder, loaded.config.clip, extract),
        "format": options.format,
        "dense": options.dense,
        **({"map_shape": list(shape)} if options.is_dense else {}),
        "num_rows": len(rows),
        "rows_sha256": _hash_rows(rows),
        "batch_size": extract.batch_size,
        "shard_size": options.rows_per_shard(shape),
        "device": choose_device(extract.device),
    }


def _limits(limits: ReadLimits) -> dict[str, Any]:
    """What decides which rows cannot be read; not the time, which may be given more of."""
    return {name: value for name, value in asdict(limits).items() if name != "timeout_s"}


def _hash_rows(rows: Sequence[Row]) -> str:
    """Hash names, stretches, labels and sizes of the files, but not where they lie."""
    digest = hashlib.sha256()
    ask_sizes(rows)
    for row in rows:
        size = _size_of(row)
        content = [row.relative_path, row.label, row.start_s, row.end_s, size]
        digest.update(json.dumps(content).encode() + b"\n")
    return digest.hexdigest()


def _size_of(row: Row) -> int | None:
    """Return the bytes of a row's file; None if its server says that it cannot be had."""
    try:
        return file_identity(row)[1]
    except DecodeTimeoutError:
        raise
    except DataError:
        if is_url(row.path):
            return None
        raise


def _shards(
    loaded: LoadedEncoder,
    rows: Sequence[Row],
    first: int,
    options: EmbedOptions,
    on_progress: Progress | None,
) -> Iterator[Shard]:
    """Yield the shards from row `first` on.

    Where a shard ends follows from the lengths of the videos alone, and a batch never belongs to
    two shards. Hence a shard's bytes do not depend on where a process began.
    """
    rest = rows[first:]
    config = loaded.config
    extract = options.extract
    plan = plan_windows(rest, config.clip, extract.windows, limits=extract.limits)
    shape = map_shape(loaded.encoder, config.clip, extract)
    if options.is_dense:
        _require_memory(rest, plan, math.prod(shape))
    ends = _shard_ends(plan, options, options.rows_per_shard(shape))
    make = features_and_maps if options.is_dense else encoder_features
    features = extract_features(
        [make(loaded.encoder, extract)],
        rest,
        plan,
        clip=config.clip,
        config=extract,
        antialias=config.data.antialias,
        batch_ends=ends,
        on_progress=on_progress and (lambda done, total: on_progress(first + done, first + total)),
    )
    collected = _Collected(num_features(loaded.encoder, config.clip, extract), shape, options)
    for row in features:
        named = {"source_row": first + row.index, "path": rest[row.index].relative_path}
        if row.error is not None:
            collected.bad.append({**named, "error": row.error})
        else:
            label = rest[row.index].label
            collected.add(row, plan[row.index], {**named, "label": label})
        if row.index in ends:
            yield collected.shard(first + row.index + 1)
            collected.clear()


class _Collected:
    """What the next shard has so far.

    Args:
        num_features: F.
        shape: of a map of tokens.
        options: whether there are maps, and whether every window is an embedding.
    """

    def __init__(
        self, num_features: int, shape: tuple[int, int, int, int], options: EmbedOptions
    ) -> None:
        self._num_features = num_features
        self._shape = shape
        self._options = options
        self.clear()

    def clear(self) -> None:
        """Begin a shard."""
        self._embeddings = [torch.empty(0, self._num_features)]
        self._maps: list[Tensor] = []
        self._index: list[dict[str, Any]] = []
        self.bad: list[dict[str, Any]] = []

    def add(self, row: RowFeatures, windows: RowWindows, named: dict[str, Any]) -> None:
        """Take the embeddings of a row that could be read."""
        values, spans = row.features[0], list(windows.spans_s)
        embeddings = values[:, : self._num_features]
        if self._options.is_dense:
            maps = values[:, self._num_features :].unflatten(1, self._shape)
            self._maps.append(maps.to(_TYPES[self._options.dense]))
        if self._options.extract.windows.stride_s is None:
            embeddings = embeddings.mean(dim=0, keepdim=True)
            spans = [(spans[0][0], spans[-1][1])]
        self._embeddings.append(embeddings)
        self._index += [{**named, "start_s": start, "end_s": end} for start, end in spans]

    def shard(self, end_row: int) -> Shard:
        """Return what has been taken."""
        maps = None
        if self._options.is_dense:
            empty = torch.empty(0, *self._shape, dtype=_TYPES[self._options.dense])
            maps = torch.cat([empty, *self._maps])
        return Shard(
            embeddings=torch.cat(self._embeddings),
            tokens=maps,
            index=self._index,
            bad=self.bad,
            end_row=end_row,
        )


def _require_memory(rows: Sequence[Row], plan: Sequence[RowWindows], map_size: int) -> None:
    """Check that the maps of the row with the most windows fit; the system kills what does not.

    Raises:
        DataError: with both numbers.
    """
    if sys.platform != "linux":
        return
    most = max(range(len(plan)), key=lambda index: len(plan[index].spans_s), default=0)
    # In float32 they are there twice while a row is put together.
    needed = 2 * 4 * map_size * len(plan[most].spans_s) if plan else 0
    free = free_memory_bytes()
    if needed > free:
        raise DataError(
            f"the {len(plan[most].spans_s)} windows of {rows[most].path} take "
            f"{needed / 1e9:,.1f} GB of token maps, and {free / 1e9:,.1f} GB of memory are free; "
            "raise --window-stride-s, cut the row by start_s and end_s, or leave --dense out"
        )


def _shard_ends(
    plan: Sequence[RowWindows], options: EmbedOptions, shard_size: int
) -> frozenset[int]:
    """Return the last row of each shard."""
    ends = []
    planned = 0
    for index, windows in enumerate(plan):
        per_window = options.extract.windows.stride_s is not None
        planned += len(windows.spans_s) if per_window else 1
        if planned >= shard_size or index == len(plan) - 1:
            ends.append(index)
            planned = 0
    return frozenset(ends)
