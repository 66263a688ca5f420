"""Arm `salt-tube-teacher`: the teacher learns under VideoMAE's tube masks."""

from dataclasses import replace

from vsalt.config import SaltRunConfig
from vsalt.masking.config import TubeConfig


def salt_tube_teacher(base: SaltRunConfig) -> SaltRunConfig:
    """As many masks per clip as the preset's teacher has (SALT's "random tube", table 15)."""
    num_masks = len(base.teacher.masks.kind_names)
    masks = TubeConfig(ratio=0.9, num_masks=num_masks)
    return replace(base, teacher=replace(base.teacher, masks=masks))
