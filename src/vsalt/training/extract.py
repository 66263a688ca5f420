"""From rows of videos to pooled features of frozen encoders, in the order of the rows.

What makes features of clips is a function; `encoder_features` makes one of an encoder.
What an encoder gets is fixed by the configuration it was trained with (frames, frame step or rate,
size) and by evenly spaced or sliding windows; the view is the middle of the frames. Nothing is
random. Decoding runs in worker processes that build whole batches.

Shapes: B clips, N tokens, D channels of a token, F channels of a feature.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from vsalt.data.clip_table import ClipPlace, ClipTable
from vsalt.data.config import ClipConfig, ReadLimits
from vsalt.data.dataset import HOLDOUT_STEP
from vsalt.data.decode import Video
from vsalt.data.jobs import Job, Task
from vsalt.data.manifest import Row
from vsalt.data.sampling import (
    Stretch,
    clip_window_s,
    even_times,
    sliding_starts,
    stretch,
    times_at,
)
from vsalt.data.transforms import centre_view
from vsalt.data.types import BadFile, Batch, SampleKey
from vsalt.data.video_info import VideoInfo, probe
from vsalt.data.workers import WorkerPool
from vsalt.errors import ConfigError, DecodeError, DecodeTimeoutError, report_problems
from vsalt.models.config import Pooling
from vsalt.models.vit import Encoder, block_indices
from vsalt.training.device import choose_device

Progress = Callable[[int, int], None]
"""Is called with what is done and what there is to do."""
ClipFeatures = Callable[[Shaped[Tensor, "B 3 T H W"]], Float[Tensor, "B F"]]
"""Turns clips of 8-bit frames, on the device of the extraction, into features in float32."""
Device: TypeAlias = Literal["auto", "cpu", "cuda"]

_PREFETCH = 2


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """Which windows of a row become clips.

    Attributes:
        per_row: this many windows, spread evenly over the row's stretch; one is in the middle.
        stride_s: or: windows that start every so many seconds, the last one at the end.
    """

    per_row: int = 1
    stride_s: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if self.per_row < 1:
            problems.append(f"segments is {self.per_row}; it must be at least 1")
        if self.stride_s is not None and not self.stride_s > 0:
            problems.append(f"window-stride-s is {self.stride_s}; it must be above 0")
        if self.stride_s is not None and self.per_row != 1:
            problems.append("segments and window-stride-s exclude each other; give one of them")
        report_problems(problems)


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """How features are computed.

    Attributes:
        windows: which windows are encoded.
        pooling: mean: over all tokens, F = D. mean_space: over the tokens of each time step, and
            the steps one after the other, F = T * D, so that order in time is kept.
        layers: blocks whose pooled outputs are put side by side, which multiplies F.
        batch_size: clips that are encoded at once.
        workers: processes that decode; 0 decodes in this process.
        device: cpu or cuda; auto takes cuda where there is one.
        limits: what a file may cost before it counts as unreadable.
    """

    windows: WindowConfig = dataclasses.field(default_factory=WindowConfig)
    pooling: Pooling = "mean"
    layers: tuple[int, ...] = (-1,)
    batch_size: int = 16
    workers: int = 0
    device: Device = "auto"
    limits: ReadLimits = dataclasses.field(default_factory=ReadLimits)

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = [
            f"{name} is {value!r}; it can be {', '.join(allowed)}"
            for name, value, allowed in (
                ("pooling", self.pooling, get_args(Pooling)),
                ("device", self.device, get_args(Device)),
            )
            if value not in allowed
        ]
        if self.batch_size < 1:
            problems.append(f"batch-size is {self.batch_size}; it must be at least 1")
        if self.workers < 0:
            problems.append(f"workers is {self.workers}; it must be 0 or more")
        if not self.layers:
            problems.append("layers is empty; -1 is the last block")
        report_problems(problems)


@dataclass(frozen=True, kw_only=True)
class RowWindows:
    """The windows of one row, or why it has none.

    Attributes:
        spans_s: start and end of each window in the video, in seconds.
        error: why the file cannot be read.
    """

    spans_s: tuple[tuple[float, float], ...] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class RowFeatures:
    """The features of one row.

    Attributes:
        index: of the row.
        features: of each function one feature per window, shape (windows, F); empty on error.
        error: why the file cannot be read.
    """

    index: int
    features: tuple[Float[Tensor, "_ _"], ...] = ()
    error: str | None = None


@torch.inference_mode()
def encode_clips(
    encoder: Encoder,
    clips: Shaped[Tensor, "B 3 T H W"],
    *,
    pooling: Pooling,
    layers: Sequence[int] = (-1,),
) -> Float[Tensor, "B F"]:
    """Return the pooled features of clips, which the encoder sees whole, in float32."""
    return torch.cat(encoder.features(clips, layers=layers, pooling=pooling), dim=1).float()


def encoder_features(encoder: Encoder, config: ExtractConfig) -> ClipFeatures:
    """Return what makes pooled features by an encoder, which is moved to the device.

    Raises:
        ConfigError: if it has not the blocks that are asked for.
    """
    require_layers(encoder, config.layers)
    moved = encoder.to(choose_device(config.device))
    return lambda clips: encode_clips(moved, clips, pooling=config.pooling, layers=config.layers)


def require_layers(encoder: Encoder, layers: Sequence[int]) -> None:
    """Check that an encoder has the blocks that are asked for.

    Raises:
        ConfigError: if it has not.
    """
    depth = len(encoder.blocks)
    try:
        blocks = block_indices(layers, depth)
    except ValueError as error:
        raise ConfigError([f"layers: {error}"]) from error
    if len(set(blocks)) < len(blocks):
        raise ConfigError([f"layers: {list(layers)} names a block of {depth} twice"])


def plan_windows(
    rows: Sequence[Row],
    clip: ClipConfig,
    windows: WindowConfig,
    *,
    limits: ReadLimits | None = None,
    on_progress: Progress | None = None,
) -> list[RowWindows]:
    """Look into every file for its length and place its windows; nothing is decoded.

    Args:
        rows: where the clips are.
        clip: what a clip is.
        windows: where they lie.
        limits: what a file may cost; None is `ReadLimits()`.
        on_progress: is called with the rows done and their number.
    """
    planned = []
    for done, row in enumerate(rows, start=1):
        try:
            info = probe(row.media, limits=limits)
            part = stretch(info, start_s=row.start_s, end_s=row.end_s)
            spans = tuple(span for span, _ in place_windows(info, part, clip, windows))
            planned.append(RowWindows(spans_s=spans))
        except DecodeError as error:
            planned.append(RowWindows(error=str(error)))
        if on_progress:
            on_progress(done, len(rows))
    return planned


def extract_features(
    functions: Sequence[ClipFeatures],
    rows: Sequence[Row],
    plan: Sequence[RowWindows],
    *,
    clip: ClipConfig,
    config: ExtractConfig,
    antialias: bool = True,
    batch_ends: Collection[int] = (),
    on_progress: Progress | None = None,
) -> Iterator[RowFeatures]:
    """Yield the features of each row, in order; unreadable rows are yielded with their error.

    Features do not depend on `workers`. Those of encoders depend on which clips are encoded
    together by float32 rounding only, below 1e-5.

    Args:
        functions: what makes features of the same clips, each of which is decoded once for all.
        rows: where the clips are.
        plan: `plan_windows` of the same rows, clip and windows.
        clip: what a clip is.
        config: windows, batches, workers, device; pooling and layers are the functions' own.
        antialias: how frames are shrunk, as in training.
        batch_ends: rows, by index, whose last clip is the last of its batch.
        on_progress: is called with the rows done and their number.
    """
    clips = _ClipList(plan)
    dataset = _WindowDataset(rows, clips.places, clip, config, antialias)
    device = choose_device(config.device)
    pool: WorkerPool[SampleKey, Batch] = WorkerPool(
        dataset,
        workers=config.workers,
        prefetch=_PREFETCH,
        pin_memory=device == "cuda",
        limits=config.limits,
    )
    try:
        batches = pool.batches(map(Task, clips.batches(config.batch_size, batch_ends)))
        encoded = _encoded_clips(batches, functions, device)
        for row in _rows_of(encoded, plan):
            yield row
            if on_progress:
                on_progress(row.index + 1, len(rows))
    finally:
        pool.close()


class _ClipList:
    """All clips of a plan, row after row: `places[i]` is the row and window of clip i."""

    def __init__(self, plan: Sequence[RowWindows]) -> None:
        counts = np.array([len(windows.spans_s) for windows in plan], dtype=np.int64)
        self.stops = np.cumsum(counts)
        row = np.repeat(np.arange(len(plan)), counts)
        window = np.arange(len(row)) - np.repeat(self.stops - counts, counts)
        self.places = np.stack([row, window], axis=1)

    def batches(self, batch_size: int, ends: Collection[int]) -> list[list[SampleKey]]:
        """Cut the clips into batches, also after the last clip of each row in `ends`."""
        cuts = sorted({0, len(self.places), *(int(self.stops[end]) for end in ends)})
        return [
            [SampleKey(HOLDOUT_STEP, index) for index in range(first, min(first + batch_size, cut))]
            for begin, cut in itertools.pairwise(cuts)
            for first in range(begin, cut, batch_size)
        ]


class _WindowDataset:
    """Clips by their position in a list of (row, window).

    A clip that cannot be read is all zeros, so that batches keep their sizes, and is named in
    `bad_files`; nobody uses its features.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        places: np.ndarray,
        clip: ClipConfig,
        config: ExtractConfig,
        antialias: bool,
    ) -> None:
        self._table = ClipTable(rows)
        self._places = places
        self._clip = clip
        self._windows = config.windows
        self._limits = config.limits
        self._antialias = antialias
        # A long video has many batches, and placing its windows takes longer than reading a few.
        self._placed: tuple[int, VideoInfo, list[PlacedWindow]] | None = None

    def read(self, keys: Sequence[SampleKey], job: Job) -> Batch:
        """Return the clips of a batch; each file is opened once."""
        by_row: dict[int, list[int]] = defaultdict(list)
        for index, key in enumerate(keys):
            by_row[int(self._places[key.position, 0])].append(index)
        shape = (len(keys), 3, self._clip.num_frames, *self._clip.size)
        clips = job.empty(shape, torch.uint8)
        bad_files: list[BadFile] = []
        for row, own in by_row.items():
            try:
                with job.reading(own[0]):
                    self._fill(clips, keys, row, own)
            except DecodeError as error:
                clips[own] = 0
                timed_out = isinstance(error, DecodeTimeoutError)
                path = str(self._table[row].media)
                bad_files += [BadFile(*keys[i], 0, path, str(error), timed_out) for i in own]
        rows = tuple(int(self._places[key.position, 0]) for key in keys)
        return Batch(clips=clips, masks=(), rows=rows, bad_files=tuple(bad_files))

    def _fill(self, clips: Tensor, keys: Sequence[SampleKey], row: int, own: list[int]) -> None:
        """Read the clips of a row: those at the indices `own` of the batch."""
        place = self._table[row]
        with Video(place.media, limits=self._limits) as video:
            placed = self._windows_of(row, place, video.info)
            for index in own:
                times_s = placed[int(self._places[keys[index].position, 1])][1]
                clips[index] = self._view(video, times_s)

    def _windows_of(self, row: int, place: ClipPlace, info: VideoInfo) -> "list[PlacedWindow]":
        """Return all windows of a row, those of the last one without placing them again."""
        if self._placed is None or self._placed[:2] != (row, info):
            part = stretch(info, start_s=place.start_s, end_s=place.end_s)
            self._placed = (row, info, place_windows(info, part, self._clip, self._windows))
        return self._placed[2]

    def _view(self, video: Video, times_s: Float64[np.ndarray, "T"]) -> Tensor:
        frames = video.read(times_s)
        return centre_view(frames, size=self._clip.size, antialias=self._antialias)


