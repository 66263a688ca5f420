"""Reads one source of clips, a manifest or a folder of videos, into rows.

A manifest is a CSV or TSV file with a header or a JSONL file with one object per line. Its only
required column is `path`, relative to the manifest's folder; `label`, `start_s`, `end_s`, `group`,
`split` and `weight` are read where they are there, all other columns are kept as text for probes.
In a folder every video is a row, and the name of the folder it lies in is its label. Folders
named train, val, validation or test at the top are splits, not labels.
"""

import difflib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from vsalt.data.config import ROW_COLUMNS, DataConfig
from vsalt.data.media import Media
from vsalt.data.table_files import TextRecord, read_csv, read_jsonl
from vsalt.errors import DataError

VIDEO_SUFFIXES = frozenset(
    (
        *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
    )
)
MAX_MISTAKES_SHOWN = 10
TRAIN = "train"
SPLIT_FOLDERS = (TRAIN, "val", "validation", "test")
"""Names of top folders that say the split of what lies in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One clip of a source: a video, or a stretch of it.

    Attributes:
        path: absolute path of the file that holds the video.
        relative_path: the path as the source names it, with forward slashes; the same on every
            machine, so hashes and draws are keyed by it.
        source: index of the source among those of the run.
        label: class name, if the source has one.
        split: lower-case name of the split; "train" where the source names none.
        group: name of what must never be torn apart (person, scene, patient), if given.
        start_s: where the clip starts in the video, in seconds; None is the beginning.
        end_s: where the clip ends, in seconds, exclusive; None is the end of the video.
        weight: relative probability of the row in a weighted source.
        columns: all columns but `path` as text, by name; empty cells are left out.
        offset: first byte of the video in the file; above 0 in a shard only.
        size: bytes of the video where it lies in a shard; None is the whole file.
    """

    path: str
    relative_path: str
    source: int
    label: str | None = None
    split: str = TRAIN
    group: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    weight: float = 1.0
    columns: dict[str, str]
    offset: int = 0
    size: int | None = None

    @property
    def media(self) -> Media:
        """Where the bytes of the video lie."""
        return Media(self.path, self.offset, self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestColumns:
    """Names of the manifest's columns that have a meaning for training."""

    label: str = "label"
    split: str = "split"
    group: str = "group"
    weight: str = "weight"

    @classmethod
    def from_config(cls, config: DataConfig) -> "ManifestColumns":
        """Take the names from a data config."""
        return cls(**{name: getattr(config, f"{name}_column") for name in ROW_COLUMNS})

    def explicit(self) -> dict[str, str]:
        """Return the names that differ from the defaults, by the flag that sets them."""
        return {
            f"--data.{field.name}-column": getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The rows of one source.

    Attributes:
        name: the path as the user gave it.
        rows: in the order of the manifest, or sorted by path for a folder.
        weighted: whether the source has a weight column, so that its rows are drawn by weight.
    """

    name: str
    rows: tuple[Row, ...]
    weighted: bool


def read_source(path: Path, *, source: int = 0, columns: ManifestColumns | None = None) -> Source:
    """Read one source.

    Args:
        path: a folder of videos, or a manifest ending in .csv, .tsv, .jsonl or .ndjson.
        source: index of the source, stored in its rows.
        columns: names of the columns to use; the defaults may be absent, other names must exist.

    Returns:
        The rows of the source, at least one.

    Raises:
        DataError: the source is missing, empty or has mistakes; all mistakes are reported
            together, the first few with their line numbers.
    """
    columns = columns or ManifestColumns()
    if path.is_dir():
        return _read_folder(path, source)
    if not path.is_file():
        raise DataError(f"no such file or folder: {path} (--data takes a folder or a manifest)")
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        header, records = read_csv(path, delimiter="\t" if suffix == ".tsv" else ",")
    elif suffix in (".jsonl", ".ndjson"):
        header, records = read_jsonl(path)
    else:
        raise DataError(
            f"{path} is no manifest: --data takes a folder of videos or a file ending in .csv, "
            ".tsv, .jsonl or .ndjson"
        )
    _check_header(path, header, columns)
    return _read_records(path, records, source, columns)


def _read_folder(folder: Path, source: int) -> Source:
    rows = []
    for path in sorted(_videos_below(folder), key=lambda found: found.relative_to(folder).parts):
        relative = path.relative_to(folder)
        parents = relative.parts[:-1]
        split = parents[0].casefold() if parents else ""
        columns = {}
        if split in SPLIT_FOLDERS:
            columns["split"], parents = split, parents[1:]
        if parents:
            columns["label"] = parents[-1]
        rows.append(
            Row(
                path=os.path.abspath(path),
                relative_path=relative.as_posix(),
                source=source,
                label=columns.get("label"),
                split=columns.get("split", TRAIN),
                columns=columns,
            )
        )
    if not rows:
        raise DataError(
            f"no videos in {folder} or below; looked for {', '.join(sorted(VIDEO_SUFFIXES))}"
        )
    return Source(name=str(folder), rows=tuple(rows), weighted=False)


def _videos_below(folder: Path) -> Iterator[Path]:
    # Links to folders are followed, as data sets are often linked together; each folder once.
    seen: set[tuple[int, int]] = set()
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield Path(parent, name)


def _check_header(path: Path, header: list[str], columns: ManifestColumns) -> None:
    mistakes = []
    if "path" not in header:
        near = difflib.get_close_matches("path", header, n=1, cutoff=0.4)
        hint = f" (did you mean {near[0]!r}? rename it to path)" if near else ""
        mistakes.append(f"there is no column 'path'{hint}")
    for flag, name in columns.explicit().items():
        if name not in header:
            near = difflib.get_close_matches(name, header, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            mistakes.append(f"there is no column {name!r}, named by {flag}{hint}")
    if mistakes:
        raise DataError(f"{path}: {'; '.join(mistakes)}. Its columns are: {', '.join(header)}")


def _read_records(
    path: Path, records: list[TextRecord], source: int, columns: ManifestColumns
) -> Source:
    rows: list[Row] = []
    mistakes: list[str] = []
    missing: list[str] = []
    folder = Path(os.path.abspath(path)).parent
    for record in records:
        found: list[str] = []
        row = _row(record.cells, folder, source, columns, found)
        if row.relative_path and not os.path.isfile(row.path):
            missing.append(f"line {record.line}: {row.path}")
        mistakes.extend(f"line {record.line}: {mistake}" for mistake in found)
        rows.append(row)
    if mistakes or missing:
        raise DataError("\n".join([f"{path} cannot be used:", *_report(mistakes, missing)]))
    if not rows:
        raise DataError(f"{path} has a header but no rows")
    weighted = any(columns.weight in record.cells for record in records)
    return Source(name=str(path), rows=tuple(rows), weighted=weighted)


def _report(mistakes: list[str], missing: list[str]) -> Iterator[str]:
    for name, lines in (("mistakes", mistakes), ("missing files", missing)):
        if lines:
            more = len(lines) - MAX_MISTAKES_SHOWN
            yield f"  {len(lines)} {name}:"
            yield from (f"    {line}" for line in lines[:MAX_MISTAKES_SHOWN])
            if more > 0:
                yield f"    and {more} more"


def _row(
    cells: dict[str, str],
    folder: Path,
    source: int,
    columns: ManifestColumns,
    mistakes: list[str],
) -> Row:
    name = cells.get("path", "")
    if not name:
        mistakes.append("the path is empty")
    start_s = _number(cells, "start_s", mistakes)
    end_s = _number(cells, "end_s", mistakes)
    weight = _number(cells, columns.weight, mistakes)
    if end_s is not None and end_s <= (start_s or 0.0):
        mistakes.append(f"end_s is {end_s:g}, but it must be above start_s ({start_s or 0.0:g})")
    return Row(
        path=os.path.normpath(folder / name),
        relative_path=name.replace(os.sep, "/"),
        source=source,
        label=cells.get(columns.label),
        split=cells.get(columns.split, TRAIN).strip().casefold(),
        group=cells.get(columns.group),
        start_s=start_s,
        end_s=end_s,
        weight=1.0 if weight is None else weight,
        columns={key: value for key, value in cells.items() if key != "path"},
    )


def _number(cells: dict[str, str], column: str, mistakes: list[str]) -> float | None:
    text = cells.get(column)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        mistakes.append(f"{column} is {text!r}; it must be a number of at least 0")
        return None
    return value
