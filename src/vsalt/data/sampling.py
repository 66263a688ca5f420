"""When the frames of a clip are shown: from a clip's settings and a place to the times to decode.

A clip covers a window of num_frames * frame_step frames, or of num_frames / fps seconds. Where the
window starts is given by a number u in [0, 1): 0 is the earliest, 0.5 the middle place. In a video
shorter than the window the clip starts at the beginning and repeats the last frame,
as in V-JEPA 2's data loader (facebookresearch/vjepa2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from vsalt.data.config import ClipConfig
from vsalt.data.video_info import VideoInfo
from vsalt.errors import DecodeError

# A stretch that is given in seconds may miss a frame's start by this much of a frame.
_FRAME_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The part of a video that a clip may use, in frames and in seconds.

    Attributes:
        first_frame: index of its first frame.
        num_frames: number of its frames, at least 1.
        start_s: where it starts.
        duration_s: how long it is.
        fps: rate of the video.
    """

    first_frame: int
    num_frames: int
    start_s: float
    duration_s: float
    fps: float


def stretch(
    video: VideoInfo, *, start_s: float | None = None, end_s: float | None = None
) -> Stretch:
    """Return the stretch [start_s, end_s) of a video, cut at the video's end.

    Raises:
        DecodeError: the stretch holds no frame of the video.
    """
    start = start_s or 0.0
    end = video.duration_s if end_s is None else min(end_s, video.duration_s)
    first = _frames_before(start, video.fps)
    last = video.num_frames if end == video.duration_s else _frames_before(end, video.fps)
    count = min(last, video.num_frames) - first
    if count < 1 or end <= start:
        raise DecodeError(
            f"{video.path}: no frame lies between {start:g} s and "
            f"{'its end' if end_s is None else f'{end_s:g} s'}; it has {video.num_frames} frames "
            f"in {video.duration_s:.3f} s"
        )
    return Stretch(
        first_frame=first, num_frames=count, start_s=start, duration_s=end - start, fps=video.fps
    )


def _frames_before(time_s: float, fps: float) -> int:
    return int(np.ceil(time_s * fps - _FRAME_TOLERANCE))


def clip_window_s(clip: ClipConfig, video_fps: float) -> float:
    """Return the length of a clip's window in seconds.

    `num_frames / fps`, or `num_frames * frame_step / video_fps` for sampling by frame step.
    """
    if clip.fps is not None:
        return clip.num_frames / clip.fps
    return clip.num_frames * clip.frame_step / video_fps


def frame_indices(clip: ClipConfig, num_available: int, *, u: float) -> Int64[np.ndarray, "T"]:
    """Return the frames of a clip by frame step, counted from the start of a stretch.

    With n = num_frames, s = frame_step, N frames available and a start k uniform over
    0 … max(0, N − n s):

    * exact: k + i s, at most N − 1.
    * linspace: floor(k + i n s / (n − 1)), at most k + n s − 1; for N < n s, floor(N / s) frames
      evenly from 0 to N, then frame N − 1. This is V-JEPA's rule.

    Args:
        clip: number of frames, step, spacing.
        num_available: N, at least 1.
        u: the place of the window, in [0, 1).

    Returns:
        Ascending indices in [0, N), shape (T,).
    """
    count, step = clip.num_frames, clip.frame_step
    window = count * step
    start = int(u * (max(0, num_available - window) + 1))
    if clip.spacing == "exact":
        indices = start + step * np.arange(count, dtype=np.int64)
        return np.minimum(indices, num_available - 1)
    positions = _linspace_positions(count, float(num_available), float(window), float(step))
    end = min(start + window, num_available)
    return np.minimum((start + positions).astype(np.int64), end - 1)


def _linspace_positions(
    count: int, available: float, window: float, period: float
) -> Float64[np.ndarray, "T"]:
    """Return V-JEPA's evenly cut window, both ends included, and padded with `available`."""
    if available >= window:
        return np.linspace(0.0, window, count)
    existing = np.linspace(0.0, available, int(available / period))
    return np.concatenate([existing, np.full(count - len(existing), float(available))])


