"""`vsalt linear check`: whether theory, ODE and trained matrices agree."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from vsalt.cli.parse import parse
from vsalt.errors import VsaltError

if TYPE_CHECKING:
    from rich.table import Table

    from vsalt.linear.check_row import Row


@dataclass(frozen=True, kw_only=True)
class CheckArgs:
    """Compare the formulas of the linear lab with its ODE and with trained matrices.

    Exits with 0 when every error is within what is allowed, and with 1 when one is not. Takes
    about half a minute on one core.
    """

    json: bool = False
    """Print a list of {name, error, allowed} and nothing else; null is an infinite error."""


def check(words: Sequence[str], prog: str) -> int:
    """Run the verb `linear check`; return 1 if an error is above what is allowed, else 0."""
    args = parse(CheckArgs, words, prog)
    if find_spec("scipy") is None:
        raise VsaltError("the linear lab needs scipy: pip install 'vsalt[linear]'")
    from rich.console import Console

    from vsalt.linear.check import check_rows

    rows = []
    with Console(stderr=True).status("checking") as status:
        for row in check_rows():
            rows.append(row)
            status.update(f"{len(rows)} claims checked")
    if args.json:
        print(json.dumps([_plain(row) for row in rows], indent=1, allow_nan=False))
    else:
        console = Console(markup=False, highlight=False)
        console.print(_table(rows))
        console.print(_verdict(rows), soft_wrap=True)
    return 0 if all(row.ok for row in rows) else 1


def _plain(row: "Row") -> dict[str, str | float | None]:
    plain = asdict(row)
    if row.error == float("inf"):
        plain["error"] = None
    return plain


def _table(rows: Sequence["Row"]) -> "Table":
    from rich.table import Table

    table = Table("claim", "")
    for heading in ("error", "allowed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name, "" if row.ok else "too large", f"{row.error:.1e}", f"{row.allowed:.0e}"
        )
    return table


def _verdict(rows: Sequence["Row"]) -> str:
    bad = [row.name for row in rows if not row.ok]
    if not bad:
        return f"all {len(rows)} errors are within what is allowed"
    return f"{len(bad)} of {len(rows)} errors are too large: " + "; ".join(bad)
