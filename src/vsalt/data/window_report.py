"""The run's first question to its data: are the videos long enough for the clips?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vsalt.data.config import ClipConfig
from vsalt.data.manifest import Row
from vsalt.data.sampling import Stretch, clip_window_s, stretch
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
    rows: Sequence[Row], clip: ClipConfig, *, seed: int, max_clips: int = 512
) -> WindowReport:
    """Compare the length of up to `max_clips` clips, chosen by the seed, with the window."""
    chosen = keyed_permutation(len(rows), "window-report", seed)[:max_clips]
    parts: list[Stretch] = []
    for index in chosen:
        row = rows[int(index)]
        try:
            parts.append(stretch(probe(row.media), start_s=row.start_s, end_s=row.end_s))
        except DecodeError:
            # The run meets it too, and then it is written down and counted.
            continue
    return WindowReport(
        num_clips=len(parts),
        num_short=sum(_is_short(clip, part) for part in parts),
        num_unreadable=len(chosen) - len(parts),
        fitting=_fitting(clip, parts) if parts else "",
    )


def _is_short(clip: ClipConfig, part: Stretch) -> bool:
    if clip.fps is None:
        return part.num_frames < clip.num_frames * clip.frame_step
    # A clip that is short by less than a frame repeats nothing.
    return part.duration_s < clip_window_s(clip, part.fps) - 1 / part.fps


def _fitting(clip: ClipConfig, parts: Sequence[Stretch]) -> str:
    # The tenth part of the clips, rounded down, may stay short.
    rank = int(MAX_SHORT_SHARE * len(parts))
    if clip.fps is None:
        frames = sorted(part.num_frames for part in parts)[rank]
        step = frames // clip.num_frames
        if step:
            return f"--clip.frame-step {step} fits 90 % of them"
        return f"--clip.num-frames {frames} --clip.frame-step 1 fits 90 % of them"
    duration_s = sorted(part.duration_s for part in parts)[rank]
    rate = math.ceil(clip.num_frames / duration_s * 10) / 10
    return f"--clip.fps {rate:g} fits 90 % of them"
