"""`vsalt data check`: reads the videos of sources before a run does, and counts what it finds.

Worker processes read; this process keeps counts, a few numbers per row, and what is bad.
"""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from vsalt.data.check_folder import FolderFacts, folder_facts
from vsalt.data.check_reads import CheckReads, Depth, Finding
from vsalt.data.clip_table import ClipTable
from vsalt.data.config import ClipConfig, ReadLimits
from vsalt.data.jobs import Task
from vsalt.data.manifest import TABLE_SUFFIXES, ManifestColumns, Row, Source, read_source
from vsalt.data.shard_index import INDEX_NAME
from vsalt.data.urls import Location, suffix
from vsalt.data.urls import folder as folder_of_url
from vsalt.data.video_info import VideoInfo
from vsalt.data.window_report import WindowReport, judge_windows
from vsalt.data.workers import WorkerPool

_MOST_ROWS_PER_TASK = 32
# Sound may outlast the pictures by this much: seconds, and a share of the announced length.
_EARLY_S = 2.0
_EARLY_SHARE = 0.1
NOTES = {
    "leaves": "outside of the source's folder",
    "is_link": "reached by a symbolic link",
    "dot_dot": "named with '..'",
    "odd_name": "names with characters that no terminal shows",
    "again": "clips that are named twice",
    "ends_early": "pictures end long before the header says",
    "frames_differ": "headers that tell another number of frames",
    "variable_rate": "frames shown for different times",
}
"""What is worth knowing of a row though it can be read, in words."""


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """What is checked, and how.

    Attributes:
        columns: names of the manifest's columns.
        clip: what makes a clip too short.
        depth: how much of each clip is read.
        limits: what a file may cost.
        workers: processes that read; 0 reads in this one.
    """

    columns: ManifestColumns = field(default_factory=ManifestColumns)
    clip: ClipConfig = field(default_factory=ClipConfig)
    depth: Depth = "ends"
    limits: ReadLimits = field(default_factory=ReadLimits)
    workers: int = 2


@dataclass(kw_only=True)
class FileCounts:
    """Counts over readable files, each once; videos only but for the first three."""

    num_files: int = 0
    num_images: int = 0
    size_bytes: int = 0
    num_frames: "array[int]" = field(default_factory=lambda: array("q"))
    duration_s: "array[float]" = field(default_factory=lambda: array("d"))
    rates: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    codecs: Counter[str] = field(default_factory=Counter)
    containers: Counter[str] = field(default_factory=Counter)

    def add(self, info: VideoInfo, size_bytes: int) -> None:
        """Count one file."""
        self.num_files += 1
        self.size_bytes += size_bytes
        self.sizes[f"{info.width}×{info.height}"] += 1
        self.codecs[info.codec] += 1
        self.containers[info.container] += 1
        if info.is_image:
            self.num_images += 1
            return
        self.num_frames.append(info.num_frames)
        self.duration_s.append(info.duration_s)
        self.rates[f"{info.fps:.4g}"] += 1


@dataclass(kw_only=True)
class SourceCheck:
    """What is known of one source.

    Attributes:
        source: its name and rows.
        first_row: number of its first row among those of all sources.
        folder: what else lies there, if it is a folder of files.
        files: counts over its files.
        bad: why a row cannot be used, by its number in the source.
        timed_out: the bad rows that took too long, and may be good on another day.
        notes: the rows, by number in the source, of each kind of `NOTES`.
    """

    source: Source
    root: str
    first_row: int
    folder: FolderFacts | None
    files: FileCounts = field(default_factory=FileCounts)
    bad: dict[int, str] = field(default_factory=dict)
    timed_out: set[int] = field(default_factory=set)
    notes: dict[str, "array[int]"] = field(
        default_factory=lambda: {kind: array("q") for kind in NOTES}
    )
    windows: WindowReport | None = None
    _seen_files: set[int] = field(default_factory=set)
    _clip_frames: "array[int]" = field(default_factory=lambda: array("q"))
    _clip_s: "array[float]" = field(default_factory=lambda: array("d"))
    _clip_fps: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, finding: Finding, *, again: bool) -> None:
        """Take in what was found out about a row; `again` if its clip was named before."""
        number = finding.row - self.first_row
        row = self.source.rows[number]
        self._note(number, row, finding, again)
        if finding.error is not None:
            self.bad[number] = finding.error
            if finding.timed_out:
                self.timed_out.add(number)
            return
        info, part, file_id = finding.info, finding.part, finding.path.file_id
        assert info is not None
        assert part is not None
        assert file_id is not None
        if file_id not in self._seen_files:
            self._seen_files.add(file_id)
            self.files.add(info, finding.path.size_bytes)
        if not info.is_image:
            self._clip_frames.append(part.num_frames)
            self._clip_s.append(part.duration_s)
            self._clip_fps.append(part.fps)

    def _note(self, number: int, row: Row, finding: Finding, again: bool) -> None:
        info = finding.info
        facts = {
            "leaves": finding.path.leaves,
            "is_link": finding.path.is_link,
            "dot_dot": ".." in row.relative_path.split("/"),
            "odd_name": not row.relative_path.isprintable(),
            "again": again,
            "ends_early": info is not None and _ends_early(info),
            "frames_differ": info is not None
            and finding.num_decoded not in (None, info.num_frames),
            "variable_rate": info is not None and info.variable_rate,
        }
        for kind, is_so in facts.items():
            if is_so:
                self.notes[kind].append(number)

    def finish(self, clip: ClipConfig) -> None:
        """Judge the lengths of the clips when all are known."""
        self.windows = judge_windows(
            clip,
            num_frames=_as_ints(self._clip_frames),
            duration_s=_as_floats(self._clip_s),
            fps=_as_floats(self._clip_fps),
            num_unreadable=len(self.bad),
        )

    @property
    def good_rows(self) -> list[Row]:
        """The rows that can be read, in their order."""
        return [row for number, row in enumerate(self.source.rows) if number not in self.bad]


