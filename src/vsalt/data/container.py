"""Opens media files safely: regular files or URLs, by their bytes alone, until a deadline.

The decoding library gets a file object without a name, and may open nothing else. So no name can
be taken for a pattern of names, an address or a protocol, and no file can send it to other files.
What lies behind a URL is read by `vsalt.data.remote`, never by the decoding library.
"""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from vsalt.data.closeable import Closeable
from vsalt.data.config import ReadLimits
from vsalt.data.media import Media
from vsalt.data.picture_header import image_format
from vsalt.data.remote import RemoteFile, describe
from vsalt.data.urls import is_url
from vsalt.errors import DecodeError, DecodeTimeoutError

# As FFmpeg calls its readers. Playlists (hls, concat, dash), patterns of names (image2), addresses
# (rtsp, sdp) and readers of devices are left out.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska,webm",
    "avi",
    "gif",
    "mpegts",
    "mpeg",
    "flv",
    "ogg",
    "asf",
    "mpegvideo",
    "h264",
    "hevc",
    "m4v",
    "jpeg_pipe",
    "png_pipe",
)
# What the decoding library raises; a damaged file can also surface as ValueError (an impossible
# size, a bad string) or as arithmetic on its numbers.
# IndexError: a packet of a stream that the header does not list.
_LIBRARY_ERRORS = (av.FFmpegError, OSError, ValueError, IndexError, ArithmeticError, MemoryError)
# What the files of ISO 14496-12 (mp4, mov) begin with, after four bytes.
_ISO_MARK = b"ftyp"
# Decoders count the pixels of whole blocks, which may be a little more than those of the picture.
_BLOCK_PIXELS = 1 << 18


