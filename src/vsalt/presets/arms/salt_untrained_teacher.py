"""Arm `salt-untrained-teacher`: the student predicts a network that nobody has trained."""

from dataclasses import replace

from vsalt.config import SaltRunConfig


def salt_untrained_teacher(base: SaltRunConfig) -> SaltRunConfig:
    """The teacher's initial weights are its result."""
    loop = replace(base.teacher.loop, steps=0, stop_at=None)
    return replace(base, teacher=replace(base.teacher, loop=loop))
