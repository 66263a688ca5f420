"""Makes a copy of a source that is fast to read: every file re-encoded, rows and columns as before.

    OUT/
      manifest.jsonl   the rows of all files that could be read; a source
      prepared.jsonl   one line per file: what became of it
      prepare.json     the source and the settings; a second run must have the same
      …                the files, by the paths that the source gives them

A file appears under its name only when it is complete and on disk. A killed process is followed by
one that does what is left: files whose input has changed since, and those that failed, are done
again.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from vsalt import durable
from vsalt.data.config import ReadLimits
from vsalt.data.jobs import Job, Task
from vsalt.data.manifest import IMAGE_SUFFIXES, Row, Source, read_source
from vsalt.data.media import Media
from vsalt.data.output_folder import (
    LOCK,
    MANIFEST,
    PARTIAL,
    copy_media,
    fresh_partial,
    media_version,
    require_apart,
    require_own,
    take_settings,
)
from vsalt.data.output_names import OutputNames
from vsalt.data.reencode import EncodeConfig, Encoded, fit, reencode_video, shrink_image
from vsalt.data.video_info import probe
from vsalt.data.workers import WorkerPool
from vsalt.errors import DataError, DecodeError

PREPARED = "prepared.jsonl"
SETTINGS = "prepare.json"
RESERVED = frozenset({MANIFEST, PREPARED, SETTINGS, PARTIAL, LOCK})

# Small files that each worker is given ahead; one large file does not keep the others waiting.
_PREFETCH = 4
# For the estimate of disk space: files that are looked at, and bits per pixel at crf 20.
_MAX_PROBED = 16
_BITS_PER_PIXEL = 0.2
_CRF_OF_ESTIMATE = 20
_CRF_THAT_HALVES = 6


@dataclass(frozen=True, slots=True)
class PrepareJob:
    """One file to be prepared.

    Attributes:
        number: among the files of the source.
        media: where its bytes are.
        path: as the source names it.
        output: its name in OUT.
    """

    number: int
    media: Media
    path: str
    output: str

    @property
    def image_suffix(self) -> str | None:
        """The suffix, if the file is an image."""
        suffix = PurePosixPath(self.path).suffix.lower()
        return suffix if suffix in IMAGE_SUFFIXES else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What became of one file; a line of prepared.jsonl.

    Attributes:
        path: as the source names it.
        output: its name in OUT.
        status: prepared; kept (an image that was small enough, copied); or failed.
        reason: why it failed, or what else a user should know.
        num_frames: pictures written.
        duration_s: length in seconds.
        bytes_before: size of the input.
        bytes_after: size of the output.
        size_before: (height, width) in pixels, upright, as stored.
        size_after: (height, width) in pixels of the output.
        modified_ns: when the input was changed last, in nanoseconds.
    """

    path: str
    output: str
    status: Literal["prepared", "kept", "failed"]
    reason: str = ""
    num_frames: int = 0
    duration_s: float = 0.0
    bytes_before: int
    bytes_after: int = 0
    size_before: tuple[int, int] = (0, 0)
    size_after: tuple[int, int] = (0, 0)
    modified_ns: int


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """What a run has done.

    Attributes:
        files: what became of each file, in the order of the source.
        num_resumed: how many of them an earlier run had done.
        num_rows: rows of the manifest.
    """

    files: tuple[Prepared, ...]
    num_resumed: int
    num_rows: int

    def count(self, status: str) -> int:
        """Return how many files have this status."""
        return sum(file.status == status for file in self.files)