class MediaFile(Closeable):
    """A regular file or one behind a URL, or a part, opened for reading; a context manager.

    Attributes:
        media: the file, or the part of it.
        name: what messages call it.
        limits: what reading it may cost; the time counts from here on.
        size: number of bytes.
        version: changes when another file takes this one's place, or its content changes.

    Raises:
        DecodeError: the file is missing, not a regular file, empty, or shorter than its part.
        DecodeTimeoutError: the server of a URL does not answer, or not as it should.
    """

    def __init__(self, media: Media | str | os.PathLike[str], limits: ReadLimits) -> None:
        media = media if isinstance(media, Media) else Media(os.fspath(media))
        self.media = media
        self.name = str(media)
        self.limits = limits
        self._end = time.monotonic() + limits.timeout_s
        # Why nothing is read any more: the time is over, or disk or server have failed.
        self._time_over = False
        self._failure: DecodeError | None = None
        self._offset = media.offset
        self._descriptor = -1
        self._remote: RemoteFile | None = None
        self.version: tuple[int | str | None, ...]
        if is_url(media.path):
            self._open_remote(media)
        else:
            self._open_local(media)

    def _open_local(self, media: Media) -> None:
        try:
            # To open a device can already have effects (a tape rewinds, a watchdog starts). Another
            # file may take this one's place meanwhile, so what has been opened is looked at, too.
            self._check_regular(os.stat(media.path))
            self._descriptor = os.open(
                # Opening a pipe would wait for its writer.
                media.path,
                os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC,
            )
        except (OSError, ValueError) as error:
            raise DecodeError(f"{self.name}: {_reason(error)}") from error
        try:
            status = os.fstat(self._descriptor)
            self._check_regular(status)
            self.size = self._checked_size(media, status.st_size)
        except DecodeError:
            self.close()
            raise
        self.version = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def _open_remote(self, media: Media) -> None:
        if media.size is None:
            info = describe(media.path, remaining_s=self.remaining_s())
            self.size = self._checked_size(media, info.size)
            self.version = (media.path, *info)
        else:
            # The index says where the part lies; the shard has been asked for its size before.
            self.size = self._checked_size(media, media.offset + media.size)
            self.version = (*media,)
        self._remote = RemoteFile(media.path, media.offset, self.size)

    def close(self) -> None:
        """Close the file; more than once is allowed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remaining_s(self) -> float:
        """Return the seconds until the deadline; negative when it is over."""
        return self._end - time.monotonic()

    def read_at(self, position: int, count: int) -> bytes:
        """Return up to `count` bytes from `position` on; none after a failure or the deadline.

        A failure is not raised here, in the middle of the decoding library, but by `check`.
        """
        self._time_over = self._time_over or self.remaining_s() < 0
        count = min(count, self.size - position)
        if self._time_over or self._failure or count <= 0:
            return b""
        try:
            if self._remote is not None:
                return self._remote.read_at(position, count, remaining_s=self.remaining_s())
            return os.pread(self._descriptor, count, self._offset + position)
        except OSError as error:
            self._failure = DecodeError(f"{self.name}: {_reason(error)}")
        except DecodeError as error:
            self._failure = error
        return b""

    def check(self) -> None:
        """Raise what has ended the reading; call this for every packet.

        Raises:
            DecodeTimeoutError: the time is over.
            DecodeError: the disk or the server has failed.
        """
        if self._time_over or self.remaining_s() < 0:
            raise DecodeTimeoutError(
                f"{self.name}: reading took longer than {self.limits.timeout_s:g} s "
                "(setting limits.timeout-s)"
            )
        if self._failure:
            raise self._failure

    @contextmanager
    def decode_errors(self) -> Iterator[None]:
        """Turn whatever the decoding library raises in this block into a `DecodeError`."""
        try:
            yield
        except (DecodeError, *_LIBRARY_ERRORS) as error:
            # A file that seemed to end because the time was over looks damaged.
            self.check()
            if isinstance(error, DecodeError):
                raise
            raise DecodeError(f"{self.name}: {_reason(error)}") from error
        if self._time_over or self._failure:
            self.check()

    def _check_regular(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise DecodeError(f"{self.name}: not a regular file")

    def _checked_size(self, media: Media, file_size: int) -> int:
        available = file_size - media.offset
        size = available if media.size is None else media.size
        if media.offset < 0 or size < 0 or size > available:
            raise DecodeError(f"{self.name}: the file ends at byte {file_size}")
        if size == 0:
            raise DecodeError(f"{self.name}: the file is empty")
        return size


@contextmanager
def open_container(file: MediaFile) -> Iterator[InputContainer]:
    """Open the container that a file holds.

    Raises:
        DecodeError: the file is not a container, or not one that is read.
        DecodeTimeoutError: the time is over.
    """
    with file.decode_errors():
        file.check()
        container = _open(file)
    try:
        yield container
    finally:
        container.close()


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator["Packet[VideoStream]"]:
    """Yield the packets of a stream.

    The library's own iterator must be closed: one that is dropped before its end never frees its
    packet, a hundred bytes or two for every clip, and pins the memory around it.
    """
    packets: Any = container.demux(stream)
    with closing(packets):
        yield from packets


def decoder_options(limits: ReadLimits) -> dict[str, str]:
    """Return the options that keep a decoder from pictures well above the limit."""
    most = limits.max_pixels + limits.max_pixels // 8 + _BLOCK_PIXELS
    return {"max_pixels": str(most)}


def _open(file: MediaFile) -> InputContainer:
    options = {
        "format_whitelist": ",".join(_CONTAINERS),
        # No protocol has this name: what the file refers to is not opened.
        "protocol_whitelist": "none",
        # Opening decodes until it knows the streams, by default in threads of its own.
        "threads": "1",
        **decoder_options(file.limits),
    }
    if file.read_at(4, len(_ISO_MARK)) == _ISO_MARK:
        # The header of these files has all that is asked for, so no picture need be decoded and
        # few packets read to find it out: four fifths of the time of opening.
        options |= {"skip_frame": "all", "analyzeduration": "100000"}
    # By content it would guess from all of the file, and take a photo with an appended preview for
    # something else.
    kind = image_format(file.read_at)
    timeout_s: Any = max(file.remaining_s(), 0.0)
    try:
        return av.open(
            _ByteStream(file),
            "r",
            format=f"{kind}_pipe" if kind else None,
            options=options,
            metadata_errors="ignore",
            timeout=timeout_s,
        )
    except av.ArgumentError as error:
        raise DecodeError(
            f"{file.name}: not one of the containers that are read "
            f"({', '.join(name.split(',')[0] for name in _CONTAINERS)})"
        ) from error


class _ByteStream:
    """A position in a `MediaFile`, as the decoding library wants it."""

    def __init__(self, file: MediaFile) -> None:
        self._file = file
        self._position = 0

    def read(self, count: int) -> bytes:
        data = self._file.read_at(self._position, count)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}[whence]
        if start + offset < 0:
            return -1  # an error to the library, which may go on without
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position


def _reason(error: Exception) -> str:
    if isinstance(error, av.BlockingIOError):
        return "no further packet can be found"
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__
