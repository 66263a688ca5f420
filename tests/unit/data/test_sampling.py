"""Windows of clips, against rules written out frame by frame."""

import math

import numpy as np
import pytest

from vsalt.data.config import ClipConfig
from vsalt.data.sampling import (
    clip_times,
    clip_window_s,
    even_times,
    frame_indices,
    sliding_starts,
    stretch,
    times_at,
)
from vsalt.data.video_info import VideoInfo
from vsalt.errors import DecodeError


def video(num_frames, fps=10.0):
    return VideoInfo(
        path="v.mp4",
        num_frames=num_frames,
        duration_s=num_frames / fps,
        fps=fps,
        height=8,
        width=8,
    )


def vjepa_indices(available, frames, step, start):
    """V-JEPA's rule, one frame at a time."""
    window = frames * step
    if available >= window:
        return [
            min(start + math.floor(i * window / (frames - 1)), start + window - 1)
            for i in range(frames)
        ]
    existing = available // step
    spaced = [
        0 if existing == 1 else math.floor(i * available / (existing - 1)) for i in range(existing)
    ]
    return [min(i, available - 1) for i in spaced] + [available - 1] * (frames - existing)


@pytest.mark.parametrize("available", [1, 3, 4, 7, 8, 15, 40, 63, 64, 65, 200])
@pytest.mark.parametrize(("frames", "step"), [(16, 4), (16, 2), (4, 1), (8, 8)])
def test_linspace_is_the_original_rule(available, frames, step):
    clip = ClipConfig(num_frames=frames, frame_step=step, spacing="linspace")
    for u in (0.0, 0.3, 0.999):
        start = math.floor(u * (max(0, available - frames * step) + 1))
        found = frame_indices(clip, available, u=u)
        assert found.tolist() == vjepa_indices(available, frames, step, start)


def test_the_true_spacing_of_linspace():
    # 64 frames in 15 gaps: the facts give 4.27.
    clip = ClipConfig(num_frames=16, frame_step=4, spacing="linspace")
    found = frame_indices(clip, 1000, u=0.0)
    assert (found[0], found[1], found[14], found[15]) == (0, 4, 59, 63)


def test_exact_spacing_and_the_last_frame_repeated():
    clip = ClipConfig(num_frames=4, frame_step=3)
    assert frame_indices(clip, 12, u=0.99).tolist() == [0, 3, 6, 9]
    assert frame_indices(clip, 14, u=0.5).tolist() == [1, 4, 7, 10]
    assert frame_indices(clip, 8, u=0.7).tolist() == [0, 3, 6, 7]
    assert frame_indices(clip, 2, u=0.7).tolist() == [0, 1, 1, 1]


def test_every_start_is_equally_likely_and_fits():
    clip = ClipConfig(num_frames=4, frame_step=2)
    starts = [int(frame_indices(clip, 12, u=(i + 0.5) / 500)[0]) for i in range(500)]
    assert np.bincount(starts).tolist() == [100] * 5


def test_times_by_step_are_the_middles_of_frames():
    clip = ClipConfig(num_frames=4, frame_step=2)
    times = clip_times(clip, stretch(video(20)), u=0.5)
    assert times * 10 - 0.5 == pytest.approx([6, 8, 10, 12])


@pytest.mark.parametrize("spacing", ["exact", "linspace"])
@pytest.mark.parametrize("clip_fps", [1.0, 4.0, 7.5, 30.0])
@pytest.mark.parametrize("num_frames", [3, 20, 100, 1000])
def test_times_by_rate(spacing, clip_fps, num_frames):
    clip = ClipConfig(num_frames=8, fps=clip_fps, spacing=spacing)
    source = video(num_frames, fps=30.0)
    for u in (0.0, 0.5, 0.999):
        times = clip_times(clip, stretch(source), u=u)
        assert np.all(np.diff(times) >= 0)
        assert times[0] >= 0
        assert times[-1] <= source.duration_s - 0.5 / 30 + 1e-9
        if spacing == "exact" and 8 / clip_fps <= source.duration_s:
            assert np.diff(times) == pytest.approx(np.full(7, 1 / clip_fps))
            start = u * (source.duration_s - 8 / clip_fps)
            assert times[0] == pytest.approx(start + 0.5 / 30)


def test_a_rate_that_divides_the_videos_is_a_step():
    source = video(300, fps=30.0)
    by_rate = clip_times(ClipConfig(num_frames=16, fps=7.5), stretch(source), u=0.0)
    by_step = clip_times(ClipConfig(num_frames=16, frame_step=4), stretch(source), u=0.0)
    assert by_rate == pytest.approx(by_step)


def test_short_videos_by_rate_repeat_the_last_frame():
    clip = ClipConfig(num_frames=6, fps=5.0)
    times = clip_times(clip, stretch(video(8)), u=0.9)
    assert np.floor(times * 10 + 1e-9).tolist() == [0, 2, 4, 6, 7, 7]


def test_stretches_of_a_video():
    part = stretch(video(100), start_s=2.0, end_s=4.0)
    assert (part.first_frame, part.num_frames) == (20, 20)
    part = stretch(video(100), start_s=2.04)
    assert (part.first_frame, part.num_frames) == (21, 79)
    part = stretch(video(100), start_s=9.0, end_s=99.0)
    assert (part.first_frame, part.num_frames, part.duration_s) == (90, 10, 1.0)
    clip = ClipConfig(num_frames=4, frame_step=5)
    for u in (0.0, 0.5, 0.999):
        times = clip_times(clip, stretch(video(100), start_s=2.0, end_s=4.5), u=u)
        assert times[0] >= 2.0
        assert times[-1] < 4.5
    clip = ClipConfig(num_frames=4, fps=2.0)
    times = clip_times(clip, stretch(video(100), start_s=2.0, end_s=4.5), u=0.999)
    assert times[0] >= 2.0
    assert times[-1] < 4.5


