"""What a video file contains: how many frames, how long, how fast.

Headers are believed where they agree with themselves; otherwise the file's packets are counted,
which reads the file once without decoding it. An image is a video of one frame.
"""

import os
from array import array
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from vsalt.data.config import ReadLimits
from vsalt.data.container import MediaFile, decoder_options, open_container, packets_of
from vsalt.data.media import Media
from vsalt.data.picture_header import read_picture_header
from vsalt.errors import DecodeError

# These containers store no presentation times, and what the decoder makes up for them is out of
# order for B-frames: frames are counted from the beginning instead.
_UNTIMED_FORMATS = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo"})
_IMAGE_FORMATS = frozenset({"jpeg_pipe", "png_pipe"})
_MAX_COUNTED = 1 << 16


class _Timing(NamedTuple):
    num_frames: int
    duration_s: float
    fps: float


_IMAGE_TIMING = _Timing(1, 1 / 25, 25.0)
# What counting packets has found, by file, version and whether stamps were used.
_counted: dict[tuple[Media, tuple[int | str | None, ...], bool], _Timing] = {}


# Ticks in a second of a whole container's times.
_AV_TIME_BASE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """A video stream as a sampler sees it.

    Times are in seconds from the first displayed frame.

    Attributes:
        path: the file, as messages call it.
        num_frames: number of displayed frames.
        duration_s: from the first frame's start to the last frame's end.
        fps: frames per second; the mean where the rate varies.
        height: coded height in pixels, before any rotation.
        width: coded width in pixels, before any rotation.
        timed: False where the container has no presentation times, so that frame i is at i / fps.
        codec: name of the codec.
        container: name of the file's format.
        variable_rate: whether frames are shown for different times.
        is_image: whether the file is an image, of which there is one frame only.
        announced_s: length of the longest stream by the file's header; None if it does not tell.
    """

    path: str
    num_frames: int
    duration_s: float
    fps: float
    height: int
    width: int
    timed: bool = True
    codec: str = ""
    container: str = ""
    variable_rate: bool = False
    is_image: bool = False
    announced_s: float | None = None


def probe(media: Media | str | os.PathLike[str], *, limits: ReadLimits | None = None) -> VideoInfo:
    """Describe the best video stream of a file without decoding it.

    Args:
        media: a file, or a part of one.
        limits: what the file may cost; None is `ReadLimits()`.

    Raises:
        DecodeError: no regular file, no video stream, no frames, above the limits, or a container
            that cannot be read.
        DecodeTimeoutError: it took too long.
    """
    with MediaFile(media, limits or ReadLimits()) as file, open_container(file) as container:
        return describe(file, container)


def video_stream(file: MediaFile, container: InputContainer) -> VideoStream:
    """Return the best video stream, set to decode in one thread and within the limits."""
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise DecodeError(f"{file.name}: the file has no video stream")
    if stream.disposition & Disposition.attached_pic:
        raise DecodeError(f"{file.name}: the file has no video stream, only an attached picture")
    # Without a decoder there is no context, whatever its type says.
    if getattr(stream, "codec_context", None) is None:
        raise DecodeError(f"{file.name}: no decoder for the video stream")
    # Workers are the parallelism; threads inside each would compete with them.
    stream.codec_context.thread_count = 1
    options = decoder_options(file.limits)
    if container.format.name in _IMAGE_FORMATS:
        # There is no other frame to take instead of a half one, so any damage is an error.
        options["err_detect"] = "explode"
    stream.codec_context.options = options
    return stream


def describe(file: MediaFile, container: InputContainer) -> VideoInfo:
    """Describe the best video stream of an open container; see `probe`."""
    with file.decode_errors():
        stream = video_stream(file, container)
        height, width = _size(file, stream)
        check_size(file, height, width)
        is_image = container.format.name in _IMAGE_FORMATS
        timed = not is_image and container.format.name not in _UNTIMED_FORMATS
        timing = _IMAGE_TIMING if is_image else (_header_timing(stream) if timed else None)
        timing = timing or _packet_timing(file, timed)
        _check_timing(file, timing)
        return VideoInfo(
            path=file.name,
            num_frames=timing.num_frames,
            duration_s=timing.duration_s,
            fps=timing.fps,
            height=height,
            width=width,
            timed=timed,
            codec=stream.codec_context.codec.canonical_name,
            container=container.format.name,
            # Where the file's own rate explains its length, that rate is the answer.
            variable_rate=timed
            and timing.num_frames > 1
            and timing.fps != float(stream.base_rate or stream.average_rate or timing.fps),
            is_image=is_image,
            announced_s=container.duration / _AV_TIME_BASE if container.duration else None,
        )


