"""Frames that are left out: what is read stays exact, whatever the file pretends."""

from dataclasses import replace

import numpy as np
import pytest

from vsalt.data import decode
from vsalt.data.decode import Video
from vsalt.data.frame_sieve import FrameSieve


@pytest.fixture
def num_decoded(monkeypatch):
    """Counts the frames that the decoder gives."""
    sizes = []
    check = decode.check_size
    monkeypatch.setattr(decode, "check_size", lambda *given: (sizes.append(given), check(*given)))
    return sizes


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mp4", "mpeg4"), ("a.ts", "mpeg2video")],
)
def test_any_reads_equal_a_plain_decode(tmp_path, write_video, decode_all, name, codec):
    path = write_video(tmp_path / name, codec=codec, num_frames=60, gop=24, b_frames=3)
    plain = decode_all(path)
    draw = np.random.default_rng(0)
    with Video(path) as video:
        for _ in range(40):
            times_s = np.sort(draw.uniform(0, video.info.duration_s, int(draw.integers(1, 9))))
            # Off the stamps, which are whole milliseconds in mkv, and come half of one early.
            times_s = np.floor(times_s * 1000) / 1000 + 0.0002
            got = video.read(times_s)
            np.testing.assert_array_equal(got, [plain.shown_at(time_s) for time_s in times_s])


def test_frames_that_nobody_refers_to_are_left_out(tmp_path, write_video, num_decoded):
    path = write_video(tmp_path / "a.mp4", num_frames=64, gop=64, b_frames=3)
    with Video(path) as video:
        video.read((np.arange(0, 64, 4) + 0.5) / 10)
        sieved = len(num_decoded)
        video.read((np.arange(64) + 0.5) / 10)
    assert len(num_decoded) - sieved == 64
    assert 16 <= sieved < 52


def test_times_that_are_not_as_foretold_are_read_again(tmp_path, write_video, decode_all):
    # A frame that is shown for long, in a file whose rate is said to be constant.
    pts = np.cumsum([0, *([40, 40, 40, 300, 40, 40, 500, 40] * 5)]).tolist()
    path = write_video(tmp_path / "a.mp4", num_frames=len(pts), pts=pts, gop=50, b_frames=3)
    plain = decode_all(path)
    with Video(path) as video:
        assert video.info.variable_rate
        video.info = replace(video.info, variable_rate=False, fps=25.0)
        for start_s in np.arange(0, 4, 0.11):
            times_s = start_s + np.arange(4) * 0.25
            got = video.read(times_s)
            np.testing.assert_array_equal(got, [plain.shown_at(time_s) for time_s in times_s])


def test_a_box_is_chosen_once_also_when_frames_are_read_again(tmp_path, write_video):
    pts = np.cumsum([0, *([40, 40, 40, 300] * 5)]).tolist()
    path = write_video(tmp_path / "a.mp4", num_frames=len(pts), pts=pts, gop=50, b_frames=3)
    chosen = []

    def choose(height, width):
        chosen.append((height, width))
        return decode.CropBox(0, 0, height, width)

    with Video(path) as video:
        video.info = replace(video.info, variable_rate=False, fps=25.0)
        video.read([0.3, 0.9, 1.4], choose)
    assert chosen == [(32, 48)]


def test_what_is_on_display_is_the_last_frame_whose_time_has_come():
    sieve = FrameSieve(np.array([0.25, 1.05]), frame_s=0.1, tolerance_s=1e-6)
    times_s = [0.1, 0.2, 0.3, 0.9, 0.95, 1.0, 1.1]
    needed = [time_s for time_s in times_s if sieve.needs(time_s)]
    assert needed == [0.2, 0.95, 1.0]
    assert sieve.confirms([0.2, 1.0])
    assert not sieve.confirms([0.2, 0.95])
    assert not sieve.confirms([0.1, 1.0])
    # A frame comes that nobody expected.
    assert not sieve.needs(1.06)
    assert not sieve.needs(1.04 + 1e-9 - 0.2)
    assert sieve.confirms([0.2, 1.0])
