"""Re-encodes one video or image so that training reads it fast: small, upright, many key frames.

A video becomes an mp4 of H.264 pictures. Every picture keeps its presentation time, so that
sampling by frame or by second finds the same ones before and after; sound is left out. What the
file says of its colours is kept, so that they are read alike.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import IO, TYPE_CHECKING, TypeAlias

import av
import numpy as np
from av.codec.context import Flags as CodecFlags
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from vsalt.data.config import ReadLimits
from vsalt.data.container import MediaFile, open_container, packets_of
from vsalt.data.decode import Video
from vsalt.data.media import Media
from vsalt.data.pictures import UPRIGHT, Orientation, frame_orientation
from vsalt.data.quiet_file import QuietFile
from vsalt.data.video_info import VideoInfo, check_size, describe, video_stream
from vsalt.errors import DecodeError

if TYPE_CHECKING:
    VideoPacket: TypeAlias = Packet[VideoStream]
else:
    # Generic in its stubs only.
    VideoPacket = Packet

# Shrinking widens the kernel, so that this averages over source pixels.
_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# With its look-ahead the encoder's output may depend on where its buffers happen to lie. Key
# frames so near to each other leave it little to gain.
_X264_PARAMS = "scenecut=0:open-gop=0:rc-lookahead=0:sync-lookahead=0:mbtree=0:weightp=0"
# As many pictures may be missing at the end as the reader holds its last one for.
_MISSING_FRAMES = 2
# The best that JPEG's usual scale of quantisers has.
_JPEG_QSCALE = 2


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """What prepared files look like.

    Attributes:
        short_side: height or width in pixels, whichever is less; smaller pictures do not grow.
        keyframe_every: frames from one key frame to the next.
        crf: constant rate factor of x264; less is better and larger.
        preset: x264's preset, its trade of time against size.
    """

    short_side: int = 256
    keyframe_every: int = 8
    crf: int = 20
    preset: str = "fast"


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What re-encoding did.

    Attributes:
        num_frames: pictures written.
        duration_s: length in seconds.
        size_before: (height, width) in pixels, upright, as stored.
        size: (height, width) in pixels of what was written.
        note: what a user should know though it worked; empty if nothing.
        kept: whether nothing was written, because the source is good as it is.
    """

    num_frames: int
    duration_s: float
    size_before: tuple[int, int]
    size: tuple[int, int]
    note: str = ""
    kept: bool = False


def fit(
    height: int, width: int, *, short_side: int, aspect: Fraction = Fraction(1)
) -> tuple[int, int]:
    """Return the even (height, width) that a picture is scaled to.

    Args:
        height: in pixels, as stored.
        width: in pixels, as stored.
        short_side: the shorter side is brought to this. No side grows, except from 1 pixel to 2.
        aspect: width over height of one stored pixel; those of the result are square.
    """
    wide = width * float(aspect)
    zoom = min(1.0, 1 / float(aspect), short_side / min(height, wide))
    return _even(height * zoom, height), _even(wide * zoom, width)


def _even(side: float, most: int) -> int:
    return max(2, min(2 * round(side / 2), most - most % 2))


def reencode_video(
    media: Media, target: IO[bytes], config: EncodeConfig, *, limits: ReadLimits
) -> Encoded:
    """Write a video as mp4.

    Args:
        media: the source.
        target: where to write; it must be readable, too, to move the index to the beginning.
        config: what the result looks like.
        limits: what the source may cost; `timeout_s` is for all of it.

    Raises:
        DecodeError: the source is damaged or ends early; `target` is incomplete then.
        DecodeTimeoutError: it took too long.
        OSError: `target` cannot be written.
    """
    with MediaFile(media, limits) as file, open_container(file) as source:
        info = describe(file, source)
        stream = video_stream(file, source)
        frames = _timed_frames(info, file, source, stream)
        first = next(frames, None)
        if first is None:
            raise DecodeError(f"{file.name}: no frame could be decoded")
        writer = _VideoWriter(target, info, first[1], _aspect(stream), config)
        with closing(writer):
            writer.write(chain([first], frames))
            return writer.finish()


