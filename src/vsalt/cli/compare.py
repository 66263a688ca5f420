"""`vsalt compare`: arms at matched FLOPs, with intervals, as one resumable job."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from vsalt.cli.parse import load_toml, parse
from vsalt.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CompareArgs:
    """Train arms at the same FLOPs, teacher included, and compare them on clips none has seen.

    SPEC says what is compared (examples/compare-tiny.toml is one). What is done in OUT is kept:
    the same command goes on where it was stopped or killed.
    """

    spec: tyro.conf.Positional[Path]
    """A TOML file."""
    out: Path
    """Folder of all that is made; may hold this comparison, interrupted."""
    workers: int | None = None
    """Cells at a time, each in a process of its own with its GPU or its share of the CPU's threads.
    Unset: one per visible GPU; without GPUs one."""
    hours: float | None = None
    """Begin no cell that would not end within so many hours, judged by those that are done."""
    dry_run: bool = False
    """Print the matrix, its FLOPs and its disk, and stop."""


def compare(words: Sequence[str], prog: str) -> int:
    """Run the verb `compare`."""
    args = parse(CompareArgs, words, prog)
    problems = []
    if args.workers is not None and args.workers < 1:
        problems.append(f"--workers is {args.workers}; it must be at least 1")
    if args.hours is not None and not args.hours > 0:
        problems.append(f"--hours is {args.hours}; it must be above 0")
    if problems:
        raise ConfigError(problems)
    from rich.console import Console

    from vsalt.compare.spec import read_spec

    values = load_toml(args.spec, flag="SPEC")
    spec = read_spec(values, args.spec.absolute().parent)
    console = Console(markup=False, highlight=False)
    if args.dry_run:
        from vsalt.compare.folder import check_folder
        from vsalt.compare.plan import plan_cells, print_plan

        check_folder(args.out)
        print_plan(plan_cells(spec), console)
        return 0
    from vsalt.compare.run import run_compare

    return run_compare(
        spec,
        args.out,
        console,
        text=args.spec.read_text(encoding="utf-8"),
        command=f"{prog} {shlex.join(words)}",
        num_workers=args.workers,
        hours=args.hours,
    )
