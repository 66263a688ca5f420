"""Only regular files are opened, by their bytes alone, and no file leads to another one."""

import errno
import os
import socket
import struct
import subprocess
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vsalt.data.config import ReadLimits
from vsalt.data.container import MediaFile, open_container
from vsalt.data.decode import Video, read_frames
from vsalt.data.media import Media
from vsalt.data.video_info import probe
from vsalt.errors import DecodeError, DecodeTimeoutError, printable

TIME_S = [0.55, 1.25]


@pytest.fixture(scope="module")
def video(tmp_path_factory, write_video) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "video.mp4")


@pytest.fixture(scope="module")
def other(tmp_path_factory, write_video) -> Path:
    """A valid video that no other file may lead to."""
    return write_video(tmp_path_factory.mktemp("secret") / "other.mp4", seed=1)


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def refused(path: Path | str | Media, reason: str, **limits: float) -> None:
    """Both probing and reading refuse the file for this reason, at once, and leave nothing open."""
    settings = ReadLimits(**limits)
    before, start = open_descriptors(), time.monotonic()
    with pytest.raises(DecodeError, match=reason) as caught:
        probe(path, limits=settings)
    assert str(caught.value).startswith(f"{printable(str(path))}: ")
    with pytest.raises(DecodeError, match=reason):
        read_frames(path, TIME_S, limits=settings)
    assert open_descriptors() == before
    assert time.monotonic() - start < 20, "must not wait"


def test_only_regular_files_are_opened(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    to_device = tmp_path / "device.mp4"
    to_device.symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.mp4")
        refused("socket.mp4", "not a regular file")
    for path in (pipe, tmp_path, Path("/dev/zero"), to_device):
        refused(path, "not a regular file")
    refused(tmp_path / "missing.mp4", "No such file")
    refused("nul\0byte.mp4", "null byte")


def test_what_is_not_a_regular_file_is_not_even_opened(tmp_path):
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    # A writer waits until somebody opens the pipe to read, however shortly.
    with subprocess.Popen(["sh", "-c", 'echo waits; exec 3> "$0"', pipe], stdout=-1) as writer:
        assert writer.stdout.readline() == b"waits\n"
        refused(pipe, "not a regular file")
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(timeout=0.5)
        os.close(os.open(pipe, os.O_RDONLY))


def test_a_link_to_a_regular_file_is_read(tmp_path, video):
    link = tmp_path / "link.mp4"
    link.symlink_to(video)
    np.testing.assert_array_equal(read_frames(link, TIME_S), read_frames(video, TIME_S))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{other}\n#EXT-X-ENDLIST\n",
            "Invalid data",
        ),
        ("ffconcat version 1.0\nfile '{other}'\n", "not one of the containers"),
        (
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
            "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
            "not one of the containers",
        ),
        ('<?xml version="1.0"?>\n<MPD><BaseURL>{other}</BaseURL></MPD>\n', "Invalid data|not one"),
        ("{other}\n", "Invalid data"),
    ],
    ids=["hls", "ffconcat", "sdp", "dash", "text"],
)
def test_a_text_is_not_followed_to_another_file(tmp_path, other, text, reason):
    path = tmp_path / "list.mp4"
    path.write_text(text.format(other=other))
    refused(path, reason)
    # Not by a relative name beside it either.
    (tmp_path / "beside.mp4").write_bytes(other.read_bytes())
    path.write_text(text.format(other="beside.mp4"))
    refused(path, reason)


def test_a_movie_is_not_followed_to_its_external_data(tmp_path, video):
    """A reference to another file in the `dref` box: the samples are taken from this file only."""
    data = video.read_bytes()
    at = data.index(b"dref")
    (size,) = struct.unpack(">I", data[at - 4 : at])
    # The `url ` entry with flag 1, "in this file", becomes an alias with flag 0, "elsewhere".
    entry = data.index(b"url ", at, at + size)
    moved = bytearray(data)
    moved[entry : entry + 4] = b"alis"
    moved[entry + 4 : entry + 8] = bytes(4)
    path = tmp_path / "elsewhere.mov"
    path.write_bytes(moved)
    np.testing.assert_array_equal(read_frames(path, TIME_S), read_frames(video, TIME_S))


