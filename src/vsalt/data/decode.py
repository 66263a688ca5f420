"""Decodes the frames of a video that are on display at given times.

Time is in seconds from the first frame. The frame on display at time t is the last one whose
presentation time is at most t. Frame i of a constant-rate video is asked for by the middle of its
display, (i + 1/2) / fps, which no rounding of timestamps can move to a neighbour; on a video whose
rate varies the same rule, with the mean rate, means: by timestamp.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from jaxtyping import UInt8

from vsalt.data.closeable import Closeable
from vsalt.data.config import ReadLimits
from vsalt.data.container import MediaFile, open_container, packets_of
from vsalt.data.crop_box import CropBox
from vsalt.data.frame_sieve import SIEVED_CODECS, FrameSieve
from vsalt.data.media import Media
from vsalt.data.picture_header import read_picture_header
from vsalt.data.pictures import (
    Orientation,
    RgbConverter,
    exif_orientation,
    frame_orientation,
)
from vsalt.data.video_info import VideoInfo, check_size, describe, video_stream
from vsalt.errors import DecodeError, DecodeTimeoutError

ChooseBox: TypeAlias = Callable[[int, int], CropBox]
"""Chooses a region from the height and the width of the upright frames."""

FrameT = TypeVar("FrameT")

# Where decoding may begin, in seconds before the first wanted frame. The first is nearly always
# right; the others serve files whose index points past the wanted frame.
_SEEK_BACK_S = (0.0, 2.0, 10.0)
# Headers and audio may outlast the pictures by a little; then the last picture stays.
_HELD_FRAMES = 2


class Shown(NamedTuple):
    """A frame of a video.

    Attributes:
        time_s: when it appears.
        until_s: until when it can be asked for; the last frame of a video stays a little longer.
        picture: upright, in RGB, shape (H, W, 3).
    """

    time_s: float
    until_s: float
    picture: UInt8[np.ndarray, "H W 3"]


def read_frames(
    media: Media | str | os.PathLike[str],
    times_s: Sequence[float] | np.ndarray,
    *,
    limits: ReadLimits | None = None,
) -> UInt8[np.ndarray, "T H W 3"]:
    """Open a file and return the frames on display at the given times; see `Video.read`."""
    with Video(media, limits=limits) as video:
        return video.read(times_s)


class Video(Closeable):
    """An open video file; a context manager.

    Args:
        media: a file, or a part of one.
        limits: what the file may cost, from opening it to the end of the last read; None is
            `ReadLimits()`.

    Attributes:
        info: frames, duration, rate and size.
        tolerance_s: a frame counts as shown from so much before its time on.

    Raises:
        DecodeError: the file cannot be opened, has no frames, or is above the limits.
        DecodeTimeoutError: it took too long.
    """

    def __init__(
        self, media: Media | str | os.PathLike[str], *, limits: ReadLimits | None = None
    ) -> None:
        self._converter = RgbConverter()
        self._fresh = True
        self._file = MediaFile(media, limits or ReadLimits())
        # The container alone is opened anew when it cannot seek back.
        self._resources = ExitStack()
        try:
            self._container = self._open()
            self.info: VideoInfo = describe(self._file, self._container)
            self._orientation = self._image_orientation()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._resources.close()
        self._file.close()

    def read(
        self, times_s: Sequence[float] | np.ndarray, box: ChooseBox | None = None
    ) -> UInt8[np.ndarray, "T h w 3"]:
        """Return the frames on display at the given times, upright, in RGB.

        Decoding starts at the key frame before the first time and stops after the last; what lies
        between wanted frames and is needed by none of them is left out where the codec tells
        (`FrameSieve`); only the frames that are returned are converted to RGB. Before the first
        frame the first one is on display; after the last one it stays for up to two frames more.

        Args:
            times_s: T ascending times in seconds from the first frame, shape (T,).
            box: is called once, with height and width of the upright frames, and chooses the
                region that is converted and returned; None is the whole frame. The result equals
                slicing the whole frames.

        Returns:
            The frames, upright as the file asks, shape (T, h, w, 3).

        Raises:
            DecodeError: the file is damaged where it is needed, ends before the last time, or
                changes its size.
            DecodeTimeoutError: it took too long.
        """
        wanted = np.asarray(times_s, dtype=np.float64)
        if wanted.ndim != 1 or wanted.size == 0 or not np.all(np.diff(wanted) >= 0):
            raise ValueError(f"times_s must be ascending and not empty, not {times_s!r}")
        choose = cache(box) if box else None
        sieve = self._sieve(wanted)
        if sieve is not None:
            pixels = self._read_sieved(wanted, choose, sieve)
            if pixels is not None:
                return pixels
        with self._file.decode_errors():
            frames = self._pick(self._frames_from(float(wanted[0])), wanted)
            return self._to_rgb(frames, len(wanted), choose)

    def _sieve(self, wanted: np.ndarray) -> FrameSieve | None:
        """Return what leaves out frames between the wanted ones, where that is possible."""
        info = self.info
        if info.codec not in SIEVED_CODECS or not info.timed or info.variable_rate:
            return None
        sieve = FrameSieve(wanted, frame_s=1 / info.fps, tolerance_s=self.tolerance_s)
        return sieve if sieve.is_useful else None

    def _read_sieved(
        self, wanted: np.ndarray, choose: ChooseBox | None, sieve: FrameSieve
    ) -> UInt8[np.ndarray, "T h w 3"] | None:
        """Read without the frames that a sieve leaves out; None if it may have been wrong."""
        picked_s: list[float] = []

        def noted(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
            for frame in frames:
                picked_s.append(self._time_s(frame.pts or 0))
                yield frame

        try:
            with self._file.decode_errors():
                frames = self._pick(self._frames_from(float(wanted[0]), sieve), wanted)
                pixels = self._to_rgb(noted(frames), len(wanted), choose)
        except DecodeTimeoutError:
            raise
        except DecodeError:
            # The end of the pictures may have been left out.
            return None
        return pixels if sieve.confirms(picked_s) else None

    def read_all(self, first_s: float, last_s: float) -> Iterator["Shown"]:
        """Yield every frame that is on display from one time to another, in file order.

        Raises:
            DecodeError: one of them is damaged.
            DecodeTimeoutError: it took too long.
        """
        with self._file.decode_errors():
            before: tuple[float, VideoFrame] | None = None
            for time_s, frame in self._frames_from(first_s):
                if before is not None and time_s > first_s + self.tolerance_s:
                    yield self._shown(*before, until_s=time_s)
                    if time_s > last_s:
                        return
                before = time_s, frame
            if before is not None:
                yield self._shown(*before, until_s=self._held_until_s(*before))

    def _shown(self, time_s: float, frame: VideoFrame, *, until_s: float) -> "Shown":
        return Shown(time_s, until_s, self._to_rgb(iter([frame]), 1, None)[0])

    def frame_times(self, first_s: float = 0.0) -> Iterator[float]:
        """Decode every frame from a key frame at or before `first_s` on, and yield their times.

        Raises:
            DecodeError: the file is damaged.
        """
        with self._file.decode_errors():
            for time_s, frame in self._frames_from(first_s):
                self._check_frame(frame)
                yield time_s

    def _open(self) -> InputContainer:
        self._resources.close()
        self._container = self._resources.enter_context(open_container(self._file))
        self._stream = video_stream(self._file, self._container)
        # Stamps are rounded to ticks; where a tick is a whole frame (1/25 s) they are exact.
        tick = float(self._stream.time_base or 0)
        self.tolerance_s = min(tick / 2, 1e-3) + 1e-9
        self._fresh = True
        return self._container

    def _image_orientation(self) -> Orientation | None:
        """Return an image's orientation; a video's lies with its frames."""
        if not self.info.is_image:
            return None
        # Where the time is over, the file seems to end, too.
        with self._file.decode_errors():
            header = read_picture_header(self._file.read_at)
            if header.is_cut:
                raise DecodeError(f"{self._file.name}: the file ends before the picture does")
        return exif_orientation(header.orientation)

    def _frames_from(
        self, first_s: float, sieve: FrameSieve | None = None
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Return (time, frame) pairs from at or before `first_s` on."""
        for back_s in _SEEK_BACK_S:
            target_s = first_s - back_s
            if target_s < 1 / self.info.fps or not self.info.timed:
                break
            if not self._seek(target_s):
                break
            frames = self._decode(sieve)
            opening = next(frames, None)
            # Some files list key frames that later pictures reach past: decoding that begins there
            # is wrong for seconds, though few of its pictures but the first say so.
            sound = opening is not None and not opening[1].is_corrupt
            if opening is not None and sound and opening[0] <= first_s + self.tolerance_s:
                return itertools.chain([opening], frames)
        if not self._fresh:
            self._open()
        return self._decode(sieve)

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

    def _decode(self, sieve: FrameSieve | None) -> Iterator[tuple[float, VideoFrame]]:
        self._fresh = False
        for index, frame in enumerate(self._decoded(sieve)):
            if not self.info.timed:
                yield index / self.info.fps, frame
            elif frame.pts is not None:
                yield self._time_s(frame.pts), frame
            if self.info.is_image:
                # What follows are other images, such as a camera's preview.
                return

    def _time_s(self, pts: int) -> float:
        """Return the seconds from the first frame to a time of the stream."""
        return (pts - (self._stream.start_time or 0)) * float(self._stream.time_base or 0)

    def _decoded(self, sieve: FrameSieve | None) -> Iterator[VideoFrame]:
        decoder = self._stream.codec_context
        decoder.skip_frame = "DEFAULT"
        for packet in packets_of(self._container, self._stream):
            self._file.check()
            if sieve is not None:
                shown = packet.pts is not None and not packet.is_discard
                needed = not shown or sieve.needs(self._time_s(packet.pts or 0))
                decoder.skip_frame = "DEFAULT" if needed else "NONREF"
            for frame in packet.decode():
                # A stream can change its size on the way.
                check_size(self._file, frame.height, frame.width)
                yield frame
        # The packets may have ended because the time was over.
        self._file.check()

    def _pick(
        self, frames: Iterator[tuple[float, VideoFrame]], wanted: np.ndarray
    ) -> Iterator[VideoFrame]:
        """Yield the frame on display at each time."""

        def check_end(last: tuple[float, VideoFrame] | None) -> None:
            if last is None:
                raise DecodeError(f"{self._file.name}: no frame could be decoded")
            if wanted[-1] >= self._held_until_s(*last):
                raise DecodeError(
                    f"{self._file.name}: the pictures end at {self._end_s(*last):.3f} s, but "
                    f"{wanted[-1]:.3f} s was asked for and the header says "
                    f"{self.info.duration_s:.3f} s"
                )

        return pick_shown(frames, wanted, self.tolerance_s, check_end)

    def _end_s(self, time_s: float, last: VideoFrame) -> float:
        return time_s + max(_display_s(last), 1 / self.info.fps)

    def _held_until_s(self, time_s: float, last: VideoFrame) -> float:
        """Return until when the last frame can be asked for."""
        return self._end_s(time_s, last) + _HELD_FRAMES / self.info.fps

    def _to_rgb(
        self, frames: Iterator[VideoFrame], num_frames: int, choose: ChooseBox | None
    ) -> UInt8[np.ndarray, "T h w 3"]:
        first = next(frames)
        orientation = self._orientation or frame_orientation(first)
        height, width = orientation.upright_size(first.height, first.width)
        box = choose(height, width) if choose else CropBox(0, 0, height, width)
        assert 0 <= box.top <= height - box.height, f"{box} in {height} rows"
        assert 0 <= box.left <= width - box.width, f"{box} in {width} columns"
        pixels = np.empty((num_frames, box.height, box.width, 3), dtype=np.uint8)
        before: VideoFrame | None = None
        for index, frame in enumerate(itertools.chain([first], frames)):
            if frame is before:
                pixels[index] = pixels[index - 1]
                continue
            self._check_frame(frame)
            if (frame.height, frame.width) != (first.height, first.width):
                raise DecodeError(
                    f"{self._file.name}: its size changes from {first.width}x{first.height} to "
                    f"{frame.width}x{frame.height} pixels"
                )
            self._converter.write(frame, orientation, box, pixels[index])
            before = frame
        return pixels

    def _check_frame(self, frame: VideoFrame) -> None:
        if frame.is_corrupt:
            raise DecodeError(f"{self._file.name}: the frame at {frame.time} s is damaged")


def pick_shown(
    frames: Iterator[tuple[float, FrameT]],
    wanted: np.ndarray,
    tolerance_s: float,
    check_end: Callable[[tuple[float, FrameT] | None], None],
) -> Iterator[FrameT]:
    """Yield the frame on display at each time, and read no further than it takes to know it.

    Args:
        frames: (time, frame) in the order of display.
        wanted: ascending times in seconds, shape (T,).
        tolerance_s: a frame counts as shown from so much before its time on.
        check_end: is called with the last (time, frame), or None, if the frames end before all
            is known; unless it raises, the last frame stays.
    """
    picked = 0
    shown: tuple[float, FrameT] | None = None
    for time_s, frame in frames:
        # `shown` stays on display until `time_s`.
        while shown is not None and wanted[picked] + tolerance_s < time_s:
            yield shown[1]
            picked += 1
            if picked == len(wanted):
                return
        shown = time_s, frame
    check_end(shown)
    assert shown is not None
    yield from itertools.repeat(shown[1], len(wanted) - picked)


def _display_s(frame: VideoFrame) -> float:
    return float((frame.duration or 0) * (frame.time_base or 0))
