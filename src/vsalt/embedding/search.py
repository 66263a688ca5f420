"""`vsalt search`: the clips of an index that are nearest to a query video.

The query gets the encoder, windows and pooling that the index was written with, so that its
embeddings can be compared with those. Nearness is the cosine of two embeddings.

Shapes: n embeddings of the index, q of the query, F channels of a feature.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vsalt.config import to_dict
from vsalt.data.manifest import Row
from vsalt.embedding.index import EmbeddingIndex, Entry
from vsalt.errors import DecodeError, WeightsError
from vsalt.training.extract import (
    ExtractConfig,
    WindowConfig,
    encoder_features,
    extract_features,
    plan_windows,
)
from vsalt.training.locate import LoadedEncoder

_CHUNK = 1 << 14


class Hit(NamedTuple):
    """A clip that is near to the query.

    Attributes:
        similarity: cosine of its embedding with the nearest of the query's, from -1 to 1.
        entry: the clip.
        query_start_s: where the nearest window of the query starts, in seconds.
        query_end_s: where it ends.
    """

    similarity: float
    entry: Entry
    query_start_s: float
    query_end_s: float


class Query(NamedTuple):
    """The embeddings of a query, and the spans that they are of, in seconds."""

    embeddings: Float32[Tensor, "q F"]
    spans_s: tuple[tuple[float, float], ...]


def embed_query(
    loaded: LoadedEncoder, index: EmbeddingIndex, query: Row, config: ExtractConfig
) -> Query:
    """Embed a query as the videos of an index were embedded.

    Args:
        loaded: the encoder.
        index: whose windows, pooling and layers are taken.
        query: the video, or the stretch of it.
        config: batches, workers, device, limits.

    Returns:
        One embedding per sliding window, or one in all, as in the index.

    Raises:
        WeightsError: the index is of another encoder, or of clips that this one does not take.
        DecodeError: the video cannot be read.
    """
    _require_same_encoder(loaded, index)
    settings = index.settings
    windows = WindowConfig(**settings["preprocessing"]["windows"])
    config = dataclasses.replace(
        config, windows=windows, pooling=settings["pooling"], layers=tuple(settings["layers"])
    )
    clip = loaded.config.clip
    plan = plan_windows([query], clip, windows, limits=config.limits)
    (found,) = extract_features(
        [encoder_features(loaded.encoder, config)],
        [query],
        plan,
        clip=clip,
        config=config,
        antialias=loaded.config.data.antialias,
    )
    if found.error is not None:
        raise DecodeError(found.error)
    spans = plan[0].spans_s
    if windows.stride_s is not None:
        return Query(found.features[0], spans)
    return Query(found.features[0].mean(dim=0, keepdim=True), ((spans[0][0], spans[-1][1]),))


def nearest(
    index: EmbeddingIndex, query: Query, *, count: int, overlapping: bool = False
) -> list[Hit]:
    """Return the clips of an index that are nearest to a query, the nearest first.

    The similarity of a clip is that to the nearest window of the query:
    `max_w cos(clip, query_w)`. Among equals the earlier in the index comes first.

    Args:
        index: where to look.
        query: from `embed_query`.
        count: at most so many.
        overlapping: keep clips that overlap in time with a nearer one of the same video.
    """
    similarity, window = _similarities(torch.from_numpy(index.embeddings), query.embeddings)
    hits: list[Hit] = []
    taken: dict[str, list[Entry]] = {}
    for place in np.argsort(-similarity.numpy(), kind="stable"):
        if len(hits) == count:
            break
        entry = index.entries[place]
        others = taken.setdefault(entry.path, [])
        if not overlapping and any(_overlap(entry, other) for other in others):
            continue
        others.append(entry)
        start_s, end_s = query.spans_s[int(window[place])]
        hits.append(Hit(float(similarity[place]), entry, start_s, end_s))
    return hits


def _similarities(
    embeddings: Float[Tensor, "n F"], queries: Float[Tensor, "q F"]
) -> tuple[Float[Tensor, "n"], Tensor]:
    """Return of each embedding the similarity to its nearest query, and which that is."""
    queries = torch.nn.functional.normalize(queries, dim=1)
    best = [
        (torch.nn.functional.normalize(chunk, dim=1) @ queries.T).max(dim=1)
        for chunk in embeddings.split(_CHUNK)
    ]
    return torch.cat([own.values for own in best]), torch.cat([own.indices for own in best])


def _overlap(one: Entry, other: Entry) -> bool:
    return one.start_s < other.end_s and other.start_s < one.end_s


def find_encoder(index: EmbeddingIndex, given: Path | None) -> Path:
    """Return where the encoder of an index is: as given, else where it was.

    Raises:
        WeightsError: it is not there any more.
    """
    if given is not None:
        return given
    if not index.checkpoint.exists():
        raise WeightsError(
            f"the encoder of {index.folder} was {index.checkpoint}, which is not there from here; "
            "name its run or checkpoint by --encoder"
        )
    return index.checkpoint


def _require_same_encoder(loaded: LoadedEncoder, index: EmbeddingIndex) -> None:
    settings = index.settings
    if settings["encoder_sha256"] != loaded.sha256:
        raise WeightsError(
            f"{index.folder} was written with other weights than those of "
            f"{loaded.checkpoint.path} (SHA-256 {settings['encoder_sha256'][:12]} there, "
            f"{loaded.sha256[:12]} here); name the right --encoder, or embed the videos anew"
        )
    own: dict[str, Any] = {
        "clip": to_dict(loaded.config.clip),
        "antialias": loaded.config.data.antialias,
    }
    differing = [name for name in own if settings["preprocessing"][name] != own[name]]
    if differing:
        raise WeightsError(
            f"{index.folder} was written from other clips than {loaded.checkpoint.path} takes "
            f"({' and '.join(differing)} differ); embed the videos anew"
        )
