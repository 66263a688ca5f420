"""Settings of attentive probes, and the protocols of the SALT paper.

A protocol is a set of defaults (arXiv 2509.24317, its tables of evaluation settings); what the
paper leaves open follows V-JEPA 2's evaluation code (facebookresearch/vjepa2), from which SALT
takes its probe.
"""

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Literal

import tyro

from vsalt.data.config import ClipConfig, crop_problems
from vsalt.errors import ConfigError, report_problems

LR_SWEEP = (5e-3, 3e-3, 1e-3, 3e-4, 1e-4)
WEIGHT_DECAY_SWEEP = (0.8, 0.4, 0.1, 0.01)


@dataclass(frozen=True, kw_only=True)
class AttentiveConfig:
    """How an attentive probe is trained and tested."""

    mode: Literal["paper", "hf"] = "paper"
    """paper: 16 attention heads or `heads`, norms with eps 1e-5, as in V-JEPA 2's evaluation. hf:
    as many heads as the encoder, eps 1e-6, as transformers' VJEPA2ForVideoClassification has."""
    heads: int | None = None
    """Attention heads of the probe in mode paper; must divide the encoder's width. Unset: 16."""
    epochs: int = 20
    """Passes over the training rows."""
    batch_size: int = 64
    """Rows per step."""
    lr: tuple[float, ...] = (1e-3,)
    """Peak learning rates; with several, and with several weight decays, one probe is trained for
    every pair, all in one pass over the features."""
    weight_decay: tuple[float, ...] = (0.01,)
    """Weight decays of AdamW, on all parameters of the probe."""
    select: Literal["selection", "test"] = "selection"
    """Where the best of several probes is chosen. selection: on a part of the training rows, then
    trained again on all of them. test: on the test rows, as the paper reports it; optimistic."""
    segments: int = 1
    """Parts of a row that give one window each; the probe sees the tokens of all of them."""
    views: int = 1
    """Crops of a test window along its long side, over which probabilities are averaged."""
    num_frames: int | None = None
    """Frames of a window; unset: as in pretraining."""
    frame_step: int | None = None
    """Frames from one to the next; unset: as in pretraining."""
    size: tuple[int, int] | None = None
    """Height and width in pixels; unset: as in pretraining."""
    spacing: Literal["exact", "linspace"] | None = None
    """How the frames of a window are spaced; unset: as in pretraining."""
    antialias: bool | None = None
    """Average over source pixels when shrinking; unset: as in pretraining."""
    layers: tuple[int, ...] = (-1,)
    """Encoder blocks whose tokens the probe sees side by side; -1 is the last."""
    features: Annotated[Literal["cached", "online"], tyro.conf.arg(aliases=("--features",))] = (
        "cached"
    )
    """cached: the encoder's tokens of `cached_views` views of every training row are computed once
    and kept on disk while the probe trains. online: they are computed anew in every epoch."""
    cached_views: int = 1
    """Randomly drawn views of every training row that are cached, used in turn by the epochs."""
    augment: Literal["none", "crop", "randaugment"] = "crop"
    """Training views. none: the middle. crop: a random crop. randaugment: RandAugment, too."""
    crop_scale: tuple[float, float] = (0.3, 1.0)
    """Area of a random crop as a share of the frame."""
    crop_ratio: tuple[float, float] = (0.75, 4 / 3)
    """Width over height of a random crop."""
    erase: float = 0.0
    """Probability that a box of a training view is replaced by noise."""
    flip: float = 0.0
    """Probability of a left-right flip of a training view; 0 where left and right are labels."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = [
            f"attentive.{name.replace('_', '-')} is {getattr(self, name)}; it must be at least 1"
            for name in ("epochs", "batch_size", "segments", "views", "cached_views")
            if getattr(self, name) < 1
        ]
        if self.heads is not None and self.heads < 1:
            problems.append(f"attentive.heads is {self.heads}; it must be at least 1")
        if self.heads is not None and self.mode == "hf":
            problems.append(
                f"attentive.heads is {self.heads}, but --attentive.mode hf takes the encoder's own "
                "number; leave one of them out"
            )
        problems += [
            f"attentive.{name} is {getattr(self, name)}; it must be in [0, 1]"
            for name in ("erase", "flip")
            if not 0 <= getattr(self, name) <= 1
        ]
        if not self.lr or not all(0 < lr < math.inf for lr in self.lr):
            problems.append(f"attentive.lr is {self.lr}; give one or more numbers above 0")
        if not self.weight_decay or not all(0 <= w < math.inf for w in self.weight_decay):
            problems.append(
                f"attentive.weight-decay is {self.weight_decay}; give one or more numbers from 0"
            )
        for name in ("lr", "weight_decay", "layers"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                flag = name.replace("_", "-")
                problems.append(f"attentive.{flag} is {values}; each number may be given once")
        problems += crop_problems("attentive.", self.crop_scale, self.crop_ratio)
        if self.augment == "none" and (self.erase or self.flip):
            problems.append(
                f"attentive.erase is {self.erase} and attentive.flip {self.flip}, but "
                "--attentive.augment none changes nothing; set them to 0"
            )
        if self.features == "cached" and self.cached_views > self.epochs:
            problems.append(
                f"attentive.cached-views is {self.cached_views}, more than the {self.epochs} "
                "epochs that would use them"
            )
        if self.features == "online" and self.cached_views != 1:
            problems.append(
                f"attentive.cached-views is {self.cached_views}, but --attentive.features online "
                "caches nothing; leave one of them out"
            )
        if not self.layers:
            problems.append("attentive.layers is empty; -1 is the last block")
        report_problems(problems)

    @property
    def settings(self) -> list[dict[str, float]]:
        """The pairs of learning rate and weight decay, one per probe."""
        pairs = product(self.lr, self.weight_decay)
        return [{"lr": lr, "weight_decay": decay} for lr, decay in pairs]

    @property
    def chooses_on_test(self) -> bool:
        """Whether the best of several probes is chosen on the test rows."""
        return self.select == "test" and len(self.settings) > 1

    def clip(self, pretraining: ClipConfig) -> ClipConfig:
        """Return the windows for an encoder: its own, with what is set here.

        Raises:
            ConfigError: if they make no clip.
        """
        given = {
            name: getattr(self, name)
            for name in ("num_frames", "frame_step", "size", "spacing")
            if getattr(self, name) is not None
        }
        if "frame_step" in given:
            given["fps"] = None  # a step in frames replaces a rate
        try:
            return replace(pretraining, **given)
        except ConfigError as error:
            raise ConfigError([f"attentive: {problem}" for problem in error.problems]) from error


_VIDEO = AttentiveConfig(
    num_frames=16,
    frame_step=4,
    size=(224, 224),
    spacing="linspace",
    antialias=False,
    batch_size=256,
    augment="randaugment",
    crop_scale=(0.08, 1.0),
    erase=0.25,
    features="online",
)
_SWEEP = replace(_VIDEO, lr=LR_SWEEP, weight_decay=WEIGHT_DECAY_SWEEP, select="test", views=3)
_MOTION = replace(_VIDEO, segments=4, views=3, frame_step=2, batch_size=128)

PROTOCOLS: dict[str, AttentiveConfig] = {
    "k400": replace(_SWEEP, segments=8),
    "k400-fast": _VIDEO,
    "ssv2": replace(_SWEEP, segments=2),
    "ssv2-fast": _VIDEO,
    "coin": replace(_VIDEO, segments=8, views=3),
    "jester": _MOTION,
    "diving48": _MOTION,
    # An image is repeated to 16 frames.
    "in1k": replace(_VIDEO, batch_size=1024, flip=0.5, frame_step=1),
}
"""By data set. `fast` is what the paper uses for its ablations: one window, one probe."""


def protocol(name: str) -> AttentiveConfig:
    """Return the settings of a protocol.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in PROTOCOLS:
        raise ConfigError([f"protocol {name!r} does not exist; there are {', '.join(PROTOCOLS)}"])
    return PROTOCOLS[name]