def prepare(
    path: Path,
    out: Path,
    config: EncodeConfig,
    *,
    workers: int,
    timeout_s: float,
    on_progress: Callable[[int, int], object] | None = None,
) -> PrepareResult:
    """Prepare all files of a source; see the head of this module.

    Args:
        path: a folder or a manifest.
        out: the folder to write to: a new one, or one that the same settings have begun.
        config: what the files become.
        workers: processes; 0 works in this one.
        timeout_s: seconds that one file may take.
        on_progress: called with (files done, all files).

    Raises:
        DataError: the source cannot be used, or `out` is not apart from it, or of another
            source or other settings.
        RunFolderError: `out` cannot be written, is in use or full; what is done stays done.
    """
    source = read_source(path)
    jobs = plan_jobs(source.rows)
    require_apart(path, (job.media.path for job in jobs), out)
    require_own(out, "data prepare", marker=SETTINGS)
    durable.create_folder(out)
    with durable.hold(out):
        settings = dataclasses.asdict(config).items()
        flags = {name.replace("_", "-"): value for name, value in settings}
        take_settings(out, SETTINGS, path, flags)
        journal = _Journal(out, jobs)
        left = [job for job in jobs if job.number not in journal.done]
        _require_disk(out, left, config)
        num_resumed = len(journal.done)
        show = on_progress or (lambda *_: None)
        show(num_resumed, len(jobs))
        fresh_partial(out)
        maker = _FileMaker(os.path.abspath(out), config, ReadLimits(timeout_s=timeout_s))
        for job, prepared in zip(left, _outcomes(maker, left, workers), strict=True):
            journal.add(job, prepared)
            show(len(journal.done), len(jobs))
        shutil.rmtree(out / PARTIAL)
        files = journal.finish()
        by_media = {job.media: file for job, file in zip(jobs, files, strict=True)}
        num_rows = _write_manifest(out, source, by_media)
    return PrepareResult(files=files, num_resumed=num_resumed, num_rows=num_rows)


def plan_jobs(rows: Sequence[Row]) -> list[PrepareJob]:
    """Return the files of some rows, each once, with their names in the output."""
    names = OutputNames(RESERVED)
    jobs: dict[Media, PrepareJob] = {}
    for row in rows:
        if row.media not in jobs:
            suffix = PurePosixPath(row.relative_path).suffix.lower()
            ending = None if suffix in IMAGE_SUFFIXES else ".mp4"
            output = names.assign(row.relative_path, ending)
            jobs[row.media] = PrepareJob(len(jobs), row.media, row.relative_path, output)
    return list(jobs.values())


class _Journal:
    """prepared.jsonl while it grows: a line per file, as it is done."""

    def __init__(self, out: Path, jobs: Sequence[PrepareJob]) -> None:
        self._path = out / PREPARED
        self._jobs = jobs
        found = {record.output: record for record in _records(self._path)}
        self.done: dict[int, Prepared] = {}
        for job in jobs:
            record = found.get(job.output)
            if record is not None and _still_valid(out, job, record):
                self.done[job.number] = record
        _remove_unnamed(out, found.values(), jobs)
        self._rewrite()

    def _rewrite(self) -> None:
        records = (self.done[number] for number in sorted(self.done))
        durable.write_file(self._path, "".join(map(_line, records)))

    def add(self, job: PrepareJob, prepared: Prepared) -> None:
        """Note down what became of a file."""
        self.done[job.number] = prepared
        with (
            durable.explain_write_errors(str(self._path)),
            open(self._path, "a", encoding="utf-8") as file,
        ):
            file.write(_line(prepared))

    def finish(self) -> tuple[Prepared, ...]:
        """Write all lines in the order of the source, and return them."""
        self._rewrite()
        return tuple(self.done[job.number] for job in self._jobs)


def _line(prepared: Prepared) -> str:
    return json.dumps(dataclasses.asdict(prepared)) + "\n"


def _records(path: Path) -> Iterator[Prepared]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        # A line that a kill has cut short is not there.
        if line.endswith("\n"):
            try:
                yield _parsed(json.loads(line))
            except (ValueError, TypeError) as error:
                raise DataError(f"{path} is damaged ({error}); name another OUT") from error


def _parsed(cells: dict[str, Any]) -> Prepared:
    sizes = {name: tuple(cells[name]) for name in ("size_before", "size_after")}
    return Prepared(**{**cells, **sizes})


def _still_valid(out: Path, job: PrepareJob, record: Prepared) -> bool:
    """Tell whether a file was prepared and neither it nor its input has changed since."""
    if record.status == "failed" or record.path != job.path:
        return False
    try:
        written = os.lstat(out / job.output)
        now = media_version(job.media)
    except (OSError, DecodeError):
        return False
    return written.st_size == record.bytes_after and now == (
        record.bytes_before,
        record.modified_ns,
    )


def _remove_unnamed(out: Path, found: Iterable[Prepared], jobs: Sequence[PrepareJob]) -> None:
    """Remove what an earlier run has made of files that the source does not name any more."""
    outputs = {job.output for job in jobs}
    for record in found:
        # A name that leads out of the folder is none that was given here.
        own = OutputNames(RESERVED).assign(record.output) == record.output
        if own and record.output not in outputs:
            (out / record.output).unlink(missing_ok=True)