@pytest.mark.parametrize(("start_s", "end_s"), [(10.0, None), (50.0, 60.0), (2.01, 2.02)])
def test_stretches_without_a_frame(start_s, end_s):
    with pytest.raises(DecodeError, match=r"v\.mp4: no frame lies between"):
        stretch(video(100), start_s=start_s, end_s=end_s)


def test_windows():
    assert clip_window_s(ClipConfig(num_frames=16, frame_step=4), 30.0) == pytest.approx(64 / 30)
    assert clip_window_s(ClipConfig(num_frames=16, fps=4.0), 30.0) == 4.0


def test_even_windows_cut_a_long_video_and_overlap_in_a_short_one():
    clip = ClipConfig(num_frames=4, frame_step=2)

    def first_frames(num_frames, windows, u):
        found = even_times(clip, stretch(video(num_frames)), num_windows=windows, u=u)
        return [round(times[0] * 10 - 0.5) for times in found]

    assert first_frames(100, 2, 0.0) == [0, 50]
    assert first_frames(100, 4, 0.5) == pytest.approx([8, 33, 58, 83], abs=1)
    assert first_frames(12, 3, 0.5) == [0, 2, 4]
    assert first_frames(12, 1, 0.5) == [2]
    assert first_frames(5, 3, 0.5) == [0, 0, 0]


@pytest.mark.parametrize("rate", [{"frame_step": 2}, {"fps": 5.0}])
def test_sliding_windows_cover_the_video(rate):
    clip = ClipConfig(num_frames=4, **rate)  # 0.8 s of a video of 10 fps
    assert sliding_starts(clip, video(40), stride_s=0.8) == pytest.approx([0, 0.8, 1.6, 2.4, 3.2])
    assert sliding_starts(clip, video(43), stride_s=0.8) == pytest.approx(
        [0, 0.8, 1.6, 2.4, 3.2, 3.5]
    )
    assert sliding_starts(clip, video(41), stride_s=0.8) == pytest.approx([0, 0.8, 1.6, 2.4, 3.2])
    assert sliding_starts(clip, video(5), stride_s=0.8) == [0.0]
    for start in sliding_starts(clip, video(43), stride_s=0.3):
        frames = np.floor(times_at(clip, video(43), start_s=start) * 10 + 1e-6)
        assert frames - frames[0] == pytest.approx([0, 2, 4, 6])
        assert frames[0] == pytest.approx(start * 10, abs=1)
        assert frames[-1] <= 42
    with pytest.raises(ValueError, match="stride_s"):
        sliding_starts(clip, video(40), stride_s=0.0)


@pytest.mark.parametrize("rate", [{"frame_step": 3}, {"frame_step": 3, "spacing": "linspace"}])
def test_windows_with_places_of_their_own_stay_in_their_parts(rate):
    clip = ClipConfig(num_frames=4, **rate)  # a window of 12 frames
    generator = np.random.default_rng(0)
    for num_frames, parts in ((48, 4), (100, 3), (101, 7), (97, 8), (300, 2)):
        starts = []
        for _ in range(200):
            u = generator.random(parts).tolist()
            times = even_times(clip, stretch(video(num_frames)), num_windows=parts, u=u)
            first = np.array([round(window[0] * 10 - 0.5) for window in times])
            last = np.array([round(window[-1] * 10 - 0.5) for window in times])
            edges = np.arange(parts + 1) * num_frames / parts
            assert np.all(first >= np.floor(edges[:-1]))
            assert np.all(last < np.ceil(edges[1:]))
            starts.append(first)
        # Every place where the window fits is drawn, and each about as often.
        room = num_frames / parts - 12
        spread = np.stack(starts) - np.floor(np.arange(parts) * num_frames / parts)
        assert np.all(spread.min(0) <= 1 + room * 0.05)
        assert np.all(spread.max(0) >= room * 0.95 - 1)
        assert np.all(np.abs(spread.mean(0) - room / 2) < 1 + 4.5 * room / np.sqrt(12 * 200))


@pytest.mark.parametrize("rate", [{"frame_step": 2}, {"fps": 5.0}])
@pytest.mark.parametrize("num_frames", [5, 12, 100])
def test_one_place_for_all_windows_or_one_for_each(rate, num_frames):
    clip = ClipConfig(num_frames=4, **rate)
    part = stretch(video(num_frames))
    for count in (1, 3):
        one = even_times(clip, part, num_windows=count, u=0.3)
        each = even_times(clip, part, num_windows=count, u=[0.3] * count)
        np.testing.assert_array_equal(one, each)
    mixed = even_times(clip, part, num_windows=3, u=[0.1, 0.9, 0.5])
    for index, u in enumerate((0.1, 0.9, 0.5)):
        alone = even_times(clip, part, num_windows=3, u=u)
        np.testing.assert_array_equal(mixed[index], alone[index])
    with pytest.raises(ValueError, match="broadcast"):
        even_times(clip, part, num_windows=3, u=[0.1, 0.9])
