"""One thing that `vsalt doctor` has looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "missing", "bad"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was looked at, and what it is like.

    Attributes:
        section: what it belongs to: machine, packages, devices, codecs, extras.
        name: what was looked at.
        value: what was found, in words.
        state: ok; note: works, but is worth knowing; missing: can be done without; bad: has to be
            mended.
        mend: the command, or the words, that change it; empty where nothing needs to.
    """

    section: str
    name: str
    value: str
    state: State = "ok"
    mend: str = ""


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether nothing has to be mended."""
    return all(finding.state != "bad" for finding in findings)
