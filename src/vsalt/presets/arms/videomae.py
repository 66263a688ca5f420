"""Arm `videomae`: pixels under tube masks (arXiv 2203.12602)."""

from dataclasses import replace

from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.masking.config import TubeConfig
from vsalt.presets.arms.pixel import pixel

RATIO = 0.9
"""Share of the places that VideoMAE hides, under one mask per clip."""


def videomae(base: SaltRunConfig) -> PretrainConfig:
    """The arm `pixel` with VideoMAE's masks, and so with one pass per clip where it has two."""
    config = pixel(base)
    return replace(config, stage=replace(config.stage, masks=TubeConfig(ratio=RATIO)))
