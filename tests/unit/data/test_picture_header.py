"""Headers of images: the size and orientation that Pillow finds, and no harm from any bytes."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vsalt.data.picture_header import PictureHeader, image_format, read_picture_header


def header_of(content: bytes) -> PictureHeader:
    return read_picture_header(lambda position, count: content[position : position + max(0, count)])


def encoded(kind: str, height: int, width: int, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    options = {} if kind == "GIF" else {"exif": exif}
    Image.new("L", (width, height)).save(data, kind, **options)
    return data.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
@pytest.mark.parametrize(("height", "width"), [(1, 2), (300, 7), (16, 1025)])
def test_size(kind, height, width):
    assert header_of(encoded(kind, height, width)) == PictureHeader(height, width)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_orientation(kind):
    for orientation in range(1, 9):
        assert header_of(encoded(kind, 3, 5, orientation)) == PictureHeader(3, 5, orientation)
    for wrong in (0, 9, 65535):
        assert header_of(encoded(kind, 3, 5, wrong)).orientation == 1


def test_kind():
    assert image_format(lambda position, count: encoded("JPEG", 1, 1)[:count]) == "jpeg"
    assert image_format(lambda position, count: encoded("PNG", 1, 1)[:count]) == "png"
    for other in (b"", b"\xff", b"\x89PNG", encoded("GIF", 1, 1)):
        assert image_format(lambda position, count, other=other: other[:count]) is None
    assert header_of(b"no image") == PictureHeader()


def test_a_jpeg_without_its_end_is_cut():
    whole = encoded("JPEG", 200, 300)
    assert not header_of(whole + b"appended").is_cut
    for length in (3, 10, 100, len(whole) // 2, len(whole) - 1):
        assert header_of(whole[:length]).is_cut
    # The end lies across the border of two blocks of 64 KiB at one of these lengths.
    for padding in range((1 << 16) - len(whole), 1 << 16):
        content = whole[:-2] + bytes(padding) + whole[-2:]
        assert not header_of(content).is_cut
        assert header_of(content[:-1]).is_cut


@settings(max_examples=300)
@given(data=st.data())
def test_no_bytes_do_harm(data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF"]))
    content = bytearray(encoded(kind, 3, 5, 6))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    header = header_of(bytes(content[: data.draw(st.integers(0, len(content)))]))
    assert 1 <= header.orientation <= 8
    assert min(header.height, header.width) >= 0
