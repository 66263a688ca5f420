"""`vsalt report`: one page that shows a run, or several side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vsalt.cli.outside import read_outside
from vsalt.cli.parse import parse
from vsalt.errors import ConfigError, printable

PAGE = "report.html"


@dataclass(frozen=True, kw_only=True)
class ReportArgs:
    """Write one HTML page with curves, pictures, probes and costs of runs; it loads nothing."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of `vsalt salt` or `vsalt pretrain`; several are laid side by side."""
    probe: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """The --out of a `vsalt probe fit`, whose table is shown. May be repeated."""
    out: Path | None = None
    """The page to write, replaced if it is there. Unset: report.html in the run folder; several
    runs need it."""
    clips: int = 2
    """Clips of which masks, reconstructions and features are drawn. 0: no pictures; then neither
    videos nor checkpoints are read."""
    data: str | None = None
    """Where the videos are, if not where the run found them."""


def report(words: Sequence[str], prog: str) -> int:
    """Run the verb `report`."""
    args = parse(ReportArgs, words, prog)
    out = _check(args)
    from vsalt.report.write import write_report

    write_report(
        args.runs,
        args.probe,
        out,
        num_clips=args.clips,
        data=args.data,
        say=lambda text: print(printable(text), flush=True),
        read_outside=read_outside,
    )
    print(printable(f"{out}: {out.stat().st_size / 1e6:.2f} MB; open it in a browser"))
    return 0


def _check(args: ReportArgs) -> Path:
    """Return the page to write, or say all that is wrong."""
    problems = []
    if not args.runs:
        problems.append("no run is given; name one or several run folders")
    if args.out is None and len(args.runs) > 1:
        problems.append(f"{len(args.runs)} runs need --out FILE, the page to write")
    if args.out is not None and args.out.is_dir():
        problems.append(f"--out {args.out} is a folder; name a file, such as {args.out / PAGE}")
    if args.clips < 0:
        problems.append(f"--clips is {args.clips}; it must be 0 or more")
    if problems:
        raise ConfigError(problems)
    return args.out if args.out is not None else args.runs[0] / PAGE
