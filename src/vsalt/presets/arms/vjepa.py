"""Arm `vjepa`: the target is a moving average of the student itself (arXiv 2404.08471)."""

from dataclasses import replace

from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.objectives.config import VjepaConfig
from vsalt.presets.arms._one_stage import student_alone

BETAS = (0.9, 0.999)
STRETCH = 1.25
CLIP_NORM = 10.0
"""V-JEPA's own, of its table of hyper-parameters and its code."""


def vjepa(base: SaltRunConfig) -> PretrainConfig:
    """The student's network and masks, with what belongs to V-JEPA's way of training.

    Its schedules are stretched and end early, so that the average still follows at the end; its
    AdamW forgets squares more slowly; gradients are clipped after warm-up, at a norm that few
    reach. Learning rates and weight decay are the preset's.
    """
    config = student_alone(base)
    optim = replace(
        config.stage.optim,
        betas=BETAS,
        schedule_stretch=STRETCH,
        clip_norm=CLIP_NORM,
        clip_after_warmup=True,
    )
    return replace(config, stage=replace(config.stage, method=VjepaConfig(), optim=optim))
