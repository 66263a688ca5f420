"""The tokens that attentive probes look at: computed as they are needed, or once and kept on disk.

Both sources answer the same question: given batches of keys (pass, row), the tokens of every
encoder. A pass is one drawing of windows and views of all rows.

Shapes: B rows, S segments, V views, L layers, N tokens of a clip, M = S L N tokens of a view,
D channels.
"""

import contextlib
import math
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vsalt import durable
from vsalt.data.config import ReadLimits
from vsalt.data.jobs import Task
from vsalt.data.manifest import Row
from vsalt.data.probe_clips import ProbeBatch, ProbeClips, ProbeKey
from vsalt.data.probe_config import ProbeClipConfig
from vsalt.data.workers import WorkerPool
from vsalt.errors import DataError
from vsalt.models.config import grid_of
from vsalt.models.vit import Encoder
from vsalt.training.device import autocast
from vsalt.training.extract import Progress

PREFETCH = 2
CACHE_TYPE = np.float16
Keys: TypeAlias = Iterable[list[ProbeKey]]


class TokenBatch(NamedTuple):
    """The tokens of B rows.

    Attributes:
        tokens: (B, V, M, D) under each encoder.
        readable: whether each row's tokens are its clips', not those of blank frames.
    """

    tokens: list[Tensor]
    readable: tuple[bool, ...]


