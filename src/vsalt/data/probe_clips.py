"""The clips that a probe is trained or tested on: some windows of a row, some views of each.

This is the data side of V-JEPA 2's evaluation (facebookresearch/vjepa2). The row's stretch is cut
into equal parts, each gives one window (in a short video they overlap). For training every window
is placed, changed and cropped by its own draws; for tests it lies in the middle of its part and
gives evenly spaced crops.

Deviations: at test time the original places windows at random, too (`window="random"`), here
results repeat. A window is drawn from all places that fit, where the original leaves out the last.
Clips have 8 bits. Images go the way of videos, as clips of equal frames; the original's training
on ImageNet has a policy of its own (timm's AutoAugment and flips).

A sample is a pure function of (seed, pass, row). The data set holds shared arrays and settings, so
that it can be sent to spawned processes.

Shapes: B rows, S windows, V views, T frames of h x w pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from vsalt.data.clip_table import ClipTable
from vsalt.data.config import ReadLimits
from vsalt.data.decode import Video
from vsalt.data.erasing import random_erasing
from vsalt.data.jobs import Job
from vsalt.data.manifest import Row
from vsalt.data.probe_config import ProbeClipConfig
from vsalt.data.randaugment import randaugment
from vsalt.data.sampling import even_times, stretch
from vsalt.data.transforms import multi_view, random_view
from vsalt.data.types import BadFile
from vsalt.data.video_info import VideoInfo
from vsalt.errors import DecodeError, DecodeTimeoutError
from vsalt.randomness import keyed_generator

# Windows that overlap are decoded together, as long as their frames fit into this.
_MAX_BYTES_TOGETHER = 1 << 28


class ProbeKey(NamedTuple):
    """Names one sample; its randomness is a function of the seed and these.

    Attributes:
        pass_index: number of the pass over the rows (epoch).
        row: index of the row.
    """

    pass_index: int
    row: int


@dataclass(frozen=True, eq=False)
class ProbeBatch:
    """The clips of B rows.

    Attributes:
        clips: RGB frames, shape (B, S, V, 3, T, h, w); zeros for unreadable files.
        rows: index of each sample's row.
        bad_files: the files that could not be read; `step` is the pass, `position` the row.
    """

    clips: UInt8[Tensor, "B S V 3 T h w"]
    rows: tuple[int, ...]
    bad_files: tuple[BadFile, ...] = ()

    @property
    def readable(self) -> tuple[bool, ...]:
        """Whether the clips of each sample are its file's, not zeros."""
        bad = {file.position for file in self.bad_files}
        return tuple(row not in bad for row in self.rows)

    def pin_memory(self) -> "ProbeBatch":
        """Return the batch with its clips in page-locked memory."""
        return replace(self, clips=self.clips.pin_memory())


