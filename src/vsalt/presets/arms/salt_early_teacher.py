"""Arm `salt-early-teacher`: the teacher is stopped before its learning rate has come down."""

from dataclasses import replace

from vsalt.config import SaltRunConfig

SHARE = 1 / 4
"""Of the teacher's steps, that it does."""


def salt_early_teacher(base: SaltRunConfig) -> SaltRunConfig:
    """A quarter of the teacher's steps, with the schedules of all of them."""
    loop = base.teacher.loop
    stop_at = max(1, round(SHARE * loop.steps))
    return replace(base, teacher=replace(base.teacher, loop=replace(loop, stop_at=stop_at)))