@runtime_checkable
class TokenSource(Protocol):
    """Gives the tokens of batches of rows."""

    def batches(self, keys: Keys) -> Generator[TokenBatch, None, None]:
        """Yield the tokens of each batch of keys."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenReader:
    """Reads clips of rows and encodes them. A source of tokens.

    Attributes:
        encoders: in eval mode, on `device`; they take the same clips.
        rows: where the clips are.
        clips: which windows and views.
        layers: the blocks whose tokens are put side by side.
        seed: of windows and views.
        workers: processes that decode.
        limits: what a file may cost.
        device: cpu or cuda.
        precision: fp32 or bf16.
        errors: where to note rows of which a clip cannot be read, by index. None: the first one
            is an error.
    """

    encoders: Sequence[Encoder]
    rows: Sequence[Row]
    clips: ProbeClipConfig
    layers: tuple[int, ...]
    seed: int
    workers: int
    limits: ReadLimits
    device: str
    precision: str
    errors: dict[int, str] | None = None

    def batches(self, keys: Keys) -> Generator[TokenBatch, None, None]:
        """Yield the tokens of each batch of keys.

        Raises:
            DataError: if a clip cannot be read and `errors` is None.
        """
        with contextlib.closing(self.read(keys)) as batches:
            for batch in batches:
                for bad in batch.bad_files:
                    if self.errors is None:
                        raise DataError(
                            f"{bad.path} could be read before, but not in the window that is "
                            f"wanted now: {bad.error}; mend it, or pass such windows over by "
                            "--skip-bad"
                        )
                    self.errors.setdefault(bad.position, bad.error)
                clips = batch.clips.to(self.device, non_blocking=True)
                tokens = [self._encode(encoder, clips) for encoder in self.encoders]
                yield TokenBatch(tokens, batch.readable)

    def read(self, keys: Keys) -> Generator[ProbeBatch, None, None]:
        """Yield the clips of each batch of keys."""
        pool: WorkerPool[ProbeKey, ProbeBatch] = WorkerPool(
            ProbeClips(self.rows, self.clips, seed=self.seed, limits=self.limits),
            workers=self.workers,
            prefetch=PREFETCH,
            pin_memory=self.device == "cuda",
            limits=self.limits,
        )
        try:
            yield from pool.batches(map(Task, keys))
        finally:
            pool.close()

    @torch.no_grad()
    def _encode(
        self, encoder: Encoder, clips: UInt8[Tensor, "B S V 3 T h w"]
    ) -> Float[Tensor, "B V M D"]:
        num_rows, num_views = clips.shape[0], clips.shape[2]
        flat = clips.transpose(1, 2).flatten(0, 2)
        with autocast(self.device, self.precision):
            layers = encoder.features(flat, layers=self.layers)
        tokens = torch.stack([layer.float() for layer in layers], dim=1)
        return tokens.reshape(num_rows, num_views, -1, tokens.shape[-1])

    def num_tokens(self) -> int:
        """M, the tokens that a probe sees of one view."""
        clip = self.clips.clip
        tubelet = self.encoders[0].config.tubelet
        grid = grid_of(clip.num_frames, clip.size, tubelet)
        return int(self.clips.segments * len(self.layers) * math.prod(grid))


def chunked(keys: Sequence[ProbeKey], size: int) -> Iterator[list[ProbeKey]]:
    """Cut keys into batches; the last one may be smaller."""
    return (list(keys[first : first + size]) for first in range(0, len(keys), size))


class TokenCache:
    """Tokens of some passes over some rows, kept on disk while a probe trains.

    Values are rounded to half precision (relative error 5e-4). A source of tokens: pass p means
    the cached pass p modulo their number. The files have no name once they are open, so that the
    system frees them however the process ends.

    Args:
        reader: computes them; its clips must have one view.
        rows: indices of the rows that are cached.
        num_passes: V, the drawings of windows and views per row.
        folder: on the disk that shall hold them; it exists.
    """

    def __init__(
        self, reader: TokenReader, rows: Sequence[int], num_passes: int, folder: Path
    ) -> None:
        assert reader.clips.views == 1
        self.reader = reader
        self.num_passes = num_passes
        self.folder = folder
        self._place = {row: index for index, row in enumerate(rows)}
        num_tokens = reader.num_tokens()
        self._shapes = [
            (num_passes, len(rows), num_tokens, encoder.width) for encoder in reader.encoders
        ]
        self._arrays: list[np.ndarray] = []
        self._readable = np.ones((num_passes, len(rows)), dtype=bool)

    @property
    def num_bytes(self) -> int:
        """Size of all files."""
        return sum(math.prod(shape) for shape in self._shapes) * np.dtype(CACHE_TYPE).itemsize

    def describe(self) -> str:
        """Return the size and what it is made of."""
        passes, rows, tokens, _ = self._shapes[0]
        widths = " + ".join(str(shape[3]) for shape in self._shapes)
        encoders = " (one number per encoder)" if len(self._shapes) > 1 else ""
        return (
            f"{_size(self.num_bytes)} of tokens on the disk of {self.folder} while the probe "
            f"trains: {passes} view{'s' if passes > 1 else ''} x {rows} rows x {tokens} tokens x "
            f"{widths} channels{encoders} x 2 bytes"
        )

    def require_disk(self) -> None:
        """Check that the tokens fit.

        Raises:
            RunFolderError: with both numbers.
        """
        durable.require_free_disk(
            self.folder,
            self.num_bytes,
            what="the cache of tokens needs",
            advice="lower --attentive.cached-views, or compute tokens anew in every epoch: "
            "--attentive.features online",
        )

    def fill(self, rows_at_once: int, on_progress: Progress | None) -> None:
        """Compute and write all tokens.

        Raises:
            RunFolderError: if the disk is too small.
        """
        with durable.explain_write_errors(f"the cache of tokens in {self.folder}"):
            self._arrays = [self._new_array(shape) for shape in self._shapes]
        keys = [ProbeKey(number, row) for number in range(self.num_passes) for row in self._place]
        done = 0
        for own, batch in zip(
            chunked(keys, rows_at_once),
            self.reader.batches(chunked(keys, rows_at_once)),
            strict=True,
        ):
            passes, places = self._index(own)
            for array, values in zip(self._arrays, batch.tokens, strict=True):
                array[passes, places] = values[:, 0].cpu().numpy()
            self._readable[passes, places] = batch.readable
            done += len(own)
            if on_progress:
                on_progress(done, len(keys))

    def batches(self, keys: Keys) -> Generator[TokenBatch, None, None]:
        """Yield the cached tokens of each batch of keys."""
        for own in keys:
            passes, places = self._index(own)
            tokens = [
                torch.from_numpy(array[passes, places]).to(self.reader.device).float()[:, None]
                for array in self._arrays
            ]
            yield TokenBatch(tokens, tuple(self._readable[passes, places].tolist()))

    def close(self) -> None:
        """Give the disk back."""
        self._arrays = []

    def _new_array(self, shape: tuple[int, ...]) -> np.ndarray:
        """Map a new file, whose blocks are taken now: a full disk must not show in mid-write."""
        path = self.folder / f".tokens-{os.getpid()}.bin"
        with open(path, "w+b") as file:
            path.unlink()
            os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(CACHE_TYPE).itemsize)
            return np.memmap(file, CACHE_TYPE, "r+", shape=shape)

    def _index(self, keys: list[ProbeKey]) -> tuple[list[int], list[int]]:
        passes = [key.pass_index % self.num_passes for key in keys]
        return passes, [self._place[key.row] for key in keys]


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"