def check_sources(
    paths: Sequence[Location],
    options: CheckOptions,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[SourceCheck]:
    """Read the rows of all sources.

    Args:
        paths: folders or manifests, or their URLs.
        options: settings.
        on_progress: is called with the rows done and their number.

    Raises:
        DataError: a source cannot be used at all. Missing files are bad rows.
    """
    checks = _begin(paths, options.columns)
    reads = CheckReads(
        ClipTable([row for check in checks for row in check.source.rows]),
        [check.root for check in checks],
        [check.first_row for check in checks],
        depth=options.depth,
        limits=options.limits,
    )
    total = sum(len(check.source.rows) for check in checks)
    seen_clips: set[object] = set()
    current = iter(checks)
    check = next(current)
    for finding in _findings(reads, total, options.workers, options.limits):
        while finding.row >= check.first_row + len(check.source.rows):
            check = next(current)
        row = check.source.rows[finding.row - check.first_row]
        name = (finding.path.file_id or row.path, row.start_s, row.end_s)
        # Most rows are whole files, and a number takes less memory than three.
        clip = name if name[1:] != (None, None) else name[0]
        check.add(finding, again=clip in seen_clips)
        seen_clips.add(clip)
        if on_progress:
            on_progress(finding.row + 1, total)
    for check in checks:
        check.finish(options.clip)
    return checks


def _begin(paths: Sequence[Location], columns: ManifestColumns) -> list[SourceCheck]:
    checks: list[SourceCheck] = []
    first_row = 0
    for index, path in enumerate(paths):
        source = read_source(path, source=index, columns=columns, missing="keep")
        root, facts = _folder_of(path)
        checks.append(SourceCheck(source=source, root=root, first_row=first_row, folder=facts))
        first_row += len(source.rows)
    return checks


def _folder_of(path: Location) -> tuple[str, FolderFacts | None]:
    """Return the folder of a source, and what else lies there if it is a folder of files."""
    if isinstance(path, str):
        return (folder_of_url(path) if suffix(path) in TABLE_SUFFIXES else path.rstrip("/")), None
    is_folder = path.is_dir()
    has_shards = (path / INDEX_NAME).is_file()
    facts = folder_facts(path) if is_folder and not has_shards else None
    return os.path.abspath(path if is_folder else path.parent), facts


def _findings(reads: CheckReads, total: int, workers: int, limits: ReadLimits) -> Iterator[Finding]:
    """Yield the findings about all rows, in their order."""
    pool: WorkerPool[int, list[Finding]] = WorkerPool(
        reads, workers=workers, prefetch=4, pin_memory=False, limits=limits
    )
    # Few rows keep the workers evenly busy; with many, handing them out is what takes time.
    at_once = max(1, min(total // 256, _MOST_ROWS_PER_TASK))
    tasks = (Task(range(first, min(first + at_once, total))) for first in range(0, total, at_once))
    try:
        for findings in pool.batches(tasks):
            yield from findings
    finally:
        pool.close()


def _as_ints(values: "array[int]") -> Int64[np.ndarray, "N"]:
    return np.array(values, dtype=np.int64)


def _as_floats(values: "array[float]") -> Float64[np.ndarray, "N"]:
    return np.array(values, dtype=np.float64)


def _ends_early(info: VideoInfo) -> bool:
    """Return whether a file seems to have lost its end, though all that is there can be read."""
    if info.announced_s is None or not info.timed:
        return False
    missing_s = info.announced_s - info.duration_s
    return missing_s > max(_EARLY_S, _EARLY_SHARE * info.announced_s)
