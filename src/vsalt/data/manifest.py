"""Reads one source of clips, a manifest or a folder of videos and images, into rows.

A manifest is a CSV or TSV file with a header, a JSONL file with one object per line, or a Parquet
file. Its only required column is `path`, relative to the manifest's folder, or a URL; the manifest
may lie behind a URL itself, and then paths are relative to its folder there. `label`, `start_s`,
`end_s`, `group`, `split` and `weight` are read where they are there, all other columns are kept as
text for probes. With the columns `shard`, `offset` and `size` it is the index of packed shards.
In a folder every video and every image is a row, see `read_folder`.
"""

import difflib
import gc
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from vsalt.data.config import ROW_COLUMNS, DataConfig
from vsalt.data.folder import FileFinder, read_folder
from vsalt.data.media import Media
from vsalt.data.parquet_file import read_parquet
from vsalt.data.remote import check_servers
from vsalt.data.shard_index import INDEX_NAME, SHARD_COLUMNS, ShardFolder
from vsalt.data.table_files import Cells, TextRecord, read_csv, read_jsonl
from vsalt.data.urls import Location, is_url, join, location, server, suffix
from vsalt.data.urls import folder as folder_of_url
from vsalt.errors import DataError, DecodeError, DecodeTimeoutError, printable

VIDEO_SUFFIXES = frozenset(
    (
        *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
    )
)
IMAGE_SUFFIXES = frozenset((".jpeg", ".jpg", ".png"))
MAX_MISTAKES_SHOWN = 10
TRAIN = "train"

# Of each format: how it is read, and what messages call the place of a record.
_READERS: dict[str, tuple[Callable[[Location], Iterator[TextRecord]], str]] = {
    ".csv": (read_csv, "line"),
    ".tsv": (lambda path: read_csv(path, delimiter="\t"), "line"),
    ".jsonl": (read_jsonl, "line"),
    ".ndjson": (read_jsonl, "line"),
    ".parquet": (read_parquet, "row"),
    ".pq": (read_parquet, "row"),
}
TABLE_SUFFIXES = frozenset(_READERS)
# Labels, splits and numbers come again and again; so many different ones are kept once only.
_SHARED_TEXTS = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One clip of a source: a video, a stretch of it, or an image.

    Attributes:
        path: absolute path, or URL, of the file that holds the video or image.
        relative_path: the path as the source names it, with forward slashes; the same on every
            machine, so hashes and draws are keyed by it.
        source: index of the source among those of the run.
        label: class name, if the source has one.
        split: lower-case name of the split; "train" where the source names none.
        group: name of what must never be torn apart (person, scene, patient), if given.
        start_s: where the clip starts in the video, in seconds; None is the beginning.
        end_s: where the clip ends, in seconds, exclusive; None is the end of the video.
        weight: relative probability of the row in a weighted source.
        columns: all columns as text, by name, but `path` and those that say where in a shard it
            lies; empty cells are left out.
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
    columns: Mapping[str, str]
    offset: int = 0
    size: int | None = None

    @property
    def is_image(self) -> bool:
        """Whether the row is a picture, by the end of its name; a GIF is a video."""
        return suffix(self.relative_path) in IMAGE_SUFFIXES

    @property
    def media(self) -> Media:
        """Where the bytes of the video or image lie."""
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


def read_source(
    path: str | os.PathLike[str],
    *,
    source: int = 0,
    columns: ManifestColumns | None = None,
    missing: Literal["error", "keep"] = "error",
) -> Source:
    """Read one source.

    Args:
        path: a folder of videos and images, a folder of shards with its index, or a manifest
            ending in .csv, .tsv, .jsonl, .ndjson, .parquet or .pq. A URL is one of the last two, as
            text: folders behind a URL cannot be listed.
        source: index of the source, stored in its rows.
        columns: names of the columns to use; the defaults may be absent, other names must exist.
        missing: whether a manifest's row whose file is missing is a mistake, or a row like others.
            Files behind URLs are not looked for: they are found to be missing when they are read.

    Returns:
        The rows of the source, at least one.

    Raises:
        DataError: the source is missing, empty or has mistakes; all mistakes are reported
            together, the first few with their line numbers. Or no server of its URLs answers.
        MissingExtraError: a URL needs a package that is not installed.
    """
    columns = columns or ManifestColumns()
    find_files = missing == "error"
    place = location(path)
    needed = ("path", *SHARD_COLUMNS)
    if isinstance(place, str):
        if suffix(place) in TABLE_SUFFIXES:
            return _read_manifest(place, source, columns, find_files=False)
        index_url = f"{place.rstrip('/')}/{INDEX_NAME}"
        try:
            index = _read_manifest(index_url, source, columns, needed, find_files=False)
        except DecodeTimeoutError:
            raise
        except DecodeError as error:
            raise DataError(
                f"{place} is no manifest, and no folder of shards ({error}). Folders behind a URL "
                f"are not listed: name a manifest, ending in {', '.join(_READERS)}"
            ) from error
        return replace(index, name=place)
    if not place.is_dir():
        return _read_manifest(place, source, columns, find_files=find_files)
    if not (place / INDEX_NAME).is_file():
        return _read_folder(place, source)
    index = _read_manifest(place / INDEX_NAME, source, columns, needed, find_files=find_files)
    return replace(index, name=str(place))


