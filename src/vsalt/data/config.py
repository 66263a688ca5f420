"""Settings of clips and of the data they come from."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

import tyro

from vsalt.errors import report_problems

Shape: TypeAlias = Literal["video", "image"]
CacheKind: TypeAlias = Literal["none", "ram", "disk"]
"""What a batch is made of: clips of videos, or of images, which have one time step."""
SHAPES: tuple[Shape, ...] = ("video", "image")
ROW_COLUMNS = ("label", "split", "group", "weight")


def crop_problems(prefix: str, scale: tuple[float, float], ratio: tuple[float, float]) -> list[str]:
    """Return what is wrong with the ranges of random crops; `prefix` comes before their names."""
    problems = []
    if not 0 < scale[0] <= scale[1] <= 1:
        problems.append(f"{prefix}crop-scale is {scale}; it must be 0 < low <= high <= 1")
    if not 0 < ratio[0] <= ratio[1] < math.inf:
        problems.append(f"{prefix}crop-ratio is {ratio}; it must be 0 < low <= high, finite")
    return problems


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """What a clip is: how many frames, how far apart, how large."""

    num_frames: int = 16
    """Frames of a clip."""
    size: tuple[int, int] = (224, 224)
    """Height and width in pixels after cropping."""
    frame_step: int = 4
    """Take every n-th frame of the video. Not used when `fps` is given."""
    fps: float | None = None
    """Take frames at this rate (frames per second) by timestamp, instead of by `frame_step`."""
    spacing: Literal["exact", "linspace"] = "exact"
    """exact: frames start + i * step. linspace: V-JEPA's rule, the window of frames * step is cut
    evenly with both ends included, so the true spacing is step * n / (n - 1)."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if self.num_frames < 1:
            problems.append(f"clip.num-frames is {self.num_frames}; it must be at least 1")
        if min(self.size) < 1:
            problems.append(f"clip.size is {self.size}; both numbers must be at least 1")
        if self.frame_step < 1:
            problems.append(f"clip.frame-step is {self.frame_step}; it must be at least 1")
        if self.fps is not None and not 0 < self.fps < math.inf:
            problems.append(f"clip.fps is {self.fps}; it must be above 0, and finite")
        report_problems(problems)


CLIP_TIMEOUT_S = 25.0
"""Seconds that a training clip may take unless told otherwise: so few that also a worker which must
be replaced (2 * 25 + 5 seconds) does not keep other processes waiting for more than a minute."""


@dataclass(frozen=True, kw_only=True)
class ReadLimits:
    """What a file may cost before it counts as unreadable; inf sets no limit."""

    timeout_s: float = 60.0
    """Seconds that reading one clip may take. A worker process that does not end by itself soon
    after is replaced."""
    max_pixels: int = 1 << 26
    """Pixels of a frame, height times width."""
    max_fps: float = 1000.0
    """Frames per second."""
    max_duration_s: float = 86400.0
    """Length of a video in seconds."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        for name in ("timeout_s", "max_pixels", "max_fps", "max_duration_s"):
            value = getattr(self, name)
            if not value > 0:
                flag = name.replace("_", "-")
                problems.append(f"limits.{flag} is {value}; it must be above 0")
        report_problems(problems)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where clips come from and how they are cut out."""

    sources: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(aliases=("--data",))
    ] = ()
    """A folder of videos and images, a manifest (.csv, .tsv, .jsonl, .parquet) or a folder of
    shards with its index, as PATH or PATH@WEIGHT. Without any, synthetic videos are made beside the
    run. May be repeated; without weights a source's share of every batch is its share of the clips.
    In a folder every image is a clip of its own; frames that were cut out of videos should be made
    videos again first."""
    label_column: str = "label"
    """Manifest column of labels."""
    split_column: str = "split"
    """Manifest column that says train or test."""
    group_column: str = "group"
    """Manifest column of groups (people, scenes, patients) that are never torn apart."""
    weight_column: str = "weight"
    """Manifest column of sampling weights within a source."""
    use_test: bool = False
    """Pretrain on rows whose split is test, too."""
    holdout: float = 0.05
    """Share of the training rows, by group, kept aside for val_loss."""
    holdout_clips: int = 256
    """At most so many held-out clips are used for one val_loss."""
    workers: int = 2
    """Worker processes that decode; 0 decodes in the main process."""
    prefetch: int = 2
    """Batches that each worker prepares ahead."""
    max_bad_share: float = 0.01
    """Stop when more than this share of the clips could not be read."""
    limits: ReadLimits = field(default_factory=lambda: ReadLimits(timeout_s=CLIP_TIMEOUT_S))
    """What a file may cost before it counts as unreadable."""
    cache: CacheKind = "none"
    """Keep decoded frames at full size, for small sets: in memory that all workers share, or in
    files that later runs use again. Clips have the same pixels as without."""
    cache_dir: str | None = None
    """Folder of --data.cache disk; by default vsalt/frames in the user's cache folder. What is no
    longer wanted is removed by removing the folder."""
    crop_scale: tuple[float, float] = (0.3, 1.0)
    """Area of the crop box as a share of the frame, drawn once per clip."""
    crop_ratio: tuple[float, float] = (0.75, 1.35)
    """Width over height of the crop box, drawn log-uniformly once per clip."""
    flip: float = 0.5
    """Probability of a left-right flip, drawn once per clip. 0 where left and right are labels."""
    views: int | None = None
    """Draw crop, flip and times so often for every clip of the data, once and for all, and take one
    of these views at random each time. Unset: they are drawn anew each time."""
    repeats: int = 1
    """Use every decoded clip so often, at neighbouring positions of one batch: the same frames,
    each time with a crop, a flip and masks of its own. So 1 / repeats of the clips are decoded."""
    antialias: bool = True
    """Average over source pixels when shrinking. V-JEPA's own pipeline does not."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if not 0 <= self.holdout < 1:
            problems.append(f"data.holdout is {self.holdout}; it must be in [0, 1)")
        if self.holdout_clips < 1:
            problems.append(f"data.holdout-clips is {self.holdout_clips}; it must be at least 1")
        if self.views is not None and self.views < 1:
            problems.append(f"data.views is {self.views}; it must be at least 1, or left unset")
        if self.repeats < 1:
            problems.append(f"data.repeats is {self.repeats}; it must be at least 1")
        if self.repeats > 1 and self.views is not None:
            problems.append(
                f"data.repeats is {self.repeats} and data.views {self.views}; fixed views, such as "
                "those of cached targets, have times of their own, so no two can be cut from one "
                "decoded clip: give one of the two"
            )
        if self.workers < 0:
            problems.append(f"data.workers is {self.workers}; it must be 0 or more")
        if self.prefetch < 1:
            problems.append(f"data.prefetch is {self.prefetch}; it must be at least 1")
        if not 0 <= self.max_bad_share <= 1:
            problems.append(f"data.max-bad-share is {self.max_bad_share}; it must be in [0, 1]")
        problems += crop_problems("data.", self.crop_scale, self.crop_ratio)
        if not 0 <= self.flip <= 1:
            problems.append(f"data.flip is {self.flip}; it must be in [0, 1]")
        report_problems(problems)
