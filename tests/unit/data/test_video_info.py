"""What a file claims is held against the limits before anything is decoded."""

import io
import re
import resource
import struct
import wave
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vsalt.data.config import ReadLimits
from vsalt.data.decode import read_frames
from vsalt.data.video_info import probe
from vsalt.errors import DecodeError


@pytest.fixture(scope="module")
def video(tmp_path_factory, write_video) -> Path:
    """40 frames at 10 per second, 48x32."""
    return write_video(tmp_path_factory.mktemp("videos") / "video.mp4")


def refused(path: Path, reason: str, limits: ReadLimits | None = None) -> None:
    for attempt in (
        lambda: probe(path, limits=limits),
        lambda: read_frames(path, [0.05], limits=limits),
    ):
        with pytest.raises(DecodeError, match=re.escape(f"{path}: {reason}")):
            attempt()


def patched(source: Path, target: Path, box: bytes, offset: int, value: int) -> Path:
    """Overwrite four bytes, `offset` after the name of each box of this kind."""
    data = bytearray(source.read_bytes())
    at = data.find(box)
    assert at > 0
    while at > 0:
        struct.pack_into(">I", data, at + offset, value)
        at = data.find(box, at + 4)
    target.write_bytes(data)
    return target


def test_a_video_just_within_the_limits_is_read(video):
    limits = ReadLimits(max_pixels=48 * 32, max_fps=10.0, max_duration_s=4.0)
    assert probe(video, limits=limits).num_frames == 40
    assert read_frames(video, [0.05], limits=limits).shape == (1, 32, 48, 3)


def test_each_limit_is_named_with_what_exceeds_it(video):
    for limits, reason in [
        (
            ReadLimits(max_pixels=48 * 32 - 1),
            "48x32 pixels, above the limit of 1535 pixels (setting limits.max-pixels)",
        ),
        (
            ReadLimits(max_fps=9.5),
            "10 frames per second, above the limit of 9.5 (setting limits.max-fps)",
        ),
        (
            ReadLimits(max_duration_s=3.9),
            "4 s long, above the limit of 3.9 s (setting limits.max-duration-s)",
        ),
    ]:
        refused(video, reason, limits)


def test_a_claim_of_hours_is_refused(tmp_path, video):
    """Ticks of a second instead of its 10240th part: 40 frames in 11 hours."""
    data = video.read_bytes()
    (scale,) = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)
    slow = patched(video, tmp_path / "slow.mp4", b"mdhd", 16, 1)
    # The edit list, which is in other units, would cut all but the first frame.
    slow.write_bytes(slow.read_bytes().replace(b"edts", b"free"))
    limits = ReadLimits(max_duration_s=3600.0)
    refused(slow, f"{4 * scale} s long, above the limit of 3600 s", limits)
    assert probe(slow).duration_s == 4 * scale


def test_an_absurd_rate_is_refused(tmp_path, video):
    """Time scale 2^31 - 1: the frames last nanoseconds."""
    fast = patched(video, tmp_path / "fast.mp4", b"mdhd", 16, (1 << 31) - 1)
    with pytest.raises(DecodeError, match=r"frames per second, above the limit of 1000"):
        probe(fast)