def clip_times(clip: ClipConfig, part: Stretch, *, u: float) -> Float64[np.ndarray, "T"]:
    """Return the times of a clip's frames in the video, in seconds.

    By frame step they are the middles of the frames' display, (k + 1/2) / fps. By rate they are
    start + i / clip.fps (or the evenly cut window for linspace), shifted by half a source frame
    so that a window at the start of a frame shows that frame; past the stretch, its last frame.

    Args:
        clip: number of frames, step or rate, spacing.
        part: the stretch of the video to take the clip from.
        u: the place of the window in the stretch, in [0, 1).

    Returns:
        Ascending times, shape (T,).
    """
    if clip.fps is None:
        indices = part.first_frame + frame_indices(clip, part.num_frames, u=u)
        return (indices + 0.5) / part.fps
    slack_s = part.duration_s - clip_window_s(clip, part.fps)
    return _times_by_rate(clip, part, max(0.0, slack_s) * u)


def _times_by_rate(clip: ClipConfig, part: Stretch, start_s: float) -> Float64[np.ndarray, "T"]:
    assert clip.fps is not None
    window_s = clip.num_frames / clip.fps
    left_s = part.duration_s - start_s
    if clip.spacing == "exact":
        offsets = np.arange(clip.num_frames) / clip.fps
    else:
        # The half frame that is added below would move the window's end into the next frame.
        offsets = _linspace_positions(clip.num_frames, left_s, window_s, 1 / clip.fps)
        offsets = np.minimum(offsets, max(0.0, window_s - 1 / part.fps))
    half_frame_s = 0.5 / part.fps
    last_s = part.start_s + max(part.duration_s - half_frame_s, part.duration_s / 2)
    return np.minimum(part.start_s + start_s + offsets + half_frame_s, last_s)


def times_at(clip: ClipConfig, video: VideoInfo, *, start_s: float) -> Float64[np.ndarray, "T"]:
    """Return the times of the clip that starts at `start_s`, for windows of `sliding_starts`."""
    whole = stretch(video)
    if clip.fps is not None:
        return _times_by_rate(clip, whole, start_s)
    first = min(round(start_s * video.fps), video.num_frames - 1)
    indices = first + frame_indices(clip, video.num_frames - first, u=0.0)
    return (indices + 0.5) / video.fps


def even_times(
    clip: ClipConfig, part: Stretch, *, num_windows: int, u: float | Sequence[float] = 0.5
) -> list[Float64[np.ndarray, "T"]]:
    """Return the times of several clips that are spread evenly over a stretch.

    The stretch is cut into equal parts and each gives one clip, placed by `u`; where the parts
    are shorter than the window, the windows overlap with evenly spaced starts that include both
    ends (the middle for one window), whatever `u` is. A window by frame step stays inside of its
    part, whose ends are rounded outwards to whole frames.

    Args:
        clip: number of frames, step or rate, spacing.
        part: the stretch of the video to take the clips from.
        num_windows: number of clips.
        u: the place of a window in its part, in [0, 1); one for all windows or one for each.
    """
    places_in_part = np.broadcast_to(np.asarray(u, dtype=np.float64), (num_windows,))
    part_s = part.duration_s / num_windows
    window_s = clip_window_s(clip, part.fps)
    slack_s = part.duration_s - window_s
    if num_windows == 1 or slack_s <= 0:
        return [clip_times(clip, part, u=float(place)) for place in places_in_part]
    if part_s >= window_s:
        starts_s = np.arange(num_windows) * part_s + places_in_part * (part_s - window_s)
        places = starts_s / slack_s
    else:
        places = np.arange(num_windows) / (num_windows - 1)
    # u stays below 1, which is the first place that does not fit.
    return [clip_times(clip, part, u=float(min(place, 1 - 1e-9))) for place in places]


def sliding_starts(clip: ClipConfig, video: VideoInfo, *, stride_s: float) -> list[float]:
    """Return the starts, in seconds, of windows that slide over a whole video.

    Windows start at 0, stride, 2 stride, … as long as they fit. If more than one frame is left
    over after the last, one more window ends with the video. A video shorter than the window has
    one window.
    """
    if stride_s <= 0:
        raise ValueError(f"stride_s is {stride_s}; it must be above 0")
    slack_s = video.duration_s - clip_window_s(clip, video.fps)
    if slack_s <= 0:
        return [0.0]
    frame_s = 1 / video.fps
    count = int((slack_s + _FRAME_TOLERANCE * frame_s) / stride_s) + 1
    starts = [index * stride_s for index in range(count)]
    if slack_s - starts[-1] > frame_s * (1 + _FRAME_TOLERANCE):
        starts.append(slack_s)
    return starts
