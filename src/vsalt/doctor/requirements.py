"""The packages that vsalt needs and those of its extras, as its own metadata names them.

Nothing but the standard library is used, as any package may be what is broken.
"""

import re
from collections.abc import Sequence
from importlib import metadata
from operator import eq, ge, gt, le, lt, ne
from typing import NamedTuple

_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)(?:\[[^]]*\])?\s*(?P<bounds>[^;]*?)\s*"
    r"(?:;\s*extra\s*==\s*['\"](?P<extra>[\w-]+)['\"])?"
)
_BOUND = re.compile(r"(>=|<=|==|!=|>|<)\s*(\d+(?:\.\d+)*)")
_COMPARE = {">=": ge, "<=": le, "==": eq, "!=": ne, ">": gt, "<": lt}
_MODULES = {
    "scikit-learn": "sklearn",
    # Of itself it loads nothing, and so would not tell that a torchvision does not fit torch.
    "transformers": "transformers.models.vjepa2.modeling_vjepa2",
}
"""Modules to import, where they are not named as the packages."""
FOR_DEVELOPERS = "dev"


class Requirement(NamedTuple):
    """A package that is needed.

    Attributes:
        name: of the package.
        bounds: which versions do, such as `<19,>=17`.
        extra: the extra that needs it; None if vsalt always does.
    """

    name: str
    bounds: str
    extra: str | None

    @property
    def module(self) -> str:
        """The name to import."""
        return _MODULES.get(self.name, self.name.replace("-", "_"))

    def allows(self, version: str) -> bool:
        """Whether a version is within the bounds, by the numbers of its release."""
        given = _numbers(version)
        return all(
            _COMPARE[sign](*_of_one_length(given, _numbers(bound)))
            for sign, bound in _BOUND.findall(self.bounds)
        )

    def installed(self) -> str | None:
        """Return the version that is installed; None if none is."""
        try:
            return metadata.version(self.name)
        except metadata.PackageNotFoundError:
            return None


def read_requirements(lines: Sequence[str] | None = None) -> list[Requirement]:
    """Return what vsalt needs, without what only its developers do.

    Args:
        lines: requirements as package metadata writes them; None: those of the installed vsalt.
    """
    if lines is None:
        lines = metadata.requires("vsalt") or []
    found = []
    for line in lines:
        match = _REQUIREMENT.fullmatch(line.strip())
        assert match is not None, f"{line!r} is a requirement of a kind that is not read"
        found.append(Requirement(match["name"], match["bounds"], match["extra"]))
    return [one for one in found if one.extra != FOR_DEVELOPERS]


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _of_one_length(
    one: tuple[int, ...], other: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    length = max(len(one), len(other))
    return one + (0,) * (length - len(one)), other + (0,) * (length - len(other))
