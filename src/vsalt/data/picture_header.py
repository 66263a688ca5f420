"""What the bytes of a JPEG, PNG or GIF file tell without decoding: size, orientation, an end.

The decoder does not tell the size of a picture that it refuses, nor how a picture that is stored
mirrored is meant (EXIF's orientation), and it fills up a JPEG that lacks its end.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""Returns up to (count) bytes from (position) on; fewer at the end of the file."""

_UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
_SHORT = 3
_BLOCK = 1 << 16
# Among the pixels, a byte of 255 is followed by 0 or another marker.
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN, _EXIF_SEGMENT = 0xDA, 0xE1
# Start-of-frame markers, without the tables among them (DHT, JPG, DAC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class PictureHeader(NamedTuple):
    """What a header tells; a size of 0 is unknown.

    Attributes:
        height: in pixels, before the orientation is applied.
        width: in pixels, before the orientation is applied.
        orientation: as EXIF counts, 1 (upright) to 8.
        is_cut: whether it is a JPEG that lacks its end.
    """

    height: int = 0
    width: int = 0
    orientation: int = _UPRIGHT
    is_cut: bool = False


def image_format(read_at: ReadAt) -> Literal["jpeg", "png"] | None:
    """Return what kind of image a file is by its first bytes; None for all others."""
    start = read_at(0, 8)
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    return "png" if start == b"\x89PNG\r\n\x1a\n" else None


def read_picture_header(read_at: ReadAt) -> PictureHeader:
    """Read the header of a JPEG, PNG or GIF file; of another file nothing is known."""
    kind = image_format(read_at)
    if kind is not None:
        return _jpeg(read_at) if kind == "jpeg" else _png(read_at)
    start = read_at(0, 10)
    if start.startswith(b"GIF8") and len(start) == 10:
        width, height = struct.unpack_from("<HH", start, 6)
        return PictureHeader(height, width)
    return PictureHeader()


def _jpeg(read_at: ReadAt) -> PictureHeader:
    header = PictureHeader()
    end = 2
    for marker, position, length in _jpeg_segments(read_at):
        end = position + length
        if marker in _START_OF_FRAME:
            sides = read_at(position + 1, 4)
            if len(sides) == 4:
                height, width = struct.unpack(">HH", sides)
                header = header._replace(height=height, width=width)
        elif marker == _EXIF_SEGMENT and header.orientation == _UPRIGHT:
            data = read_at(position, length)
            if data.startswith(b"Exif\0\0"):
                header = header._replace(orientation=_exif_orientation(data[6:]))
    return header._replace(is_cut=not _contains(read_at, end, _END_OF_IMAGE))


def _contains(read_at: ReadAt, position: int, wanted: bytes) -> bool:
    while len(block := read_at(position, _BLOCK)) >= len(wanted):
        if wanted in block:
            return True
        position += len(block) - len(wanted) + 1
    return False


def _jpeg_segments(read_at: ReadAt) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, position, length) of the segments before the pixels."""
    position = 2
    while len(head := read_at(position, 4)) == 4 and head[0] == 0xFF and head[1] != _START_OF_SCAN:
        if head[1] == 0xFF:  # a byte of padding
            position += 1
            continue
        (length,) = struct.unpack_from(">H", head, 2)
        yield head[1], position + 4, length - 2
        position += 2 + length


def _png(read_at: ReadAt) -> PictureHeader:
    header = PictureHeader()
    position = 8
    while len(head := read_at(position, 8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IHDR" and len(sides := read_at(position + 8, 8)) == 8:
            width, height = struct.unpack(">II", sides)
            header = header._replace(height=height, width=width)
        elif kind == b"eXIf":
            data = read_at(position + 8, min(length, 1 << 16))
            return header._replace(orientation=_exif_orientation(data))
        position += 12 + length
    return header


def _exif_orientation(tiff: bytes) -> int:
    """Return the orientation in the first directory of EXIF data; upright if it has none."""
    order: Literal["<", ">"] = "<" if tiff.startswith(b"II") else ">"
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for index in range(count):
            tag, kind, _, value = struct.unpack_from(
                order + "HHIH", tiff, directory + 2 + 12 * index
            )
            if tag == _ORIENTATION_TAG and kind == _SHORT and 1 <= value <= 8:
                return int(value)
    except struct.error:  # the data end too soon
        return _UPRIGHT
    return _UPRIGHT