PlacedWindow = tuple[tuple[float, float], Float64[np.ndarray, "T"]]
"""The span of a window and the times of its frames, in seconds."""


def place_windows(
    video: VideoInfo, part: Stretch, clip: ClipConfig, windows: WindowConfig
) -> list[PlacedWindow]:
    """Return the span and the frame times of every window of a stretch, in seconds."""
    if windows.stride_s is None:
        all_times = even_times(clip, part, num_windows=windows.per_row)
    else:
        all_times = _sliding_times(video, part, clip, windows.stride_s)
    end_s = part.start_s + part.duration_s
    placed: list[PlacedWindow] = []
    for times in all_times:
        start_s = max(0.0, float(times[0]) - 0.5 / part.fps)
        stop_s = min(start_s + clip_window_s(clip, part.fps), end_s)
        placed.append(((round(start_s, 6), round(stop_s, 6)), times))
    return placed


def _sliding_times(
    video: VideoInfo, part: Stretch, clip: ClipConfig, stride_s: float
) -> list[Float64[np.ndarray, "T"]]:
    """Slide over a stretch as over a video of its own, and shift the times to where it starts."""
    own = dataclasses.replace(video, num_frames=part.num_frames, duration_s=part.duration_s)
    shift_s = part.start_s if clip.fps is not None else part.first_frame / part.fps
    starts = sliding_starts(clip, own, stride_s=stride_s)
    return [shift_s + times_at(clip, own, start_s=start) for start in starts]


class _EncodedClip(NamedTuple):
    """The features of one clip, one per function, and why they are worth nothing."""

    features: list[Tensor]
    error: str | None


def _encoded_clips(
    batches: Iterable[Batch], functions: Sequence[ClipFeatures], device: str
) -> Iterator[_EncodedClip]:
    position = 0
    for batch in batches:
        clips = batch.clips.to(device, non_blocking=True)
        features = [function(clips).cpu() for function in functions]
        errors = {bad.position: bad.error for bad in batch.bad_files}
        for own in zip(*features, strict=True):
            yield _EncodedClip(list(own), errors.get(position))
            position += 1


def _rows_of(clips: Iterator[_EncodedClip], plan: Sequence[RowWindows]) -> Iterator[RowFeatures]:
    """Collect the windows of each row."""
    for index, planned in enumerate(plan):
        own = list(itertools.islice(clips, len(planned.spans_s)))
        error = planned.error or next((clip.error for clip in own if clip.error), None)
        if error is not None:
            yield RowFeatures(index=index, error=error)
            continue
        windows = zip(*(clip.features for clip in own), strict=True)
        yield RowFeatures(index=index, features=tuple(map(torch.stack, windows)))
