"""From decoded frames to upright RGB pixels, whole or a region of them.

Alpha is dropped, so pixels behind a transparent one show the colour that the file stores there.
"""

import platform
from typing import Any, NamedTuple

import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from vsalt.data.crop_box import CropBox

# Formats whose conversion looks at no neighbours, so that a region can be converted alone; for an
# odd height another conversion is chosen.
_LOCAL_FORMATS = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"})
# On other machines the last columns depend on the width.
_LOCAL_MACHINE = platform.machine() in ("x86_64", "AMD64")
# What it costs to copy a region before it is converted, counted in pixels that could be converted
# in that time (measured): this many, and a quarter of those of the region.
_CUT_PIXELS = 1 << 15


class Orientation(NamedTuple):
    """How a stored picture becomes upright: transposed first, then mirrored.

    Attributes:
        transposed: rows become columns.
        flip_rows: top and bottom are exchanged afterwards.
        flip_columns: left and right are exchanged afterwards.
    """

    transposed: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def upright_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the upright picture."""
        return (width, height) if self.transposed else (height, width)

    def upright(self, picture: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Return the picture upright, as a view."""
        if self.transposed:
            picture = picture.transpose(1, 0, 2)
        return picture[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def stored_box(self, box: CropBox, height: int, width: int) -> CropBox:
        """Return where a box of the upright picture lies in the stored one, of this size."""
        upright_height, upright_width = self.upright_size(height, width)
        top, left, box_height, box_width = box
        if self.flip_rows:
            top = upright_height - top - box_height
        if self.flip_columns:
            left = upright_width - left - box_width
        if self.transposed:
            return CropBox(left, top, box_width, box_height)
        return CropBox(top, left, box_height, box_width)


UPRIGHT = Orientation()
# EXIF's orientations 1 to 8.
_EXIF = (
    UPRIGHT,
    Orientation(flip_columns=True),
    Orientation(flip_rows=True, flip_columns=True),
    Orientation(flip_rows=True),
    Orientation(transposed=True),
    Orientation(transposed=True, flip_columns=True),
    Orientation(transposed=True, flip_rows=True, flip_columns=True),
    Orientation(transposed=True, flip_rows=True),
)


# Counter-clockwise.
_QUARTER_TURNS = (
    UPRIGHT,
    Orientation(transposed=True, flip_rows=True),
    Orientation(flip_rows=True, flip_columns=True),
    Orientation(transposed=True, flip_columns=True),
)


def exif_orientation(value: int) -> Orientation:
    """Return what EXIF's orientation `value`, 1 to 8, means."""
    return _EXIF[value - 1]


def frame_orientation(frame: VideoFrame) -> Orientation:
    """Return the orientation that a frame's display matrix asks for, to the next quarter turn."""
    try:
        side_data: Any = frame.side_data
        found = [data for data in side_data if data.type.name == "DISPLAYMATRIX"]
    except ValueError:
        # The frame carries data that this version of PyAV has no name for, so that none of them
        # can be read. The angle can; that a picture is mirrored stays unknown.
        return _QUARTER_TURNS[round(frame.rotation / 90) % 4]
    if not found:
        return UPRIGHT
    # A pixel at (x, y) is displayed at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(found[0], dtype=np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(flip_rows=d < 0, flip_columns=a < 0)
    return Orientation(transposed=True, flip_rows=b < 0, flip_columns=c < 0)


class RgbConverter:
    """Converts frames to RGB; keeps what it can use again for the next frame."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        # A region as a frame of its own, and the rows of its planes.
        self._region: VideoFrame | None = None
        self._region_rows: list[np.ndarray] = []

    def write(
        self,
        frame: VideoFrame,
        orientation: Orientation,
        box: CropBox,
        out: UInt8[np.ndarray, "h w 3"],
    ) -> None:
        """Write a box of the upright frame into `out`; equal to slicing the whole conversion."""
        top, left, height, width = orientation.stored_box(box, frame.height, frame.width)
        saved = frame.height * frame.width - height * width
        if saved > _CUT_PIXELS + height * width // 4 and _is_local(frame):
            frame = self._cut(frame, top, left, top + height, left + width)
            top, left = top % 2, left % 2
        # One thread: a frame is too small to be worth waking others.
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        pixels = _rows(rgb.planes[0])[:, : rgb.width * 3].reshape(rgb.height, rgb.width, 3)
        out[:] = orientation.upright(pixels[top : top + height, left : left + width])

    def _cut(self, frame: VideoFrame, top: int, left: int, bottom: int, right: int) -> VideoFrame:
        """Return a region as a frame of its own, a row or column larger where colours need it."""
        # Two rows and columns may share one sample of colour.
        box = CropBox(
            top - top % 2,
            left - left % 2,
            min(bottom + bottom % 2, frame.height) - (top - top % 2),
            min(right + right % 2, frame.width) - (left - left % 2),
        )
        layout = (box.height, box.width, frame.format.name)
        region = self._region
        if region is None or (region.height, region.width, region.format.name) != layout:
            region = self._region = VideoFrame(box.width, box.height, frame.format.name)
            self._region_rows = [_rows(plane)[:, : plane.width] for plane in region.planes]
        region.colorspace, region.color_range = frame.colorspace, frame.color_range
        for plane, rows in zip(frame.planes, self._region_rows, strict=True):
            top = box.top if plane.height == frame.height else box.top // 2
            left = box.left if plane.width == frame.width else box.left // 2
            rows[:] = _rows(plane)[top : top + rows.shape[0], left : left + rows.shape[1]]
        return region


def _is_local(frame: VideoFrame) -> bool:
    return _LOCAL_MACHINE and frame.height % 2 == 0 and frame.format.name in _LOCAL_FORMATS


def _rows(plane: VideoPlane) -> UInt8[np.ndarray, "H bytes"]:
    buffer: Any = plane
    rows = np.frombuffer(buffer, np.uint8).reshape(plane.height, abs(plane.line_size))
    # A negative size of a line: stored from the bottom up.
    return rows[::-1] if plane.line_size < 0 else rows
