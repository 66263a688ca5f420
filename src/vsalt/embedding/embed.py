"""`vsalt embed`: one embedding per clip, or per sliding window, for all rows of a source."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsalt import __version__, durable
from vsalt.config import to_dict
from vsalt.data.catalogue import file_identity
from vsalt.data.config import ReadLimits
from vsalt.data.manifest import Row, read_source
from vsalt.embedding.writer import EmbeddingWriter, check_folder
from vsalt.errors import report_problems
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


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """Settings of an embedding run.

    Attributes:
        extract: windows, pooling, batches, workers, device. With a window stride there is one
            embedding per window; else one per row, the mean over its evenly spaced windows.
        shard_size: a shard is closed at the end of the row that brings it to so many embeddings.
    """

    extract: ExtractConfig = field(default_factory=ExtractConfig)
    shard_size: int = 4096

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.shard_size < 1:
            report_problems([f"shard-size is {self.shard_size}; it must be at least 1"])


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
    source: Path,
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
        DataError: if the source cannot be used.
        RunFolderError: if `out` is in use by another process, holds something else or embeddings
            of other settings, or cannot be written.
    """
    rows = read_source(source).rows
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
            embeddings, index, bad, end_row = shard
            writer.write_shard(embeddings, index, bad, end_row=end_row)
        writer.finish()
        return EmbedResult(
            num_rows=len(rows),
            num_resumed=first,
            num_embeddings=writer.count("num_embeddings"),
            num_unreadable=writer.count("num_unreadable"),
        )


def _settings(loaded: LoadedEncoder, rows: Sequence[Row], options: EmbedOptions) -> dict[str, Any]:
    """Everything that the embeddings depend on."""
    extract = options.extract
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
        "num_features": _num_features(loaded, extract),
        "num_rows": len(rows),
        "rows_sha256": _hash_rows(rows),
        "batch_size": extract.batch_size,
        "shard_size": options.shard_size,
        "device": choose_device(extract.device),
    }


def _limits(limits: ReadLimits) -> dict[str, Any]:
    """What decides which rows cannot be read; not the time, which may be given more of."""
    return {name: value for name, value in asdict(limits).items() if name != "timeout_s"}


def _num_features(loaded: LoadedEncoder, extract: ExtractConfig) -> int:
    num_times = loaded.config.clip.num_frames // loaded.encoder.config.tubelet[0]
    num_times = num_times if extract.pooling == "mean_space" else 1
    return loaded.encoder.width * num_times * len(extract.layers)


def _hash_rows(rows: Sequence[Row]) -> str:
    """Hash names, stretches, labels and sizes of the files, but not where they lie."""
    digest = hashlib.sha256()
    for row in rows:
        _, size = file_identity(row)
        content = [row.relative_path, row.label, row.start_s, row.end_s, size]
        digest.update(json.dumps(content).encode() + b"\n")
    return digest.hexdigest()


_Shard = tuple[Tensor, list[dict[str, Any]], list[dict[str, Any]], int]


def _shards(
    loaded: LoadedEncoder,
    rows: Sequence[Row],
    first: int,
    options: EmbedOptions,
    on_progress: Progress | None,
) -> Iterator[_Shard]:
    """Yield embeddings, index, bad rows and end row of each shard from row `first` on.

    Where a shard ends follows from the lengths of the videos alone, and a batch never belongs to
    two shards. Hence a shard's bytes do not depend on where a process began.
    """
    rest = rows[first:]
    config = loaded.config
    extract = options.extract
    plan = plan_windows(rest, config.clip, extract.windows, limits=extract.limits)
    ends = _shard_ends(plan, options)
    features = extract_features(
        [encoder_features(loaded.encoder, extract)],
        rest,
        plan,
        clip=config.clip,
        config=extract,
        antialias=config.data.antialias,
        batch_ends=ends,
        on_progress=on_progress and (lambda done, total: on_progress(first + done, first + total)),
    )
    tensors = [torch.empty(0, _num_features(loaded, extract))]
    index: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for row in features:
        named = {"source_row": first + row.index, "path": rest[row.index].relative_path}
        if row.error is not None:
            bad.append({**named, "error": row.error})
        else:
            embeddings, spans = _embeddings_of(row, plan[row.index], options)
            label = rest[row.index].label
            index += [{**named, "label": label, "start_s": s, "end_s": e} for s, e in spans]
            tensors.append(embeddings)
        if row.index in ends:
            yield torch.cat(tensors), index, bad, first + row.index + 1
            tensors, index, bad = tensors[:1], [], []


def _embeddings_of(
    row: RowFeatures, windows: RowWindows, options: EmbedOptions
) -> tuple[Tensor, list[tuple[float, float]]]:
    (features,) = row.features
    if options.extract.windows.stride_s is not None:
        return features, list(windows.spans_s)
    span = (windows.spans_s[0][0], windows.spans_s[-1][1])
    return features.mean(dim=0, keepdim=True), [span]


def _shard_ends(plan: Sequence[RowWindows], options: EmbedOptions) -> frozenset[int]:
    """Return the last row of each shard."""
    ends = []
    planned = 0
    for index, windows in enumerate(plan):
        per_window = options.extract.windows.stride_s is not None
        planned += len(windows.spans_s) if per_window else 1
        if planned >= options.shard_size or index == len(plan) - 1:
            ends.append(index)
            planned = 0
    return frozenset(ends)
