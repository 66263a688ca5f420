"""`vsalt data check`: whether the videos of a source can be read, and what they are like."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vsalt.cli.parse import incomplete, option, parse
from vsalt.data.config import ClipConfig, ReadLimits
from vsalt.errors import ConfigError, VsaltError, report_problems
from vsalt.presets import PRESET_NAMES, salt_preset

if TYPE_CHECKING:
    from vsalt.data.check import CheckOptions, SourceCheck

TO_STDOUT = Path("-")


@dataclass(frozen=True, kw_only=True)
class CheckArgs:
    """Read the videos of sources and print what they are like, and which are bad.

    Exits with 0 when all can be read and with 1 when some cannot.
    """

    sources: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="SOURCE ...")
    ] = ()
    """Folders of videos or manifests, as for --data."""
    read: Literal["headers", "ends", "all"] = "ends"
    """headers: only what files say of themselves. ends: each clip's first and last frame, too.
    all: every frame of each clip."""
    write_clean: Path | None = None
    """Write the clips of one source that can be read to a new manifest; its name ends in .csv,
    .tsv, .jsonl or .parquet."""
    json: Path | None = None
    """Write all findings to this file, or to the standard output (-) instead of the tables."""
    preset: Annotated[
        str | None, tyro.conf.arg(help=f"Whose clips may be too short: {PRESET_NAMES}.")
    ] = None
    label_column: str = "label"
    """Manifest column of labels."""
    split_column: str = "split"
    """Manifest column that says train or test."""
    group_column: str = "group"
    """Manifest column of groups."""
    weight_column: str = "weight"
    """Manifest column of sampling weights."""
    workers: int = 2
    """Worker processes that read; 0 reads in the main process."""
    clip: ClipConfig = field(default_factory=ClipConfig)
    """What makes a clip too short."""
    limits: ReadLimits = field(default_factory=ReadLimits)
    """What a file may cost before it counts as bad."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if not self.sources:
            problems.append("no SOURCE is given; name folders of videos or manifests")
        if self.workers < 0:
            problems.append(f"workers is {self.workers}; it must be 0 or more")
        if self.write_clean is not None and len(self.sources) > 1:
            problems.append("--write-clean takes one SOURCE, so that shares and columns stay clear")
        report_problems(problems)


def check(words: Sequence[str], prog: str) -> int:
    """Run the verb `data check`; return 1 if there are bad files, else 0."""
    name = option(words, "--preset")
    default = None if name is None else incomplete(CheckArgs, clip=_preset_clip(name))
    return run(parse(CheckArgs, words, prog, default))


def _preset_clip(name: str) -> ClipConfig:
    return salt_preset(name).clip


def run(args: CheckArgs) -> int:
    """Check the sources and print the tables; return the exit code."""
    from rich.console import Console

    from vsalt.cli.row_progress import row_progress
    from vsalt.data.catalogue import parse_source
    from vsalt.data.check import CheckOptions, check_sources
    from vsalt.data.check_report import check_tables
    from vsalt.data.clean_manifest import check_beside_shards, check_out
    from vsalt.data.manifest import ManifestColumns
    from vsalt.data.shard_index import INDEX_NAME

    paths = [parse_source(text)[0] for text in args.sources]
    _check_json(args.json, [path for path in paths if isinstance(path, Path)])
    if args.write_clean is not None:
        check_out(args.write_clean)
        if isinstance(paths[0], Path) and (paths[0] / INDEX_NAME).is_file():
            check_beside_shards(args.write_clean, str(paths[0]))
    options = CheckOptions(
        columns=ManifestColumns(
            label=args.label_column,
            split=args.split_column,
            group=args.group_column,
            weight=args.weight_column,
        ),
        clip=args.clip,
        depth=args.read,
        limits=args.limits,
        workers=args.workers,
    )
    errors = Console(stderr=True, markup=False, highlight=False)
    with row_progress(errors, "clips") as show:
        checks = check_sources(paths, options, on_progress=show)
    if args.json != TO_STDOUT:
        console = Console(markup=False, highlight=False)
        console.print(check_tables(checks, options))
    if args.json is not None:
        _write_json(args.json, checks, options)
    if args.write_clean is not None:
        errors.print(_write_clean(args.write_clean, checks[0], options), soft_wrap=True)
    return 1 if any(each.bad for each in checks) else 0


def _check_json(out: Path | None, sources: Sequence[Path]) -> None:
    if out is None or out == TO_STDOUT:
        return
    if not out.parent.is_dir():
        raise ConfigError([f"--json {out}: there is no folder {out.parent}"])
    if out.exists() and any(path.exists() and out.samefile(path) for path in sources):
        raise ConfigError([f"--json {out}: this is a SOURCE; name another file"])


def _write_json(out: Path, checks: Sequence["SourceCheck"], options: "CheckOptions") -> None:
    import json

    from vsalt.data.check_report import check_json

    text = json.dumps(check_json(checks, options), indent=2)
    if out == TO_STDOUT:
        print(text)
        return
    try:
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise VsaltError(f"--json {out} cannot be written: {error.strerror}") from error


def _write_clean(out: Path, check: "SourceCheck", options: "CheckOptions") -> str:
    from vsalt.data.clean_manifest import write_manifest

    rows = check.good_rows
    write_manifest(out, rows, options.columns)
    slow = len(check.timed_out)
    return f"{len(rows)} clips of {len(check.source.rows)} are in {out}" + (
        f"; {slow} took too long and are left out, see --limits.timeout-s" if slow else ""
    )