def test_names_have_no_meaning(tmp_path, video, other, monkeypatch):
    """Patterns of image sequences, protocols and addresses are names like any other."""
    expected = read_frames(video, TIME_S)
    for index in range(3):
        (tmp_path / f"img{index:03d}.png").write_bytes(other.read_bytes())
    monkeypatch.chdir(tmp_path)
    for name in (
        "img%03d.png",
        "img*.png",
        "file:video.mp4",
        "pipe:0",
        "concat:a.mp4|b.mp4",
        "http:video.mp4",
        "-",
        "subfile,,start,0,end,10,,:video.mp4",
        "sp ace\n\x1b[31m.mp4",
    ):
        Path(name).write_bytes(video.read_bytes())
        np.testing.assert_array_equal(read_frames(name, TIME_S), expected, err_msg=name)
        Path(name).unlink()
        refused(name, "No such file")
    # A URL is read by others, and never from within a file; see test_remote.py.
    refused("http:/localhost:1/video.mp4", "No such file")
    undecodable = os.fsdecode(b"\xff\xfe.mp4")
    Path(undecodable).write_bytes(video.read_bytes())
    np.testing.assert_array_equal(read_frames(undecodable, TIME_S), expected)


def test_a_member_of_a_tar_is_read_where_it_lies(tmp_path, video, other):
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        for number, member in enumerate((other, video, other)):
            archive.add(member, f"{number}.mp4")
    with tarfile.open(path) as archive:
        for member, source in zip(archive.getmembers(), (other, video, other), strict=True):
            media = Media(str(path), member.offset_data, member.size)
            np.testing.assert_array_equal(read_frames(media, TIME_S), read_frames(source, TIME_S))
            found, expected = probe(media), probe(source)
            assert (found.num_frames, found.fps) == (expected.num_frames, expected.fps)
            assert found.path == str(media)


def test_members_of_one_tar_are_counted_apart(tmp_path, write_video):
    """Matroska has no number of frames in its header, so the packets of each are counted."""
    path = tmp_path / "shard.tar"
    sizes = (10, 25)
    with tarfile.open(path, "w") as archive:
        for size in sizes:
            archive.add(write_video(tmp_path / f"{size}.mkv", num_frames=size), f"{size}.mkv")
    with tarfile.open(path) as archive:
        members = [
            Media(str(path), member.offset_data, member.size) for member in archive.getmembers()
        ]
    assert tuple(probe(media).num_frames for media in members * 2) == sizes * 2


