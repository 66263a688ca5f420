"""`vsalt data prepare`: a copy of a source that is fast to read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vsalt.cli.parse import parse
from vsalt.errors import printable, report_problems

if TYPE_CHECKING:
    from vsalt.data.prepare import PrepareResult

_MAX_FAILED_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class PrepareArgs:
    """Re-encode all files of a source to a small size with many key frames.

    Times of frames stay as they are, sound is left out, rotations are carried out, pixels become
    square. OUT gets a manifest.jsonl, which is a source with the same rows and columns, and a
    prepared.jsonl, which says what became of each file. A command that was interrupted goes on
    where it stopped when it is given again; files that have changed or failed are done again.
    """

    source: tyro.conf.Positional[str]
    """A folder of videos and images, or a manifest."""
    out: tyro.conf.Positional[Path]
    """Folder to write to; new, or begun by the same command."""
    short_side: int = 256
    """Height or width in pixels, whichever is less. Smaller pictures do not grow."""
    keyframe_every: int = 8
    """Frames from one key frame to the next. Fewer are faster to read and larger."""
    crf: int = 20
    """Quality of x264: 18 is hardly told from the source, 23 is x264's default; 6 more halve the
    size."""
    preset: Literal[
        "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"
    ] = "fast"
    """x264's trade of time against size."""
    workers: Annotated[int, tyro.conf.arg(help_behavior_hint="(default: all processors)")] = -1
    """Processes, each with one file at a time; 0 works in the main process."""
    timeout_s: float = 3600.0
    """Seconds that one file may take before it counts as failed."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if self.short_side < 16:
            problems.append(f"short-side is {self.short_side}; it must be at least 16")
        if self.keyframe_every < 1:
            problems.append(f"keyframe-every is {self.keyframe_every}; it must be at least 1")
        if not 0 <= self.crf <= 51:
            problems.append(f"crf is {self.crf}; it must be in [0, 51]")
        if self.workers < -1:
            problems.append(f"workers is {self.workers}; it must be 0 or more, or left out")
        if not self.timeout_s > 0:
            problems.append(f"timeout-s is {self.timeout_s}; it must be above 0")
        report_problems(problems)


def prepare(words: Sequence[str], prog: str) -> int:
    """Run the verb `data prepare`."""
    return run(parse(PrepareArgs, words, prog))


def run(args: PrepareArgs) -> int:
    """Prepare the source; return 1 if some files failed, else 0."""
    # The decoding library is loaded only when the verb runs.
    from rich.console import Console

    from vsalt.cli.row_progress import row_progress
    from vsalt.data.output_folder import require_local
    from vsalt.data.prepare import prepare as prepare_source
    from vsalt.data.reencode import EncodeConfig

    config = EncodeConfig(
        short_side=args.short_side,
        keyframe_every=args.keyframe_every,
        crf=args.crf,
        preset=args.preset,
    )
    workers = len(os.sched_getaffinity(0)) if args.workers == -1 else args.workers
    with row_progress(Console(stderr=True), "preparing files") as show:
        result = prepare_source(
            require_local(args.source),
            args.out,
            config,
            workers=workers,
            timeout_s=args.timeout_s,
            on_progress=show,
        )
    for line in _report(result, args.out):
        print(line)
    return 1 if result.count("failed") else 0


def _report(result: "PrepareResult", out: Path) -> list[str]:
    from vsalt.data.output_folder import MANIFEST
    from vsalt.data.prepare import PREPARED

    lines = [f"{'':10}{'files':>10}{'MB before':>12}{'MB after':>12}"]
    for status in ("prepared", "kept", "failed"):
        files = [file for file in result.files if file.status == status]
        before = sum(file.bytes_before for file in files) / 1e6
        after = sum(file.bytes_after for file in files) / 1e6
        lines.append(f"{status:10}{len(files):>10,}{before:>12,.1f}{after:>12,.1f}")
    failed = [file for file in result.files if file.status == "failed"]
    for file in failed[:_MAX_FAILED_SHOWN]:
        lines.append(f"failed: {printable(file.path)}: {printable(file.reason)}")
    if len(failed) > _MAX_FAILED_SHOWN:
        lines.append(f"and {len(failed) - _MAX_FAILED_SHOWN} more; see {out / PREPARED}")
    if result.num_resumed:
        lines.append(f"{result.num_resumed} files had been done before")
    lines.append(f"{result.num_rows} rows: {out / MANIFEST}")
    return lines
