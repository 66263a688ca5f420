"""The run's first question to its data: are the videos long enough for the clips?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from vsalt.data.config import ClipConfig, ReadLimits
from vsalt.data.manifest import Row
from vsalt.data.sampling import Stretch, stretch
from vsalt.data.video_info import probe
from vsalt.errors import DecodeError
from vsalt.randomness import keyed_permutation

MAX_SHORT_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowReport:
    """How many of the looked-at clips are shorter than the window.

    Attributes:
        num_clips: clips looked at.
        num_short: those shorter than the window.
        num_unreadable: clips that could not be opened, not counted above.
        fitting: the flag and value that make the window fit nine clips of ten.
    """

    num_clips: int
    num_short: int
    num_unreadable: int
    fitting: str

    @property
    def short_share(self) -> float:
        """Share of clips shorter than the window."""
        return self.num_short / self.num_clips if self.num_clips else 0.0

    @property
    def warns(self) -> bool:
        """Whether so many are short that the user should know."""
        return self.short_share > MAX_SHORT_SHARE

    def __str__(self) -> str:
        text = (
            f"{self.short_share:.1%} of {self.num_clips} sampled clips are shorter than the "
            "window and repeat their last frame"
        )
        return f"{text}; {self.fitting}" if self.warns else text


def report_windows(
    rows: Sequence[Row],
    clip: ClipConfig,
    *,
    seed: int,
    limits: ReadLimits | None = None,
    max_clips: int = 512,
) -> WindowReport:
    """Compare the length of up to `max_clips` clips, chosen by the seed, with the window.

    Args:
        rows: where the clips are.
        clip: what gives the window.
        seed: of the choice.
        limits: what a file may cost; None is `ReadLimits()`.
        max_clips: how many clips are looked at.
    """
    chosen = keyed_permutation(len(rows), "window-report", seed)[:max_clips]
    parts: list[Stretch] = []
    for index in chosen:
        row = rows[int(index)]
        try:
            info = probe(row.media, limits=limits)
            parts.append(stretch(info, start_s=row.start_s, end_s=row.end_s))
        except DecodeError:
            # The run meets it too, and then it is written down and counted.
            continue
    return judge_windows(
        clip,
        num_frames=np.array([part.num_frames for part in parts], dtype=np.int64),
        duration_s=np.array([part.duration_s for part in parts], dtype=np.float64),
        fps=np.array([part.fps for part in parts], dtype=np.float64),
        num_unreadable=len(chosen) - len(parts),
    )


def judge_windows(
    clip: ClipConfig,
    *,
    num_frames: Int64[np.ndarray, "N"],
    duration_s: Float64[np.ndarray, "N"],
    fps: Float64[np.ndarray, "N"],
    num_unreadable: int,
) -> WindowReport:
    """Compare the lengths of N clips with the window.

    Args:
        clip: what gives the window.
        num_frames: frames of each clip, shape (N,).
        duration_s: seconds of each clip, shape (N,).
        fps: the rate of each clip's video, shape (N,).
        num_unreadable: clips that are none of the N.
    """
    if clip.fps is None:
        short = num_frames < clip.num_frames * clip.frame_step
    else:
        # A clip that is short by less than a frame repeats nothing.
        short = duration_s < clip.num_frames / clip.fps - 1 / fps
    return WindowReport(
        num_clips=len(num_frames),
        num_short=int(short.sum()),
        num_unreadable=num_unreadable,
        fitting=_fitting(clip, num_frames, duration_s) if len(num_frames) else "",
    )


def _fitting(
    clip: ClipConfig, num_frames: Int64[np.ndarray, "N"], duration_s: Float64[np.ndarray, "N"]
) -> str:
    # The tenth part of the clips, rounded down, may stay short.
    rank = int(MAX_SHORT_SHARE * len(num_frames))
    if clip.fps is None:
        frames = int(np.sort(num_frames)[rank])
        step = frames // clip.num_frames
        if step:
            return f"--clip.frame-step {step} fits 90 % of them"
        return f"--clip.num-frames {frames} --clip.frame-step 1 fits 90 % of them"
    rate = math.ceil(clip.num_frames / float(np.sort(duration_s)[rank]) * 10) / 10
    return f"--clip.fps {rate:g} fits 90 % of them"
