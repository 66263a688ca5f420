"""`vsalt flops paper`: whether our counting gives SALT's tables."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vsalt.cli.parse import parse
from vsalt.compute.paper_check import PaperRow, paper_rows

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class PaperArgs:
    """Compute the numbers of SALT's tables of compute, and compare them with what is printed.

    A number agrees if it has the printed digits or is within 0.5 %. Where the paper contradicts
    itself, the row says how. Exits with 0 when all others agree, else with 1.
    """

    json: bool = False
    """Print a list of {name, unit, printed, computed, parts, agrees, known_conflict}, no more."""


def paper(words: Sequence[str], prog: str) -> int:
    """Run the verb `flops paper`; return 1 if a number disagrees for no known reason, else 0."""
    args = parse(PaperArgs, words, prog)
    rows = paper_rows()
    if args.json:
        print(json.dumps([_plain(row) for row in rows], indent=1, allow_nan=False))
    else:
        from rich.console import Console

        console = Console(markup=False, highlight=False)
        console.print(_table(rows))
        for line in _notes(rows):
            console.print(line)
    return 0 if all(row.is_fine for row in rows) else 1


def _plain(row: PaperRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "unit": row.unit,
        "printed": float(row.printed),
        "computed": row.computed,
        "parts": [{"printed": float(printed), "computed": number} for printed, number in row.parts],
        "agrees": row.agrees,
        "known_conflict": row.known_conflict,
    }


def _table(rows: Sequence[PaperRow]) -> "Table":
    from rich.table import Table

    table = Table(title="SALT's tables, computed", title_justify="left", title_style="bold")
    table.add_column("")
    for name in ("printed", "computed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("agrees", no_wrap=True)
    marks = _marks(rows)
    unit = ""
    for row in rows:
        if row.unit != unit:
            unit = row.unit
            table.add_section()
            table.add_row(f"in {unit}")
        table.add_row(row.name, row.printed, _number(row), _verdict(row, marks))
        for printed, number in row.parts:
            table.add_row("    of it", printed, f"{number:.4g}")
    return table


def _verdict(row: PaperRow, marks: dict[str, int]) -> str:
    """Say what the last line counts: a total that another table contradicts is no agreement."""
    if row.known_conflict is not None:
        return f"conflict [{marks[row.known_conflict]}]"
    return "yes" if row.agrees else "no"


def _marks(rows: Sequence[PaperRow]) -> dict[str, int]:
    """Number the reasons in the order of the rows."""
    reasons = dict.fromkeys(row.known_conflict for row in rows if row.known_conflict is not None)
    return {reason: number for number, reason in enumerate(reasons, start=1)}


def _number(row: PaperRow) -> str:
    return f"{row.computed:,.0f}" if row.computed >= 1e3 else f"{row.computed:.4g}"


def _notes(rows: Sequence[PaperRow]) -> list[str]:
    """Say what is known of the numbers that do not agree, and how many agree."""
    lines = [f"[{number}] {reason}" for reason, number in _marks(rows).items()]
    bad = [row.name for row in rows if not row.is_fine]
    known = sum(row.known_conflict is not None for row in rows)
    agree = sum(row.agrees and row.known_conflict is None for row in rows)
    total = f"{agree} of {len(rows)} agree; {known} are known conflicts of the paper with itself"
    parts = (
        "of it: all stages but the last, and the last. Verdicts are on sums; the part 0.061 is the "
        "printed 0.121 halved, where the formula gives 0.0605"
    )
    return [*lines, parts, total, *([f"disagree: {', '.join(bad)}"] if bad else [])]