class ProbeClips:
    """The clips of a list of rows, by `ProbeKey`.

    Args:
        rows: videos or images, or stretches of them.
        config: windows, views, augmentation.
        seed: of all draws.
        limits: what a file may cost; None is `ReadLimits()`.

    Example:
        >>> config = ProbeClipConfig(clip=ClipConfig(), segments=2, augment="crop")
        >>> clips = ProbeClips(rows, config, seed=0)
        >>> pool = WorkerPool(clips, workers=2, prefetch=2, pin_memory=False, limits=ReadLimits())
        >>> tasks = [Task([ProbeKey(0, 0), ProbeKey(0, 1)])]
        >>> next(iter(pool.batches(tasks))).clips.shape
        torch.Size([2, 2, 1, 3, 16, 224, 224])
        >>> pool.close()
    """

    def __init__(
        self,
        rows: Sequence[Row],
        config: ProbeClipConfig,
        *,
        seed: int,
        limits: ReadLimits | None = None,
    ) -> None:
        self._table = ClipTable(rows)
        self._config = config
        self._seed = seed
        self._limits = limits

    def __len__(self) -> int:
        return len(self._table)

    def read(self, keys: Sequence[ProbeKey], job: Job) -> ProbeBatch:
        """Return the clips of some rows.

        A file that cannot be read gives zeros, so that batches keep their sizes, and is named in
        the batch; nothing is raised.
        """
        config = self._config
        shape = (config.segments, config.views, 3, config.clip.num_frames, *config.clip.size)
        clips = job.empty((len(keys), *shape), torch.uint8)
        bad_files = []
        for index, key in enumerate(keys):
            try:
                with job.reading(index):
                    clips[index] = self[key]
            except DecodeError as error:
                clips[index] = 0
                timed_out = isinstance(error, DecodeTimeoutError)
                path = str(self._table[key.row].media)
                bad_files.append(BadFile(*key, 0, path, str(error), timed_out))
        return ProbeBatch(clips, tuple(key.row for key in keys), tuple(bad_files))

    def __getitem__(self, key: ProbeKey) -> UInt8[Tensor, "S V 3 T h w"]:
        """Return the clips of one row.

        Raises:
            DecodeError: the file cannot be read.
        """
        place = self._table[key.row]
        with Video(place.media, limits=self._limits) as video:
            part = stretch(video.info, start_s=place.start_s, end_s=place.end_s)
            times = even_times(
                self._config.clip, part, num_windows=self._config.segments, u=self._places(key)
            )
            clips = [
                self._views(window, key, segment)
                for segment, window in enumerate(_read_windows(video, times))
            ]
        return torch.stack(clips)

    def _places(self, key: ProbeKey) -> float | Sequence[float]:
        """Return where each window lies in its part."""
        if self._config.window == "fixed":
            return 0.5
        generator = keyed_generator("probe window", self._seed, *key)
        places: list[float] = generator.random(self._config.segments).tolist()
        return places

    def _views(self, window: "_Window", key: ProbeKey, segment: int) -> UInt8[Tensor, "V 3 T h w"]:
        """Return the views of one window, which has draws of its own as in the original."""
        config = self._config
        if config.augment == "none":
            views = multi_view(
                window.frames,
                size=config.clip.size,
                num_views=config.views,
                antialias=config.antialias,
            )
            return views[:, :, window.shown]
        generator = keyed_generator("probe view", self._seed, *key, segment)
        frames = window.frames
        if config.augment == "randaugment":
            frames = randaugment(frames, generator, config.randaugment)
        view = random_view(
            frames,
            generator,
            size=config.clip.size,
            crop_scale=config.crop_scale,
            crop_ratio=config.crop_ratio,
            flip=config.flip,
            antialias=config.antialias,
        )
        return random_erasing(view[:, window.shown], generator, probability=config.erase)[None]


class _Window(NamedTuple):
    """The K ≤ T different frames of a window, and which of them each frame of the clip shows.

    A short video repeats its last frame and an image its only one; whatever is done to a frame
    is done once.
    """

    frames: UInt8[np.ndarray, "K H W 3"]
    shown: Int64[np.ndarray, "T"]


def _read_windows(video: Video, windows: Sequence[Float64[np.ndarray, "T"]]) -> Iterator[_Window]:
    """Yield the frames of each window; what overlaps is decoded once."""
    for group in _overlapping(video.info, windows):
        times_s, places = np.unique(np.concatenate(group), return_inverse=True)
        frames = video.read(times_s)
        for own in places.reshape(len(group), -1):
            first, shown = np.unique(own, return_inverse=True)
            yield _Window(frames[first], shown)


def _overlapping(
    info: VideoInfo, windows: Sequence[Float64[np.ndarray, "T"]]
) -> list[list[Float64[np.ndarray, "T"]]]:
    """Cut a list of windows, ascending by start, into runs whose neighbours overlap."""
    most = _MAX_BYTES_TOGETHER // (info.height * info.width * 3 * len(windows[0]))
    groups = [[windows[0]]]
    for window in windows[1:]:
        if window[0] <= groups[-1][-1][-1] and len(groups[-1]) < most:
            groups[-1].append(window)
        else:
            groups.append([window])
    return groups
