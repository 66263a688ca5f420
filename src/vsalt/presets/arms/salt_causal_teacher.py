"""Arm `salt-causal-teacher`: the teacher sees the beginning of clips and predicts the rest."""

from dataclasses import replace

from vsalt.config import SaltRunConfig
from vsalt.masking.config import CausalConfig


def salt_causal_teacher(base: SaltRunConfig) -> SaltRunConfig:
    """As many masks per clip as the preset's teacher has, with nine tenths to predict.

    SALT's table 15 has two causal masks of this ratio; docs/decisions/0010-causal-masks.md says
    what they are taken to be.
    """
    num_masks = len(base.teacher.masks.kind_names)
    masks = CausalConfig(ratio=0.9, num_masks=num_masks)
    return replace(base, teacher=replace(base.teacher, masks=masks))
