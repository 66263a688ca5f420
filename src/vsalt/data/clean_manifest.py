"""Writes rows to a new manifest, from which they are read as they were."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from vsalt.data.manifest import ManifestColumns, Row
from vsalt.data.shard_index import SHARD_COLUMNS
from vsalt.data.urls import is_url
from vsalt.durable import whole_file
from vsalt.errors import DataError, printable

FLAG = "--write-clean"
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl", ".parquet")


def check_out(out: Path) -> None:
    """Say early that a manifest cannot be written.

    Raises:
        DataError: `out` is there, its name does not tell a format, pyarrow is needed and missing,
            or its folder is.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise DataError(f"{FLAG} {out}: the name must end in one of {', '.join(SUFFIXES)}")
    if os.path.lexists(out):
        raise DataError(f"{FLAG} {out}: the file is there; nothing is written over")
    if not out.parent.is_dir():
        raise DataError(f"{FLAG} {out}: there is no folder {out.parent}")
    if out.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise DataError(
            f"{FLAG} needs pyarrow for Parquet: pip install 'vsalt[parquet]', or give another name"
        )


def check_beside_shards(out: Path, shards: str) -> None:
    """Refuse a manifest of clips in shards that does not lie beside them.

    Raises:
        DataError: it lies elsewhere.
    """
    if is_url(shards):
        raise DataError(
            f"{FLAG} {out}: clips in shards can only be named beside them, and {shards} is behind "
            "a URL"
        )
    if not os.path.samefile(out.parent, shards):
        raise DataError(
            f"{FLAG} {out}: clips in shards can only be named beside them; give a name in {shards}"
        )


def write_manifest(out: Path, rows: Sequence[Row], columns: ManifestColumns) -> None:
    """Write rows with all their columns to a new manifest.

    Paths that lead to the same file from the folder of `out` are written as the source gives them,
    others relative to the folder of `out`, and files behind URLs as their URL. So names, and all
    draws that depend on them, stay as they were where `out` lies in the source's folder.

    Args:
        out: the manifest, with a suffix of `SUFFIXES`; it appears when it is complete.
        rows: what to write.
        columns: names of the source's columns; labels of folders go into that of labels.

    Raises:
        DataError: there are no rows, `out` is there or cannot be written, rows lie in shards of
            another folder, or a name does not go into the format.
        RunFolderError: the disk is full or closed to writing.
    """
    check_out(out)
    for shards in {os.path.dirname(row.path) for row in rows if row.size is not None}:
        check_beside_shards(out, shards)
    if not rows:
        raise DataError(f"{FLAG} {out}: no clip can be read")
    names = dict.fromkeys(["path"])
    for row in rows:
        if row.size is not None:
            names.update(dict.fromkeys(SHARD_COLUMNS))
        names.update(dict.fromkeys(row.columns))
        if row.label is not None:
            names[columns.label] = None
    folder = os.path.abspath(out.parent)
    records = (_cells(row, folder, columns) for row in rows)
    try:
        with whole_file(out) as temporary:
            _write(temporary, out.suffix.lower(), list(names), records)
    except UnicodeEncodeError as error:
        raise DataError(
            f"{FLAG} {out}: {printable(str(error.object))[:200]} is not UTF-8; give a name that "
            "ends in .jsonl, which can hold it"
        ) from error
    except OSError as error:
        raise DataError(f"{FLAG} {out} cannot be written: {error.strerror}") from error


def _cells(row: Row, folder: str, columns: ManifestColumns) -> dict[str, str]:
    cells = {"path": row.relative_path}
    if row.size is not None:
        place = (os.path.basename(row.path), str(row.offset), str(row.size))
        cells.update(zip(SHARD_COLUMNS, place, strict=True))
    elif is_url(row.path):
        cells["path"] = row.path
    elif os.path.normpath(os.path.join(folder, row.relative_path)) != row.path:
        cells["path"] = os.path.relpath(row.path, folder)
    cells.update(row.columns)
    if row.label is not None:
        cells.setdefault(columns.label, row.label)
    return cells


def _write(path: Path, suffix: str, names: list[str], records: Iterator[dict[str, str]]) -> None:
    if suffix == ".parquet":
        _write_parquet(path, names, records)
        return
    # Line ends are written as they are, as names may hold some.
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == ".jsonl":
            file.writelines(json.dumps(cells) + "\n" for cells in records)
            return
        delimiter = DELIMITERS[suffix]
        table = csv.DictWriter(file, names, delimiter=delimiter, lineterminator="\n")
        table.writeheader()
        table.writerows(records)


def _write_parquet(path: Path, names: list[str], records: Iterator[dict[str, str]]) -> None:
    import pyarrow
    import pyarrow.parquet

    cells: dict[str, list[str | None]] = {name: [] for name in names}
    for record in records:
        for name, column in cells.items():
            column.append(record.get(name))
    columns = {name: pyarrow.array(column, pyarrow.string()) for name, column in cells.items()}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
