"""Arm `salt-3stage`: a first student is frozen and teaches a second one."""

from dataclasses import replace

from vsalt.config import SaltRunConfig
from vsalt.errors import ConfigError


def salt_3stage(base: SaltRunConfig) -> SaltRunConfig:
    """The student's steps are shared evenly by an assistant of the teacher's size and the student.

    So SALT splits 80k + 160k steps into 80k + 80k + 80k (table 16). A student of an odd number of
    steps has one more than its assistant.

    Raises:
        ConfigError: if the preset has three stages already, or the student has one step only.
    """
    student = base.student
    first = student.loop.steps // 2
    if base.assistant is not None:
        raise ConfigError(["arm salt-3stage: the preset has three stages; take it without an arm"])
    if not first:
        raise ConfigError(["arm salt-3stage: the preset's student has too few steps to be halved"])
    assistant = replace(
        student,
        encoder=base.teacher.encoder,
        loop=student.loop.with_steps(first),
    )
    rest = student.loop.with_steps(student.loop.steps - first)
    return replace(base, assistant=assistant, student=replace(student, loop=rest))