def check_size(file: MediaFile, height: int, width: int) -> None:
    """Refuse pictures above the limit.

    Raises:
        DecodeError: they have too many pixels.
    """
    if height * width > file.limits.max_pixels:
        raise DecodeError(
            f"{file.name}: {width}x{height} pixels, above the limit of "
            f"{file.limits.max_pixels} pixels (setting limits.max-pixels)"
        )


def _size(file: MediaFile, stream: VideoStream) -> tuple[int, int]:
    height, width = stream.codec_context.height, stream.codec_context.width
    if not height or not width:
        # Decoders do not tell the size of what they refuse.
        header = read_picture_header(file.read_at)
        height, width = header.height, header.width
    if not height or not width:
        raise DecodeError(
            f"{file.name}: the size of its pictures is unknown; they are damaged or above the "
            f"limit of {file.limits.max_pixels} pixels (setting limits.max-pixels)"
        )
    return height, width


def _check_timing(file: MediaFile, timing: _Timing) -> None:
    limits = file.limits
    if not (timing.num_frames > 0 and timing.duration_s > 0 and timing.fps > 0):
        raise DecodeError(f"{file.name}: its times make no sense: {timing}")
    if timing.duration_s > limits.max_duration_s:
        raise DecodeError(
            f"{file.name}: {timing.duration_s:.10g} s long, above the limit of "
            f"{limits.max_duration_s:.10g} s (setting limits.max-duration-s)"
        )
    if timing.fps > limits.max_fps:
        raise DecodeError(
            f"{file.name}: {timing.fps:.10g} frames per second, above the limit of "
            f"{limits.max_fps:.10g} (setting limits.max-fps)"
        )


def _header_timing(stream: VideoStream) -> _Timing | None:
    """Return the timing if frames / rate is the duration to within a frame."""
    rate = stream.base_rate
    if not (stream.frames and stream.duration and stream.time_base and rate):
        return None
    duration_s = float(stream.duration * stream.time_base)
    if abs(duration_s * float(rate) - stream.frames) > 1:
        return None
    return _Timing(stream.frames, duration_s, float(rate))


def _packet_timing(file: MediaFile, timed: bool) -> _Timing:
    key = (file.media, file.version, timed)
    if key not in _counted:
        timing = _count_packets(file, timed)
        if len(_counted) >= _MAX_COUNTED:
            del _counted[next(iter(_counted))]  # the oldest
        _counted[key] = timing
    return _counted[key]


def _count_packets(file: MediaFile, timed: bool) -> _Timing:
    """Return the timing of the stream that all packets together have."""
    num_packets = 0
    stamps, durations = array("q"), array("q")
    with open_container(file) as container:
        stream = video_stream(file, container)
        for packet in packets_of(container, stream):
            file.check()
            if packet.size and not packet.is_discard:
                num_packets += 1
                if packet.pts is not None:
                    stamps.append(packet.pts)
                    durations.append(packet.duration or 0)
        # The packets may have ended because the time was over.
        file.check()
        rate = float(stream.base_rate or stream.average_rate or 0)
        tick = float(stream.time_base or 0)
    if not num_packets:
        raise DecodeError(f"{file.name}: the video stream is empty")
    if not timed or len(stamps) < num_packets:
        if not rate:
            raise DecodeError(f"{file.name}: the file has neither times nor a frame rate")
        return _Timing(num_packets, num_packets / rate, rate)
    return _timing_from_times(np.asarray(stamps), np.asarray(durations), tick, rate)


def _timing_from_times(
    stamps: np.ndarray, durations: np.ndarray, tick: float, rate: float
) -> _Timing:
    shown = np.unique(stamps)
    num_frames = len(shown)
    span_s = (int(shown[-1]) - int(shown[0])) * tick
    last_s = float(durations[stamps == shown[-1]].max()) * tick
    if not last_s and num_frames > 1:
        last_s = span_s / (num_frames - 1)
    duration_s = span_s + (last_s or (1 / rate if rate else 1.0))
    steady = rate > 0 and abs(duration_s * rate - num_frames) <= 1
    return _Timing(num_frames, duration_s, rate if steady else num_frames / duration_s)
