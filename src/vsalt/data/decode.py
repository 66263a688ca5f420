"""Decodes the frames of a video that are on display at given times.

Time is in seconds from the first frame. The frame on display at time t is the last one whose
presentation time is at most t. Frame i of a constant-rate video is asked for by the middle of its
display, (i + 1/2) / fps, which no rounding of timestamps can move to a neighbour; on a video whose
rate varies the same rule, with the mean rate, means: by timestamp.
"""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from vsalt.data.media import Media
from vsalt.data.video_info import (
    VideoInfo,
    decode_errors,
    describe,
    open_container,
    video_stream,
)
from vsalt.errors import DecodeError

# Where decoding may begin, in seconds before the first wanted frame. The first is nearly always
# right; the others serve files whose index points past the wanted frame.
_SEEK_BACK_S = (0.0, 2.0, 10.0)
# Headers and audio may outlast the pictures by a little; then the last picture stays.
_HELD_FRAMES = 2


def read_frames(
    path: str | os.PathLike[str], times_s: Sequence[float] | np.ndarray
) -> UInt8[np.ndarray, "T H W 3"]:
    """Open a file and return the frames on display at the given times; see `Video.read`."""
    with Video(path) as video:
        return video.read(times_s)


class Video:
    """An open video file; a context manager.

    Attributes:
        info: frames, duration, rate and size.

    Raises:
        DecodeError: the file cannot be opened or has no frames.
    """

    def __init__(self, media: Media | str | os.PathLike[str]) -> None:
        # Parts of files are not read yet.
        self._path = media.path if isinstance(media, Media) else os.fspath(media)
        self._resources = ExitStack()
        self._reformatter = VideoReformatter()
        self._fresh = True
        self._container = self._open()
        try:
            self.info: VideoInfo = describe(self._path, self._container)
        except DecodeError:
            self.close()
            raise

    def __enter__(self) -> "Video":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._resources.close()

    def read(self, times_s: Sequence[float] | np.ndarray) -> UInt8[np.ndarray, "T H W 3"]:
        """Return the frames on display at the given times, upright, in RGB.

        Decoding starts at the key frame before the first time and stops after the last; only the
        frames that are returned are converted to RGB. Before the first frame the first one is on
        display; after the last one it stays for up to two frames more.

        Args:
            times_s: T ascending times in seconds from the first frame, shape (T,).

        Returns:
            The frames, rotated as the file asks, shape (T, H, W, 3).

        Raises:
            DecodeError: the file is damaged where it is needed, or ends before the last time.
        """
        wanted = np.asarray(times_s, dtype=np.float64)
        if wanted.ndim != 1 or wanted.size == 0 or not np.all(np.diff(wanted) >= 0):
            raise ValueError(f"times_s must be ascending and not empty, not {times_s!r}")
        with decode_errors(self._path):
            frames = self._pick(self._frames_from(float(wanted[0])), wanted)
            return np.stack(self._to_rgb(frames))

    def _open(self) -> InputContainer:
        self._resources.close()
        self._container = self._resources.enter_context(open_container(self._path))
        self._stream = video_stream(self._path, self._container)
        # Stamps are rounded to ticks; where a tick is a whole frame (1/25 s) they are exact.
        tick = float(self._stream.time_base or 0)
        self._tolerance_s = min(tick / 2, 1e-3) + 1e-9
        self._fresh = True
        return self._container

    def _frames_from(self, first_s: float) -> Iterator[tuple[float, VideoFrame]]:
        """Return (time, frame) pairs from at or before `first_s` on."""
        for back_s in _SEEK_BACK_S:
            target_s = first_s - back_s
            if target_s < 1 / self.info.fps or not self.info.timed:
                break
            if not self._seek(target_s):
                break
            frames = self._decode()
            opening = next(frames, None)
            if opening is not None and opening[0] <= first_s + self._tolerance_s:
                return itertools.chain([opening], frames)
        if not self._fresh:
            self._open()
        return self._decode()

    def _seek(self, target_s: float) -> bool:
        tick = self._stream.time_base
        if tick is None:
            return False
        offset = (self._stream.start_time or 0) + math.floor(target_s / float(tick))
        self._fresh = False
        try:
            self._container.seek(offset, stream=self._stream, backward=True)
        except OSError:
            # Some containers cannot seek; reading from the beginning finds the same frames.
            return False
        return True

    def _decode(self) -> Iterator[tuple[float, VideoFrame]]:
        self._fresh = False
        start = self._stream.start_time or 0
        tick = float(self._stream.time_base or 0)
        for index, frame in enumerate(self._container.decode(self._stream)):
            if not self.info.timed:
                yield index / self.info.fps, frame
            elif frame.pts is not None:
                yield (frame.pts - start) * tick, frame

    def _pick(
        self, frames: Iterator[tuple[float, VideoFrame]], wanted: np.ndarray
    ) -> list[VideoFrame]:
        picked: list[VideoFrame] = []
        shown: VideoFrame | None = None
        shown_s = 0.0
        for time_s, frame in frames:
            # `shown` stays on display until `time_s`.
            while shown is not None and len(picked) < len(wanted):
                if wanted[len(picked)] + self._tolerance_s >= time_s:
                    break
                picked.append(shown)
            if len(picked) == len(wanted):
                return picked
            shown, shown_s = frame, time_s
        if shown is None:
            raise DecodeError(f"{self._path}: no frame could be decoded")
        end_s = shown_s + max(_display_s(shown), 1 / self.info.fps)
        if wanted[-1] >= end_s + _HELD_FRAMES / self.info.fps:
            raise DecodeError(
                f"{self._path}: the pictures end at {end_s:.3f} s, but {wanted[-1]:.3f} s was "
                f"asked for and the header says {self.info.duration_s:.3f} s"
            )
        return picked + [shown] * (len(wanted) - len(picked))

    def _to_rgb(self, frames: list[VideoFrame]) -> list[np.ndarray]:
        pictures: list[np.ndarray] = []
        for index, frame in enumerate(frames):
            if index and frame is frames[index - 1]:
                pictures.append(pictures[-1])
                continue
            if frame.is_corrupt:
                raise DecodeError(f"{self._path}: the frame at {frame.time} s is damaged")
            # One thread: a frame is too small to be worth waking others.
            rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
            # The display matrix's angle is counter-clockwise, as numpy's is.
            pictures.append(np.rot90(rgb.to_ndarray(), round(frame.rotation / 90) % 4))
        return pictures


def _display_s(frame: VideoFrame) -> float:
    return float((frame.duration or 0) * (frame.time_base or 0))
