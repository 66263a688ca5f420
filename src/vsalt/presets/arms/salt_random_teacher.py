"""Arm `salt-random-teacher`: the teacher learns under masks of single tokens."""

from dataclasses import replace

from vsalt.config import SaltRunConfig
from vsalt.masking.config import RandomConfig


def salt_random_teacher(base: SaltRunConfig) -> SaltRunConfig:
    """As many masks per clip as the preset's teacher has, each hiding 90 % of the tokens."""
    num_masks = len(base.teacher.masks.kind_names)
    masks = RandomConfig(ratio=0.9, num_masks=num_masks)
    return replace(base, teacher=replace(base.teacher, masks=masks))