@pytest.mark.parametrize(
    ("box", "offset", "value"),
    [
        (b"mvhd", 16, 0),  # time scale of the movie
        (b"mvhd", 20, 0xFFFFFFFF),  # duration of the movie
        (b"mdhd", 16, 0),  # time scale of the track
        (b"mdhd", 20, 0xFFFFFFFF),  # duration of the track
        (b"mdhd", 20, 0),
        (b"stts", 8, 0xFFFFFFFF),  # number of entries
        (b"stts", 12, 0xFFFFFFFF),  # frames of the first entry
        (b"stts", 16, 0xFFFFFFFF),  # duration of a frame
        (b"stts", 16, 0),
        (b"stsz", 12, 0xFFFFFFF),  # number of frames
        (b"stco", 12, 0xFFFFFFF0),  # where they lie
    ],
)
def test_absurd_headers_are_read_or_refused(tmp_path, video, box, offset, value):
    """Nothing but a `DecodeError` comes out, and no number that a sampler cannot use."""
    path = patched(video, tmp_path / "absurd.mp4", box, offset, value)
    before = peak_memory()
    try:
        info = probe(path)
        frames = read_frames(path, [0.5 / info.fps])
    except DecodeError:
        pass
    else:
        limits = ReadLimits()
        assert 0 < info.num_frames < 1e8
        assert 0 < info.duration_s <= limits.max_duration_s
        assert 0 < info.fps <= limits.max_fps
        assert frames.shape == (1, 32, 48, 3)
    assert peak_memory() - before < 1 << 29


def test_a_size_above_the_limit_is_refused_without_memory_for_it(tmp_path):
    """Headers of images of 60000x60000 pixels, which are 10 GB; the decoders refuse them, too."""
    png = tmp_path / "large.png"
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    png.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    image = Image.new("RGB", (16, 16))
    jpeg, gif = tmp_path / "large.jpg", tmp_path / "large.gif"
    data = io.BytesIO()
    image.save(data, "JPEG")
    content = bytearray(data.getvalue())
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, 60000, 60000)
    jpeg.write_bytes(content)
    data = io.BytesIO()
    image.save(data, "GIF")
    content = bytearray(data.getvalue())
    struct.pack_into("<HH", content, 6, 60000, 60000)
    gif.write_bytes(content)
    before = peak_memory()
    for path in (png, jpeg, gif):
        refused(
            path,
            "60000x60000 pixels, above the limit of 67108864 pixels (setting limits.max-pixels)",
        )
    assert peak_memory() - before < 1 << 28


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_size_that_changes_on_the_way(tmp_path):
    """Two raw streams, one after the other: the size of the first is what the header tells."""
    path = tmp_path / "grows.m2v"
    with path.open("wb") as file:
        for height, width in ((32, 48), (320, 480)):
            data = io.BytesIO()
            with av.open(data, "w", format="mpeg2video") as container:
                stream = container.add_stream("mpeg2video", rate=25)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                for index in range(30):
                    frame = av.VideoFrame.from_ndarray(
                        np.full((height, width, 3), 8 * index, np.uint8)
                    )
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
            file.write(data.getvalue())
    assert read_frames(path, [0.02]).shape == (1, 32, 48, 3)
    limits = ReadLimits(max_pixels=48 * 32)
    with pytest.raises(DecodeError, match="480x320 pixels, above the limit of 1536"):
        read_frames(path, [0.02, 2.02], limits=limits)
    with pytest.raises(DecodeError, match="its size changes from 48x32 to 480x320"):
        read_frames(path, [0.02, 2.02])


def write_sound(path: Path, cover: bytes | None = None) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        if cover is not None:
            picture = container.add_stream("mjpeg")
            picture.width, picture.height, picture.pix_fmt = 16, 16, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        for index in range(10):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 8000, 1024 * index
            frame.time_base = Fraction(1, 8000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if cover is not None:
            packet = av.Packet(cover)
            packet.stream, packet.pts, packet.dts = picture, 0, 0
            container.mux(packet)
    return path


def test_sound_is_not_video(tmp_path):
    refused(write_sound(tmp_path / "sound.m4a"), "the file has no video stream")
    wav = tmp_path / "sound.wav"
    with wave.open(str(wav), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    refused(wav, "not one of the containers that are read")


def test_the_cover_of_a_record_is_not_video(tmp_path):
    data = io.BytesIO()
    Image.new("RGB", (16, 16)).save(data, "JPEG")
    path = write_sound(tmp_path / "cover.m4a", data.getvalue())
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["audio", "video"]
    refused(path, "the file has no video stream, only an attached picture")
