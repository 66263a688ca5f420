import pytest

from vsalt.data import window_report
from vsalt.data.config import ClipConfig, ReadLimits
from vsalt.data.manifest import Row, read_source
from vsalt.data.video_info import VideoInfo
from vsalt.data.window_report import report_windows
from vsalt.errors import DecodeError


@pytest.fixture
def rows(monkeypatch):
    """Rows whose videos have the number of frames that their name says, at 10 per second."""

    def fake_probe(media, *, limits):
        if media.path == "bad":
            raise DecodeError("bad: no")
        frames = int(media.path)
        return VideoInfo(
            path=media.path, num_frames=frames, duration_s=frames / 10, fps=10.0, height=8, width=8
        )

    monkeypatch.setattr(window_report, "probe", fake_probe)

    def make(names):
        return [Row(path=str(n), relative_path=str(n), source=0, columns={}) for n in names]

    return make


def test_the_share_and_the_step_that_fits(rows):
    report = report_windows(
        rows([40, "bad", *range(20, 29)]), ClipConfig(num_frames=4, frame_step=7), seed=0
    )
    assert (report.num_clips, report.num_short, report.num_unreadable) == (10, 8, 1)
    assert report.warns
    # 9 of 10 have at least 21 frames, which is 4 * 5 and not 4 * 6.
    assert "--clip.frame-step 5 " in str(report)
    fitted = report_windows(
        rows([40, *range(20, 29)]), ClipConfig(num_frames=4, frame_step=5), seed=0
    )
    assert fitted.num_short == 0
    assert not fitted.warns
    assert "0.0% of 10" in str(fitted)


def test_a_tenth_may_be_short(rows):
    report = report_windows(rows([4] + [40] * 9), ClipConfig(num_frames=4, frame_step=8), seed=0)
    assert (report.short_share, report.warns) == (0.1, False)


def test_rates_and_very_short_clips(rows):
    report = report_windows(rows([20] * 10), ClipConfig(num_frames=16, fps=4.0), seed=0)
    assert report.short_share == 1.0
    assert "--clip.fps 8 " in str(report)
    report = report_windows(rows([9] * 10), ClipConfig(num_frames=16, frame_step=1), seed=0)
    assert "--clip.num-frames 9 --clip.frame-step 1 " in str(report)


def test_no_more_than_asked_are_looked_at(rows):
    report = report_windows(rows([20] * 50), ClipConfig(num_frames=4), seed=0, max_clips=7)
    assert report.num_clips == 7


def test_real_clips(test_data):
    rows = read_source(test_data / "jhmdb" / "labels.csv").rows
    frames = sorted(int(row.columns["num_frames"]) for row in rows)
    report = report_windows(
        rows, ClipConfig(num_frames=16, frame_step=2), seed=0, max_clips=len(rows)
    )
    assert report.num_short == sum(count < 32 for count in frames)
    assert report.num_clips == 928


def test_clips_above_the_limits_cannot_be_read(tmp_path, write_video):
    write_video(tmp_path / "video.mp4", num_frames=12)
    rows = read_source(tmp_path).rows
    for limits, num_unreadable in ((None, 0), (ReadLimits(max_pixels=100), 1)):
        report = report_windows(rows, ClipConfig(), seed=0, limits=limits)
        assert (report.num_clips, report.num_unreadable) == (1 - num_unreadable, num_unreadable)