def test_a_part_must_lie_in_its_file(video):
    size = video.stat().st_size
    for offset, length in [(0, size + 1), (size - 10, 11), (size + 5, None), (1 << 62, 1)]:
        refused(Media(str(video), offset, length), f"the file ends at byte {size}")
    for offset, length in [(-1, 5), (5, -1)]:
        refused(Media(str(video), offset, length), "the file ends at byte")
    refused(Media(str(video), size), "the file is empty")
    # A part that ends too soon is a truncated file, though the file goes on behind it.
    refused(Media(str(video), 0, size // 2), "Invalid data")


def test_media_are_named_with_their_part():
    assert str(Media("a.tar")) == "a.tar"
    assert str(Media("a.tar", 512)) == "a.tar (from byte 512 on)"
    assert str(Media("a.tar", 512, 100)) == "a.tar (bytes 512 to 612)"
    assert str(Media("a.tar", 0, 100)) == "a.tar (bytes 0 to 100)"


def test_no_descriptor_is_left_open(tmp_path, video):
    data = video.read_bytes()
    path = tmp_path / "broken.mp4"
    before = open_descriptors()
    noise = np.random.default_rng(0)
    failures = 0
    while failures < 200:
        bad = bytearray(data[: noise.integers(1, len(data))])
        for place in noise.integers(0, len(bad), 20):
            bad[place] = noise.integers(256)
        path.write_bytes(bad)
        try:
            with Video(path) as opened:
                opened.read([0.0, opened.info.duration_s / 2])
                opened.read([0.0])
        except DecodeError:
            failures += 1
    assert open_descriptors() == before


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_truncated_anywhere(tmp_path, write_video, suffix):
    """The last frame of a file that is cut cannot be read, and nothing else is raised."""
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    whole = write_video(tmp_path / f"whole{suffix}", num_frames=50, codec=codec).read_bytes()
    path = tmp_path / f"cut{suffix}"
    for share in (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DecodeError) as caught:
            read_frames(path, [0.05, 4.95])
        assert not isinstance(caught.value, DecodeTimeoutError)


def test_zeros(tmp_path):
    path = tmp_path / "zeros.mp4"
    path.write_bytes(bytes(100_000))
    refused(path, "Invalid data")
    with path.open("wb") as file:
        file.truncate(1 << 36)  # 64 GB without a block on the disk
    refused(path, "Invalid data")


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "libx264"), (".mpg", "mpeg2video")])
def test_an_endless_file_runs_out_of_time(tmp_path, write_video, suffix, codec):
    """Frames without an index, then a hole of 4 TB in which the next one is looked for."""
    path = write_video(tmp_path / f"video{suffix}", codec=codec, fps=25)
    os.truncate(path, 1 << 42)
    limits = ReadLimits(timeout_s=0.3)
    for attempt in (
        lambda: probe(path, limits=limits),
        lambda: read_frames(path, [0.05, 100.0], limits=limits),
    ):
        start = time.monotonic()
        with pytest.raises(
            DecodeTimeoutError, match=r"took longer than 0\.3 s \(setting limits\.timeout-s\)"
        ):
            attempt()
        assert time.monotonic() - start < 20


def test_an_endless_image_runs_out_of_time(tmp_path):
    path = tmp_path / "image.jpg"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
    # Without its end, and with zeros that take no room on the disk.
    os.truncate(path, path.stat().st_size - 2)
    os.truncate(path, 1 << 40)
    with pytest.raises(DecodeTimeoutError, match="took longer than 1 s"):
        Video(path, limits=ReadLimits(timeout_s=1.0))


def test_a_hole_in_a_transport_stream_is_damage(tmp_path, write_video):
    path = write_video(tmp_path / "video.ts")
    os.truncate(path, 1 << 42)
    refused(path, "no further packet can be found")


def test_the_deadline_counts_from_opening_on(video):
    with Video(video, limits=ReadLimits(timeout_s=0.5)) as opened:
        opened.read(TIME_S)
        time.sleep(0.6)
        with pytest.raises(DecodeTimeoutError, match=r"longer than 0\.5 s"):
            opened.read(TIME_S)
    with pytest.raises(DecodeTimeoutError):
        Video(video, limits=ReadLimits(timeout_s=1e-9))


def test_time_that_is_over_looks_like_the_end_only_to_the_library(video):
    with MediaFile(video, ReadLimits(timeout_s=0.2)) as file, open_container(file):
        assert file.read_at(0, 4) == video.read_bytes()[:4]
        time.sleep(0.3)
        assert file.read_at(0, 4) == b""
        # A wrong conclusion from that is not what is reported.
        with pytest.raises(DecodeTimeoutError), file.decode_errors():
            raise DecodeError("the pictures end")
        with pytest.raises(DecodeTimeoutError), file.decode_errors():
            pass


def test_a_disk_that_fails_is_reported(tmp_path, write_video, monkeypatch):
    path = write_video(tmp_path / "large.mp4", height=320, width=480)
    assert path.stat().st_size > 10 * 32768, "must not fit into the library's buffer"
    with Video(path) as opened:

        def fail(descriptor, count, position):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "pread", fail)
        with pytest.raises(DecodeError, match=r"large\.mp4: Input/output error"):
            opened.read([2.05])
