"""Arm `pixel`: V-Pixel, what SALT's teacher is, with all of the budget and no student."""

from dataclasses import replace

from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.presets.arms._one_stage import student_alone


def pixel(base: SaltRunConfig) -> PretrainConfig:
    """The student's encoder, predictor and masks on the teacher's target, by its optimiser."""
    config, teacher = student_alone(base), base.teacher
    stage = replace(config.stage, method=teacher.method, optim=teacher.optim)
    return replace(config, stage=stage)