def _timed_frames(
    info: VideoInfo, file: MediaFile, source: InputContainer, stream: VideoStream
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (ticks from the beginning, frame); ticks ascend strictly."""
    start = stream.start_time or 0
    before = -1
    for index, frame in enumerate(_decoded(file, source, stream)):
        ticks = index if not info.timed else None
        if info.timed and frame.pts is not None:
            ticks = frame.pts - start
        # A frame without a time of its own is never on display.
        if ticks is not None and ticks > before:
            before = ticks
            yield ticks, frame


def _decoded(file: MediaFile, source: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    size = None
    with file.decode_errors():
        for packet in packets_of(source, stream):
            file.check()
            for frame in packet.decode():
                check_size(file, frame.height, frame.width)
                if frame.is_corrupt:
                    raise DecodeError(f"{file.name}: the frame at {frame.time} s is damaged")
                size = size or (frame.height, frame.width)
                if (frame.height, frame.width) != size:
                    raise DecodeError(f"{file.name}: its pictures change their size")
                yield frame
        # The packets may have ended because the time was over.
        file.check()


def _aspect(stream: VideoStream) -> Fraction:
    """Return width over height of a pixel, as the container or else the codec says."""
    given = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    aspect = Fraction(given) if given else Fraction(1)
    # Beyond this it is a mistake of the file.
    return aspect if Fraction(1, 8) <= aspect <= 8 else Fraction(1)


class _VideoWriter:
    """Scales frames and writes them to an mp4 file, each with its own time."""

    def __init__(
        self,
        target: IO[bytes],
        info: VideoInfo,
        first: VideoFrame,
        aspect: Fraction,
        config: EncodeConfig,
    ) -> None:
        self._info = info
        self._orientation = frame_orientation(first)
        self._scaled = fit(first.height, first.width, short_side=config.short_side, aspect=aspect)
        self._range = ColorRange(first.color_range or ColorRange.MPEG)
        self._reformatter = VideoReformatter()
        self._before = self._orientation.upright_size(first.height, first.width)
        self._size = self._orientation.upright_size(*self._scaled)
        rate = Fraction(info.fps).limit_denominator(100_000)
        self._tick = (first.time_base or 1 / rate) if info.timed else 1 / rate
        self._target = QuietFile(target)
        self._output: OutputContainer = av.open(
            self._target,
            "w",
            format="mp4",
            options={"movflags": "+faststart", "fflags": "+bitexact"},
        )
        self._stream = self._add_stream(first, rate, config)
        self._held: VideoPacket | None = None
        self._num_frames = 0
        self._last_ticks = 0

    def _add_stream(self, first: VideoFrame, rate: Fraction, config: EncodeConfig) -> VideoStream:
        options = {
            "preset": config.preset,
            "crf": str(config.crf),
            "g": str(config.keyframe_every),
            "bf": "0",
            "x264-params": _X264_PARAMS,
        }
        stream = self._output.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = self._size
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.time_base = self._tick
        # One thread gives the same bytes every time; files are the parallelism.
        codec.thread_count = 1
        codec.flags |= CodecFlags.bitexact
        codec.color_range = first.color_range
        codec.colorspace = first.colorspace
        codec.color_primaries = first.color_primaries
        codec.color_trc = first.color_trc
        return stream

    def write(self, frames: Iterable[tuple[int, VideoFrame]]) -> None:
        """Append frames; their ticks ascend."""
        for ticks, frame in frames:
            # What is shown first is on display from the beginning.
            picture = self._picture(frame, ticks if self._num_frames else 0)
            self._mux(self._stream.encode(picture))
            self._num_frames += 1
            self._last_ticks = ticks

    def _picture(self, frame: VideoFrame, ticks: int) -> VideoFrame:
        height, width = self._scaled
        scaled = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="yuv420p",
            src_color_range=frame.color_range or self._range,
            dst_color_range=self._range,
            interpolation=_SCALING,
            threads=1,
        )
        picture = scaled if self._orientation == UPRIGHT else _upright(scaled, self._orientation)
        picture.pts, picture.time_base = ticks, self._tick
        # The encoder decides which pictures are key frames, not the source.
        picture.pict_type = PictureType.NONE
        return picture

    def _mux(self, packets: Iterable[VideoPacket]) -> None:
        """Write packets one behind, as a frame lasts until the next one's time."""
        for packet in packets:
            if self._held is not None:
                assert packet.pts is not None
                assert self._held.pts is not None
                self._held.duration = packet.pts - self._held.pts
                self._output.mux(self._held)
                self._target.check()
            self._held = packet

    def finish(self) -> Encoded:
        """Write what is left and close the file.

        Raises:
            DecodeError: the pictures ended long before what the header says.
        """
        self._mux(self._stream.encode(None))
        last = self._held
        assert last is not None
        assert last.pts is not None
        assert last.time_base is not None
        end_s = float((self._last_ticks + 1) * self._tick)
        missing_s = self._info.duration_s - end_s
        if missing_s > (_MISSING_FRAMES + 1) / self._info.fps and self._ends_early():
            raise DecodeError(
                f"{self._info.path}: the pictures end at {end_s:.3f} s, but the header says "
                f"{self._info.duration_s:.3f} s"
            )
        last.duration = max(1, round(self._info.duration_s / float(last.time_base)) - last.pts)
        self._output.mux(last)
        self.close()
        return Encoded(
            num_frames=self._num_frames,
            duration_s=self._info.duration_s,
            size_before=self._before,
            size=self._size,
            note=self._note(),
        )

    def close(self) -> None:
        """Close the file, finished or not."""
        try:
            self._output.close()
        finally:
            self._target.check()

    def _ends_early(self) -> bool:
        # The last picture of a variable rate may last as long as it likes.
        return self._num_frames < self._info.num_frames - _MISSING_FRAMES

    def _note(self) -> str:
        if self._num_frames == self._info.num_frames:
            return ""
        return f"{self._info.num_frames} frames were announced, {self._num_frames} are shown"


def _upright(frame: VideoFrame, orientation: Orientation) -> VideoFrame:
    """Return a yuv420p picture of even size upright."""
    height, width = frame.height, frame.width
    flat = frame.to_ndarray()
    planes = [flat[:height], *flat[height:].reshape(2, height // 2, width // 2)]
    _, upright_width = orientation.upright_size(height, width)
    turned = []
    for plane in planes:
        side = plane.T if orientation.transposed else plane
        side = side[:: -1 if orientation.flip_rows else 1, :: -1 if orientation.flip_columns else 1]
        turned.append(side.reshape(-1))
    # The colours of an odd number of rows end in the middle of a row of this picture.
    flat = np.concatenate(turned).reshape(-1, upright_width)
    upright = VideoFrame.from_ndarray(flat, format="yuv420p")
    upright.color_range, upright.colorspace = frame.color_range, frame.colorspace
    return upright


def shrink_image(
    media: Media, target: IO[bytes], suffix: str, config: EncodeConfig, *, limits: ReadLimits
) -> Encoded:
    """Write an image upright and smaller, in the kind of file that it was: PNG or JPEG.

    Args:
        media: the source.
        target: where to write.
        suffix: ".png", or else it becomes a JPEG.
        config: only the short side is used.
        limits: what the source may cost.

    Returns:
        What was done; an image that is small enough is kept.

    Raises:
        DecodeError: the image is damaged.
        OSError: `target` cannot be written.
    """
    with Video(media, limits=limits) as image:
        pixels = image.read(np.zeros(1))[0]
    height, width = pixels.shape[:2]
    if min(height, width) <= config.short_side:
        same = (height, width)
        return Encoded(num_frames=1, duration_s=0.0, size_before=same, size=same, kept=True)
    size = fit(height, width, short_side=config.short_side)
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    name, pixel_format = ("png", "rgb24") if suffix == ".png" else ("mjpeg", "yuvj444p")
    scaled = VideoReformatter().reformat(
        frame,
        width=size[1],
        height=size[0],
        format=pixel_format,
        interpolation=_SCALING,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    target.write(_image_bytes(scaled, name))
    return Encoded(num_frames=1, duration_s=0.0, size_before=(height, width), size=size)


def _image_bytes(frame: VideoFrame, codec_name: str) -> bytes:
    codec = VideoCodecContext.create(codec_name, "w")
    assert isinstance(codec, VideoCodecContext)
    codec.height, codec.width = frame.height, frame.width
    codec.pix_fmt = frame.format.name
    codec.time_base = Fraction(1)
    codec.thread_count = 1
    codec.color_range = ColorRange.JPEG
    codec.options = {"qmin": str(_JPEG_QSCALE), "qmax": str(_JPEG_QSCALE)}
    frame.pts, frame.time_base = 0, Fraction(1)
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])
