"""What encoders are called in tables: first what they are to their run, then where they lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

STAGE_OF_METHOD = {"pixel": "teacher", "salt": "student"}
"""What a stage outside of a salt run counts as."""
_OF_STAGE = {
    "teacher": (("student", "teacher"), ("assistant", "teacher"), ("teacher",)),
    "assistant": (("assistant",),),
    "student": (("student",),),
}
"""Ends of a path that say no more than the stage itself does."""


@dataclass(frozen=True)
class EncoderName:
    """A name of two parts.

    Attributes:
        role: what it is; without a stage the name that it was given.
        place: what tells it from others of this role; may be empty.
    """

    role: str
    place: str = ""

    def __str__(self) -> str:
        """Return both in one line."""
        return f"{self.role} ({self.place})" if self.place else self.role


def name_encoders(
    given: Sequence[tuple[str, str | None]], *, longest: int | None = None
) -> list[EncoderName]:
    """Return names that differ where the given ones do.

    The place is the run; the whole path where two encoders of a role would be called the same.

    Args:
        given: of each encoder the name it was given, as a rule its path, and its stage; None where
            there is no stage, or it is not known.
        longest: characters of a name above which leading folders of its place give way to an
            ellipsis, unless two names would become the same.

    Example:
        >>> [str(name) for name in name_encoders([("a/run", "student"), ("random init", None)])]
        ['student (a/run)', 'random init']
    """
    names = [_name(name, stage) for name, stage in given]
    alike = {name.role for name in names if names.count(name) > 1}
    whole = [
        EncoderName(name.role, path) if name.place and name.role in alike else name
        for name, (path, _) in zip(names, given, strict=True)
    ]
    if longest is None:
        return whole
    short = [_shortened(name, longest) for name in whole]
    return [cut if short.count(cut) == 1 else name for cut, name in zip(short, whole, strict=True)]


def _name(name: str, stage: str | None) -> EncoderName:
    if stage is None or stage == name:
        return EncoderName(name)
    parts = PurePath(name).parts
    for end in _OF_STAGE.get(stage, ()):
        if len(parts) > len(end) and parts[-len(end) :] == end:
            return EncoderName(stage, str(PurePath(*parts[: -len(end)])))
    return EncoderName(stage, name)


def _shortened(name: EncoderName, longest: int) -> EncoderName:
    parts = PurePath(name.place).parts
    cut = name
    for first in range(1, len(parts)):
        if len(str(cut)) <= longest:
            break
        cut = EncoderName(name.role, "/".join(("…", *parts[first:])))
    return cut
