"""What a video file contains: how many frames, how long, how fast.

Headers are believed where they agree with themselves; otherwise the file's packets are counted,
which reads the file once without decoding it.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vsalt.data.media import Media
from vsalt.errors import DecodeError

# These containers store no presentation times, and what the decoder makes up for them is out of
# order for B-frames: frames are counted from the beginning instead.
_UNTIMED_FORMATS = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo"})


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """A video stream as a sampler sees it.

    Times are in seconds from the first displayed frame.

    Attributes:
        path: the file.
        num_frames: number of displayed frames.
        duration_s: from the first frame's start to the last frame's end.
        fps: frames per second; the mean where the rate varies.
        height: coded height in pixels, before any rotation.
        width: coded width in pixels, before any rotation.
        timed: False where the container has no presentation times, so that frame i is at i / fps.
    """

    path: str
    num_frames: int
    duration_s: float
    fps: float
    height: int
    width: int
    timed: bool = True


def probe(media: Media | str | os.PathLike[str]) -> VideoInfo:
    """Describe the best video stream of a file without decoding it.

    Raises:
        DecodeError: no regular file, no video stream, no frames, or a container that cannot be
            read.
    """
    name = media.path if isinstance(media, Media) else os.fspath(media)
    with open_container(name) as container:
        return describe(name, container)


@contextmanager
def decode_errors(path: str) -> Iterator[None]:
    """Turn whatever the decoding library raises in this block into a `DecodeError`."""
    try:
        yield
    except DecodeError:
        raise
    # A damaged file can also surface as ValueError (an impossible size, a bad string).
    except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
        raise DecodeError(f"{path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__


@contextmanager
def open_container(path: str) -> Iterator[InputContainer]:
    """Open a regular file for reading; pipes, devices and addresses are refused.

    Raises:
        DecodeError: the file is missing, not a regular file, or not a container.
    """
    with decode_errors(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DecodeError(f"{path}: not a regular file")
        container = av.open(path, metadata_errors="ignore")
    try:
        yield container
    finally:
        container.close()


def video_stream(path: str, container: InputContainer) -> VideoStream:
    """Return the best video stream, set to decode in one thread."""
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise DecodeError(f"{path}: the file has no video stream")
    # Workers are the parallelism; threads inside each would compete with them.
    stream.codec_context.thread_count = 1
    return stream


def describe(path: str, container: InputContainer) -> VideoInfo:
    """Describe the best video stream of an open container; see `probe`."""
    with decode_errors(path):
        stream = video_stream(path, container)
        timed = container.format.name not in _UNTIMED_FORMATS
        timing = (_header_timing(stream) if timed else None) or _packet_timing(
            path, timed, *_version(path)
        )
        num_frames, duration_s, fps = timing
        return VideoInfo(
            path=path,
            num_frames=num_frames,
            duration_s=duration_s,
            fps=fps,
            height=stream.codec_context.height,
            width=stream.codec_context.width,
            timed=timed,
        )


def _header_timing(stream: VideoStream) -> tuple[int, float, float] | None:
    """Return (frames, seconds, rate) if frames / rate is the duration to within a frame."""
    rate = stream.base_rate
    if not (stream.frames and stream.duration and stream.time_base and rate):
        return None
    duration_s = float(stream.duration * stream.time_base)
    if abs(duration_s * float(rate) - stream.frames) > 1:
        return None
    return stream.frames, duration_s, float(rate)


def _version(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=65536)
def _packet_timing(path: str, timed: bool, size: int, modified_ns: int) -> tuple[int, float, float]:
    """Return (frames, seconds, rate) from the packets; size and time stand for the content."""
    del size, modified_ns
    with open_container(path) as container:
        stream = video_stream(path, container)
        packets = [
            (packet.pts, packet.duration or 0)
            for packet in container.demux(stream)
            if packet.size and not packet.is_discard
        ]
        rate = float(stream.base_rate or stream.average_rate or 0)
        tick = float(stream.time_base or 0)
    if not packets:
        raise DecodeError(f"{path}: the video stream is empty")
    shown = sorted((pts, duration) for pts, duration in packets if pts is not None)
    if not timed or len(shown) < len(packets):
        if not rate:
            raise DecodeError(f"{path}: the file has neither times nor a frame rate")
        return len(packets), len(packets) / rate, rate
    return _timing_from_times(shown, tick, rate)


def _timing_from_times(
    shown: list[tuple[int, int]], tick: float, rate: float
) -> tuple[int, float, float]:
    num_frames = len({pts for pts, _ in shown})
    (first, _), (last, last_duration) = shown[0], shown[-1]
    last_s = last_duration * tick
    if not last_s and num_frames > 1:
        last_s = (last - first) * tick / (num_frames - 1)
    duration_s = (last - first) * tick + (last_s or (1 / rate if rate else 1.0))
    steady = rate > 0 and abs(duration_s * rate - num_frames) <= 1
    return num_frames, duration_s, rate if steady else num_frames / duration_s
