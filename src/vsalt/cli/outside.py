"""What reads teachers from outside, for the verbs that may meet one."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vsalt.config import StageConfig
    from vsalt.targets.outside import OutsideTeacher


def read_outside(source: str, stage: "StageConfig") -> "OutsideTeacher":
    """Read a model of transformers; nothing is imported before one is met."""
    from vsalt.interop.teachers.read import read_hf_teacher

    return read_hf_teacher(source, stage)
