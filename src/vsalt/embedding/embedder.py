"""`vsalt.load`: a trained encoder that takes videos as programs and notebooks have them.

What it makes of a file is what `vsalt embed` writes, and what it makes of frames in memory is what
it makes of a file with these frames.

Shapes: N videos, S windows of a video, F channels of a feature, (T', H', W') grid of tokens,
C channels of a place.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from vsalt.data.config import ClipConfig, ReadLimits
from vsalt.data.manifest import Row
from vsalt.embedding.features import map_shape, num_features, token_maps
from vsalt.embedding.videos import Frames, Layout, Videos, array_clips, read_videos, require_choice
from vsalt.errors import ConfigError, DataError
from vsalt.models.config import Pooling
from vsalt.training.device import choose_device
from vsalt.training.extract import (
    ClipFeatures,
    ExtractConfig,
    RowFeatures,
    RowWindows,
    WindowConfig,
    encoder_features,
    extract_features,
    plan_windows,
    require_layers,
)
from vsalt.training.locate import LoadedEncoder, load_encoder, stage_of

MAX_NAMED = 10
"""How many unreadable videos an error names."""


def load(
    path: str | PathLike[str],
    *,
    pooling: Pooling = "mean",
    layers: Sequence[int] = (-1,),
    segments: int = 1,
    batch_size: int = 16,
    workers: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    limits: ReadLimits | None = None,
) -> "Embedder":
    """Load a trained encoder for use in Python.

    Args:
        path: a run or a checkpoint, as `vsalt embed --encoder` takes it (see `load_encoder`).
        pooling: mean: a feature is the mean over all tokens, F = D. mean_space: over the tokens of
            each time step, the steps side by side, F = T' D.
        layers: blocks whose outputs lie side by side; -1 is the last.
        segments: windows, spread evenly over a video, whose features are averaged.
        batch_size: clips that are encoded at once.
        workers: processes that decode files; 0 decodes in this process.
        device: where the encoder runs; auto takes cuda where there is one.
        limits: what a file may cost before it counts as unreadable; None is `ReadLimits()`.

    Raises:
        WeightsError: there is no encoder at the path.
        ConfigError: a setting is not allowed, or the encoder has not these blocks.

    Example:
        >>> encoder = vsalt.load("run")
        >>> encoder.embed(["a.mp4", "b.mp4"]).shape
        (2, 384)
    """
    config = ExtractConfig(
        windows=WindowConfig(per_row=segments),
        pooling=pooling,
        layers=tuple(layers),
        batch_size=batch_size,
        workers=workers,
        device=device,
        limits=limits or ReadLimits(),
    )
    return Embedder(load_encoder(Path(path)), config)


@dataclass(frozen=True, eq=False, repr=False)
class Embedder:
    """A frozen encoder with all that it takes to use it right; made by `load`.

    Attributes:
        loaded: the network with the configuration that it was trained with.
        config: windows, pooling, layers, batches, workers, device.

    Raises:
        ConfigError: the encoder has not the blocks that are asked for, or there is no such device.
    """

    loaded: LoadedEncoder
    config: ExtractConfig

    def __post_init__(self) -> None:
        """Check what would fail later."""
        require_layers(self.loaded.encoder, self.config.layers)
        choose_device(self.config.device)

    def __repr__(self) -> str:
        height, width = self.clip.size
        checkpoint = self.loaded.checkpoint
        return (
            f"Embedder({stage_of(checkpoint)}, step {checkpoint.step} of {checkpoint.path}: "
            f"clips of {self.clip.num_frames} frames, {height}x{width} pixels, to "
            f"{self.num_features} numbers)"
        )

    @property
    def clip(self) -> ClipConfig:
        """What a clip is: frames, frame step or rate, size in pixels."""
        return self.loaded.config.clip

    @property
    def num_features(self) -> int:
        """F, the channels of a feature."""
        return num_features(self.loaded.encoder, self.clip, self.config)

    @property
    def map_shape(self) -> tuple[int, int, int, int]:
        """(T', H', W', C), the shape of a video's map of tokens."""
        return map_shape(self.loaded.encoder, self.clip, self.config)

    def embed(
        self,
        videos: Videos,
        *,
        fps: float | None = None,
        layout: Layout | None = None,
        unreadable: Literal["error", "nan"] = "error",
    ) -> Float32[np.ndarray, "N F"]:
        """Return one feature per video.

        Args:
            videos: a path, a `Row`, an array or tensor of 8-bit RGB frames with four axes, or
                several: a list of these, a column of paths, an array with five axes. Frames of any
                size are resized and cropped as those of files are.
            fps: the rate of arrays. With it they are whole videos, and clips are taken from them as
                from files. Without it each is a clip that is ready, of just the encoder's number of
                frames, and `segments` does not apply.
            layout: the axes of arrays; by default the colours' axis is the one with 3 entries.
            unreadable: what to do with files that cannot be read: raise, or return nan for them.

        Raises:
            DataError: something is no video or can be read in two ways, or files cannot be read.
        """
        function = encoder_features(self.loaded.encoder, self.config)
        return self._encode(function, self.num_features, videos, fps, layout, unreadable)

    def tokens(
        self,
        videos: Videos,
        *,
        fps: float | None = None,
        layout: Layout | None = None,
        unreadable: Literal["error", "nan"] = "error",
    ) -> Float32[np.ndarray, "N T H W C"]:
        """Return the tokens of one clip per video, by their places in time, height and width.

        The mean over all places is what `embed` returns with `pooling="mean"`.

        Args:
            videos: as in `embed`.
            fps: as in `embed`.
            layout: as in `embed`.
            unreadable: as in `embed`.

        Raises:
            DataError: as in `embed`.
            ConfigError: with several segments, of which there is no common map.
        """
        if self.config.windows.per_row > 1:
            raise ConfigError(
                [
                    f"segments is {self.config.windows.per_row}, and a map of tokens is of one "
                    "window; load the encoder with segments=1"
                ]
            )
        function = token_maps(self.loaded.encoder, self.config)
        width = int(np.prod(self.map_shape))
        flat = self._encode(function, width, videos, fps, layout, unreadable)
        return flat.reshape(len(flat), *self.map_shape)

    def _encode(
        self,
        function: ClipFeatures,
        width: int,
        videos: Videos,
        fps: float | None,
        layout: Layout | None,
        unreadable: Literal["error", "nan"],
    ) -> Float32[np.ndarray, "N _"]:
        require_choice("unreadable", unreadable, ("error", "nan"))
        given = read_videos(videos, layout=layout)
        out = np.full((len(given), width), np.nan, dtype=np.float32)
        rows = {index: row for index, row in enumerate(given) if isinstance(row, Row)}
        arrays = {index: own for index, own in enumerate(given) if not isinstance(own, Row)}
        # What is wrong with an array shows at once, and not after hours of files.
        clips = {index: self._array_clips(index, own, fps) for index, own in arrays.items()}
        plan = plan_windows(
            list(rows.values()), self.clip, self.config.windows, limits=self.config.limits
        )
        if unreadable == "error":
            # What is wrong with headers shows before anything is encoded.
            _refuse({i: own.error for i, own in zip(rows, plan, strict=True)}, len(given))
        for index, feature in self._of_clips(function, clips):
            out[index] = feature
        for index, found in self._of_rows(function, rows, plan):
            if unreadable == "error":
                _refuse({index: found.error}, len(given))
            if found.error is None:
                out[index] = found.features[0].mean(dim=0).numpy()
        return out

    def _array_clips(
        self, index: int, frames: Frames, fps: float | None
    ) -> UInt8[Tensor, "S 3 t h w"]:
        return array_clips(
            frames,
            fps=fps,
            clip=self.clip,
            windows=self.config.windows,
            antialias=self.loaded.config.data.antialias,
            name=f"video {index}",
        )

    def _of_clips(
        self, function: ClipFeatures, clips: dict[int, Tensor]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Encode clips in batches, and yield the mean over each video's."""
        device = choose_device(self.config.device)
        flat = (clip for own in clips.values() for clip in own)
        encoded = (
            feature
            for batch in _batched(flat, self.config.batch_size)
            for feature in function(torch.stack(batch).to(device)).cpu()
        )
        for index, own in clips.items():
            yield index, torch.stack(list(itertools.islice(encoded, len(own)))).mean(dim=0).numpy()

    def _of_rows(
        self, function: ClipFeatures, rows: dict[int, Row], plan: Sequence[RowWindows]
    ) -> Iterator[tuple[int, RowFeatures]]:
        """Yield the features of each file's windows."""
        found = extract_features(
            [function],
            list(rows.values()),
            plan,
            clip=self.clip,
            config=self.config,
            antialias=self.loaded.config.data.antialias,
        )
        yield from zip(rows, found, strict=True)


def _batched(clips: Iterator[Tensor], size: int) -> Iterator[list[Tensor]]:
    while batch := list(itertools.islice(clips, size)):
        yield batch


def _refuse(errors: Mapping[int, str | None], num_videos: int) -> None:
    """Raise if there are errors, which are those of videos by their numbers."""
    lines = [f"video {index}, {error}" for index, error in errors.items() if error is not None]
    if not lines:
        return
    head = f"{len(lines)} of {num_videos} videos cannot be read:"
    more = [f"and {len(lines) - MAX_NAMED} more"] if len(lines) > MAX_NAMED else []
    named = "\n  ".join([head, *lines[:MAX_NAMED], *more])
    raise DataError(f"{named}\nunreadable='nan' returns nan for them")
