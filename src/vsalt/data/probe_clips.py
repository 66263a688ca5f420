"""The clips that a probe is trained or tested on: some windows of a row, some views of each.

This is the data side of V-JEPA 2's evaluation (facebookresearch/vjepa2). The row's stretch is cut
into equal parts, each gives one window (in a short video they overlap). For training every window
is placed, changed and cropped by its own draws; for tests it lies in the middle of its part and
gives evenly spaced crops.

Deviations: at test time the original places windows at random, too (`window="random"`), here
results repeat. A window is drawn from all places that fit, where the original leaves out the last.
Clips have 8 bits. Images go the way of videos, as clips of equal frames; the original's training
on ImageNet has a policy of its own (timm's AutoAugment and flips).

A sample is a pure function of (seed, pass, row). The data set holds plain arrays and settings, so
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
from torch.utils.data import Dataset

from vsalt.data.clip_table import ClipTable
from vsalt.data.decode import Video
from vsalt.data.erasing import random_erasing
from vsalt.data.manifest import Row
from vsalt.data.probe_config import ProbeClipConfig
from vsalt.data.randaugment import randaugment
from vsalt.data.sampling import even_times, stretch
from vsalt.data.transforms import multi_view, random_view
from vsalt.data.types import BadFile
from vsalt.data.video_info import VideoInfo
from vsalt.errors import DecodeError
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
class ProbeSample:
    """The clips of one row.

    Attributes:
        clips: RGB frames, shape (S, V, 3, T, h, w); zeros where the file could not be read.
        row: index of the row.
        bad_file: why the file could not be read.
    """

    clips: UInt8[Tensor, "S V 3 T h w"]
    row: int
    bad_file: BadFile | None = None


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
        """Return the batch with its clips in page-locked memory, as torch's loader asks for."""
        return replace(self, clips=self.clips.pin_memory())


class ProbeClips(Dataset[ProbeSample]):
    """The samples of a list of rows, by `ProbeKey`.

    A file that cannot be read gives zeros, so that batches keep their sizes, and is named in the
    sample; nothing is raised.

    Args:
        rows: videos or images, or stretches of them.
        config: windows, views, augmentation.
        seed: of all draws.

    Example:
        >>> config = ProbeClipConfig(clip=ClipConfig(), segments=2, augment="crop")
        >>> clips = ProbeClips(rows, config, seed=0)
        >>> pool = WorkerPool(clips, [[ProbeKey(0, 0), ProbeKey(0, 1)]], collate=collate_probe,
        ...                   workers=2, prefetch=2, pin_memory=False, persistent=False)
        >>> [batch.clips.shape for batch in pool]
        [torch.Size([2, 2, 1, 3, 16, 224, 224])]
    """

    def __init__(self, rows: Sequence[Row], config: ProbeClipConfig, *, seed: int) -> None:
        self._table = ClipTable(rows)
        self._config = config
        self._seed = seed

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, key: ProbeKey) -> ProbeSample:
        config = self._config
        place = self._table[key.row]
        try:
            with Video(place.media) as video:
                part = stretch(video.info, start_s=place.start_s, end_s=place.end_s)
                times = even_times(
                    config.clip, part, num_windows=config.segments, u=self._places(key)
                )
                clips = [
                    self._views(window, key, segment)
                    for segment, window in enumerate(_read_windows(video, times))
                ]
        except DecodeError as error:
            shape = (config.segments, config.views, 3, config.clip.num_frames, *config.clip.size)
            bad_file = BadFile(*key, 0, str(place.media), str(error))
            return ProbeSample(torch.zeros(shape, dtype=torch.uint8), key.row, bad_file)
        return ProbeSample(torch.stack(clips), key.row)

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


def collate_probe(samples: Sequence[ProbeSample]) -> ProbeBatch:
    """Stack samples into a batch."""
    return ProbeBatch(
        clips=torch.stack([sample.clips for sample in samples]),
        rows=tuple(sample.row for sample in samples),
        bad_files=tuple(sample.bad_file for sample in samples if sample.bad_file),
    )


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