def _read_folder(folder: Path, source: int) -> Source:
    make = _RowMaker(os.path.abspath(folder), source, ManifestColumns(), find_files=False)
    records = read_folder(folder, VIDEO_SUFFIXES.union(IMAGE_SUFFIXES))
    return Source(name=str(folder), rows=make.rows(records), weighted=False)


def _read_manifest(
    path: Location,
    source: int,
    columns: ManifestColumns,
    needed: tuple[str, ...] = ("path",),
    *,
    find_files: bool,
) -> Source:
    if isinstance(path, Path) and not path.is_file():
        raise DataError(f"no such file or folder: {path} (--data takes a folder or a manifest)")
    if suffix(str(path)) not in _READERS:
        *others, last = _READERS
        raise DataError(
            f"{path} is no manifest: --data takes a folder of videos and images, or a file ending "
            f"in {', '.join(others)} or {last}"
        )
    read, unit = _READERS[suffix(str(path))]
    folder = (
        folder_of_url(path) if isinstance(path, str) else os.path.dirname(os.path.abspath(path))
    )
    make = _RowMaker(folder, source, columns, find_files=find_files)
    rows = make.rows(read(path))
    if not rows:
        raise DataError(f"{path} has columns but no rows")
    _check_names(path, make.names, needed, columns)
    if make.mistakes.count or make.missing.count:
        report = [*make.mistakes.report(unit), *make.missing.report(unit)]
        raise DataError("\n".join([f"{path} cannot be used:", *report]))
    # The server that the manifest itself has just come from is there.
    if not (isinstance(path, str) and any(server(row.path) == server(path) for row in rows)):
        check_servers([row.path for row in rows if is_url(row.path)])
    return Source(name=str(path), rows=rows, weighted=make.weighted)


def _check_names(
    path: Location, names: Iterable[str], needed: tuple[str, ...], columns: ManifestColumns
) -> None:
    mistakes = []
    for name in needed:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
            hint = f" (did you mean {near[0]!r}? rename it to {name})" if near else ""
            mistakes.append(f"there is no column {name!r}{hint}")
    for flag, name in columns.explicit().items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            mistakes.append(f"there is no column {name!r}, named by {flag}{hint}")
    if mistakes:
        raise DataError(
            f"{path}: {'; '.join(mistakes)}. Its columns are: {', '.join(map(printable, names))}"
        )


class _Mistakes:
    """Counts mistakes of one kind and keeps the first few."""

    def __init__(self, name: str) -> None:
        self.count = 0
        self._name = name
        self._first: list[tuple[int, str]] = []

    def add(self, number: int, text: str) -> None:
        self.count += 1
        if self.count <= MAX_MISTAKES_SHOWN:
            self._first.append((number, text))

    def report(self, unit: str) -> Iterator[str]:
        if self.count:
            yield f"  {self.count} {self._name}:"
            yield from (f"    {unit} {number}: {text}" for number, text in self._first)
        if self.count > len(self._first):
            yield f"    and {self.count - len(self._first)} more"


