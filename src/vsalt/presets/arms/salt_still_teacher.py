"""Arm `salt-still-teacher`: the teacher never sees anything move."""

from dataclasses import replace

from vsalt.config import SaltRunConfig


def salt_still_teacher(base: SaltRunConfig) -> SaltRunConfig:
    """The teacher learns from single random frames of the same videos; the student from clips."""
    return replace(base, teacher=replace(base.teacher, still_frames=True))
