"""What arms of one stage share: the student's network and masks, and the steps of all stages."""

from dataclasses import replace

from vsalt.config import PretrainConfig, SaltRunConfig, StageConfig


def student_alone(base: SaltRunConfig) -> PretrainConfig:
    """Return the student's stage as a run of its own that has the steps of all stages.

    At one number of steps a run without a teacher is cheaper than one with it; budgets in FLOPs
    put that right.
    """
    config = base.stage("student")
    stages: list[StageConfig] = [getattr(base, name) for name in base.stages]
    loop = config.stage.loop.with_steps(sum(stage.loop.steps for stage in stages))
    return replace(config, stage=replace(config.stage, loop=loop))