class _RowMaker:
    """Makes the rows of one source and collects what is wrong with them.

    Args:
        folder: absolute path, or URL, that the rows' paths are relative to.
        source: index of the source.
        columns: names of the columns to use.
        find_files: look whether the files exist.
    """

    def __init__(
        self, folder: str, source: int, columns: ManifestColumns, *, find_files: bool
    ) -> None:
        self.names: dict[str, None] = {}
        self.mistakes = _Mistakes("mistakes")
        self.missing = _Mistakes("missing files")
        self.weighted = False
        self._folder, self._source, self._columns = folder, source, columns
        self._layouts: dict[tuple[str, ...], tuple[tuple[str, ...], bool]] = {}
        self._finder = FileFinder() if find_files else None
        self._shards = ShardFolder(folder)
        self._locate = lru_cache(_SHARED_TEXTS)(self._locate_file)
        self._share = lru_cache(_SHARED_TEXTS)(str)

    def rows(self, records: Iterator[TextRecord]) -> tuple[Row, ...]:
        """Make a row of every record; if there were mistakes, they are none to use."""
        # Rows make no cycles, but to look for some among millions takes a third of the time.
        paused = gc.isenabled()
        gc.disable()
        try:
            return tuple(map(self._row, records))
        finally:
            if paused:
                gc.enable()

    def _row(self, record: TextRecord) -> Row:
        kept, in_shard = self._layout(record.names)
        cells = dict(zip(record.names, record.cells, strict=True))
        start_s = self._number(record.number, cells, "start_s")
        end_s = self._number(record.number, cells, "end_s")
        if end_s is not None and end_s <= (start_s or 0.0):
            least = f"{start_s or 0.0:g}"
            self.mistakes.add(
                record.number, f"end_s is {end_s:g}, but it must be above start_s ({least})"
            )
        weight = self._number(record.number, cells, self._columns.weight)
        self.weighted |= weight is not None
        relative_path, media = self._find(record.number, cells, in_shard)
        texts = tuple([self._share(cells[name]) for name in kept])
        label, group = cells.get(self._columns.label), cells.get(self._columns.group)
        return Row(
            path=media.path,
            relative_path=relative_path,
            source=self._source,
            label=self._share(label) if label else None,
            split=_split_name(cells.get(self._columns.split) or TRAIN),
            group=self._share(group) if group else None,
            start_s=start_s,
            end_s=end_s,
            weight=1.0 if weight is None else weight,
            columns=Cells(kept, texts),
            offset=media.offset,
            size=media.size,
        )

    def _layout(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
        """Return which columns go into `Row.columns`, and whether a shard is named."""
        if names not in self._layouts:
            self.names.update(dict.fromkeys(names))
            in_shard = set(SHARD_COLUMNS) <= set(names)
            left_out = ("path", *(SHARD_COLUMNS if in_shard else ()))
            kept = tuple(name for name in names if name not in left_out)
            self._layouts[names] = kept, in_shard
        return self._layouts[names]

    def _find(self, number: int, cells: Mapping[str, str], in_shard: bool) -> tuple[str, Media]:
        """Return the relative path of a record and where its bytes lie."""
        name = cells.get("path", "")
        problem = path_problem(name)
        if problem:
            self.mistakes.add(number, problem)
            return "", Media("")
        if not in_shard:
            relative_path, media, exists = self._locate(name)
            if not media.path:
                self.mistakes.add(
                    number,
                    f"the path {printable(name)} leads out of what the manifest's URL names; it "
                    "must be relative to the manifest, or a URL",
                )
            if not exists:
                self.missing.add(number, printable(media.path))
            return relative_path, media
        found = self._shards.locate(cells)
        if isinstance(found, str):
            self.mistakes.add(number, found)
            return "", Media("")
        return name.replace(os.sep, "/"), found

    def _locate_file(self, name: str) -> tuple[str, Media, bool]:
        if is_url(name):
            return name, Media(name), True
        if is_url(self._folder):
            name = name.replace(os.sep, "/")
            return name, Media(join(self._folder, name) or ""), True
        path = os.path.normpath(os.path.join(self._folder, name))
        exists = self._finder is None or self._finder.is_file(path)
        return name.replace(os.sep, "/"), Media(path), exists

    def _number(self, number: int, cells: Mapping[str, str], column: str) -> float | None:
        text = cells.get(column)
        if not text:
            return None
        value = _parse_number(text)
        if value is None:
            self.mistakes.add(number, f"{column} is {text!r}; it must be a number of at least 0")
        return value


def path_problem(name: str) -> str:
    """Return why no file can have this name; nothing if one can."""
    if not name:
        return "the path is empty"
    if is_url(name):
        try:
            location(name)
        except DataError as error:
            return str(error)
    if "\0" in name:
        # Some functions would cut the path off there, and find another file.
        return f"the path {name!r} holds a NUL character"
    if not name.isascii():
        try:
            os.fsencode(name)
        except UnicodeEncodeError:
            return f"the path {name!r} holds half a character, which no file's name can"
    return ""


@lru_cache(_SHARED_TEXTS)
def _split_name(text: str) -> str:
    return text.strip().casefold()


@lru_cache(_SHARED_TEXTS)
def _parse_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
