"""`vsalt doctor`: what is installed, whether it works, and what mends it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from vsalt.cli.parse import parse
from vsalt.errors import printable

if TYPE_CHECKING:
    from vsalt.doctor.finding import Finding


@dataclass(frozen=True, kw_only=True)
class DoctorArgs:
    """Look at versions, devices, codecs and extras, and name the command that mends what is wrong.

    The exit code is 1 if something has to be mended. An extra that is not installed is no fault
    unless --need names it.
    """

    need: tuple[str, ...] = ()
    """Extras that must be there, such as parquet sklearn, or cuda for a GPU."""
    json: bool = False
    """Print one JSON object."""


def doctor(words: Sequence[str], prog: str) -> int:
    """Run the verb `doctor`."""
    args = parse(DoctorArgs, words, prog)
    from vsalt.doctor.examine import examine
    from vsalt.doctor.finding import is_well

    findings = examine(args.need)
    if args.json:
        found = {"ok": is_well(findings), "findings": [asdict(finding) for finding in findings]}
        print(json.dumps(found, indent=2))
    else:
        for line in describe(findings):
            print(printable(line))
    return 0 if is_well(findings) else 1


def describe(findings: Sequence["Finding"]) -> list[str]:
    """Return the findings as lines, and a last one that sums up."""
    lines = []
    width = max(len(finding.name) for finding in findings)
    for section, own in groupby(findings, key=lambda finding: finding.section):
        lines.append(section)
        for finding in own:
            mark = "" if finding.state == "ok" else finding.state
            lines.append(f"  {mark:<9}{finding.name:<{width}}  {finding.value}")
            if finding.mend:
                lines.append(f"  {'':<9}{'':<{width}}  → {finding.mend}")
    bad = [finding.name for finding in findings if finding.state == "bad"]
    missing = [finding.name for finding in findings if finding.state == "missing"]
    if bad:
        lines.append(f"to be mended: {', '.join(bad)}")
    elif missing:
        lines.append(f"all is well; extras that are not installed: {', '.join(missing)}")
    else:
        lines.append("all is well")
    return lines