def _require_disk(out: Path, jobs: Sequence[PrepareJob], config: EncodeConfig) -> None:
    """Refuse to begin what will surely not fit, by a look at a few files."""
    probed = estimated = 0
    for job in jobs[:: max(1, len(jobs) // _MAX_PROBED)]:
        try:
            info = probe(job.media)
        except DecodeError:
            continue
        height, width = fit(info.height, info.width, short_side=config.short_side)
        probed += _num_bytes(job.media)
        estimated += info.num_frames * height * width
    if not probed:
        return
    scale = 2 ** ((_CRF_OF_ESTIMATE - config.crf) / _CRF_THAT_HALVES)
    ratio = estimated * _BITS_PER_PIXEL / 8 * scale / probed
    total = sum(_num_bytes(job.media) for job in jobs)
    durable.require_free_disk(out, int(total * ratio), what="and needs about", advice="raise --crf")


def _num_bytes(media: Media) -> int:
    try:
        return media_version(media)[0]
    except DecodeError:
        # It is gone, which will be noted down when its turn has come.
        return 0


def _outcomes(maker: "_FileMaker", jobs: Sequence[PrepareJob], workers: int) -> Iterator[Prepared]:
    pool: WorkerPool[PrepareJob, Prepared] = WorkerPool(
        maker, workers=workers, prefetch=_PREFETCH, pin_memory=False, limits=maker.limits
    )
    try:
        yield from pool.batches(Task([job]) for job in jobs)
    finally:
        pool.close()


class _FileMaker:
    """Prepares one file, in a worker.

    Args:
        out: the folder to write to.
        config: what the files become.
        limits: what an input may cost.
    """

    def __init__(self, out: str, config: EncodeConfig, limits: ReadLimits) -> None:
        self._out = out
        self._config = config
        self.limits = limits

    def read(self, items: Sequence[PrepareJob], job: Job) -> Prepared:
        """Prepare a file and say what became of it; only what concerns OUT is raised."""
        (item,) = items
        partial = os.path.join(self._out, PARTIAL, f"{item.number:08d}")
        size = modified_ns = 0
        try:
            with job.reading(0), durable.explain_write_errors(f"to {self._out}"):
                size, modified_ns = media_version(item.media)
                return self._make(item, partial, size, modified_ns)
        # The encoder, too, may refuse a picture (OSError, ValueError).
        except (DecodeError, OSError, ValueError) as error:
            # What an earlier input of this name became is no part of the set any more.
            stale = Path(self._out, item.output)
            if stale.is_file():
                stale.unlink()
            return Prepared(
                path=item.path,
                output=item.output,
                status="failed",
                reason=str(error) or type(error).__name__,
                bytes_before=size,
                modified_ns=modified_ns,
            )
        finally:
            Path(partial).unlink(missing_ok=True)

    def _make(self, item: PrepareJob, partial: str, size: int, modified_ns: int) -> Prepared:
        with open(partial, "w+b") as file:
            made = self._encode(item, file)
            if made.kept:
                copy_media(item.media, file)
            file.flush()
            os.fsync(file.fileno())
        if media_version(item.media) != (size, modified_ns):
            raise DecodeError(f"{item.media}: it changed while it was read; run again")
        bytes_after = os.path.getsize(partial)
        target = Path(self._out, item.output)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, target)
        durable.sync_folder(target.parent)
        return Prepared(
            path=item.path,
            output=item.output,
            status="kept" if made.kept else "prepared",
            reason=made.note,
            num_frames=made.num_frames,
            duration_s=made.duration_s,
            bytes_before=size,
            bytes_after=bytes_after,
            size_before=made.size_before,
            size_after=made.size,
            modified_ns=modified_ns,
        )

    def _encode(self, item: PrepareJob, file: IO[bytes]) -> Encoded:
        suffix = item.image_suffix
        if suffix is None:
            return reencode_video(item.media, file, self._config, limits=self.limits)
        return shrink_image(item.media, file, suffix, self._config, limits=self.limits)


def _write_manifest(out: Path, source: Source, files: Mapping[Media, Prepared]) -> int:
    """Write the rows whose files could be prepared; return how many there are."""
    lines = [
        json.dumps({"path": files[row.media].output, **row.columns}) + "\n"
        for row in source.rows
        if files[row.media].status != "failed"
    ]
    durable.write_file(out / MANIFEST, "".join(lines))
    return len(lines)
