"""`vsalt compare`: arms at matched FLOPs, with intervals, as one resumable job."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vsalt.cli.parse import load_toml, parse
from vsalt.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from vsalt.compare.spec import CompareSpec


@dataclass(frozen=True, kw_only=True)
class CompareArgs:
    """Train arms at the same FLOPs, teacher included, and compare them on clips none has seen.

    SPEC says what is compared (examples/compare-tiny.toml is one). What is done in OUT is kept:
    the same command goes on where it was stopped or killed.
    """

    spec: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SPEC")]
    """A TOML file."""
    out: Path
    """Folder of all that is made; may hold this comparison, interrupted."""
    workers: int | None = None
    """Cells at a time, each in a process of its own with its GPU or its share of the CPU's threads.
    Unset: one per visible GPU; without GPUs one."""
    hours: float | None = None
    """Begin no cell that would not end within so many hours, judged by those that are done."""
    page_only: bool = False
    """Begin no cell, and write the page and the results of what is done."""
    dry_run: bool = False
    """Read the data, print the matrix, its FLOPs, its disk and what is done of it, and stop."""
    flops_per_second: float | None = None
    """Exact operations per second of your device, for the time that --dry-run prints."""


def compare(words: Sequence[str], prog: str) -> int:
    """Run the verb `compare`."""
    args = parse(CompareArgs, words, prog)
    problems = []
    if args.workers is not None and args.workers < 1:
        problems.append(f"--workers is {args.workers}; it must be at least 1")
    if args.hours is not None and not args.hours > 0:
        problems.append(f"--hours is {args.hours}; it must be above 0")
    if args.page_only and args.hours is not None:
        problems.append("--page-only and --hours exclude each other; give one of them")
    rate = args.flops_per_second
    if rate is not None and not 0 < rate < float("inf"):
        problems.append(f"--flops-per-second is {rate}; it must be above 0, and finite")
    if problems:
        raise ConfigError(problems)
    from rich.console import Console

    from vsalt.compare.spec import read_spec

    values = load_toml(args.spec, flag="SPEC")
    spec = read_spec(values, args.spec.absolute().parent)
    console = Console(markup=False, highlight=False)
    if args.dry_run:
        _dry_run(spec, args, console)
        return 0
    from vsalt.compare.run import run_compare

    return run_compare(
        spec,
        args.out,
        console,
        text=args.spec.read_text(encoding="utf-8"),
        command=f"{prog} {shlex.join(words)}",
        num_workers=args.workers,
        hours=0.0 if args.page_only else args.hours,
    )


def _dry_run(spec: "CompareSpec", args: CompareArgs, console: "Console") -> None:
    from vsalt.compare.data_sets import examine
    from vsalt.compare.folder import check_folder
    from vsalt.compare.plan import plan_cells, print_plan
    from vsalt.compare.run import count_done

    check_folder(args.out)
    console.print("reading the data, counting FLOPs")
    sets = examine(spec, args.out)
    print_plan(spec, plan_cells(spec, sets), sets, console, flops_per_second=args.flops_per_second)
    folds = {name: (None,) if one is None else one.folds for name, one in sets.items()}
    done, left = count_done(spec, args.out, folds)
    if done:
        console.print(f"{args.out}: {done} cells done, {left} left", soft_wrap=True)
