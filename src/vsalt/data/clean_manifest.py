"""Writes rows to a new manifest, from which they are read as they were."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vsalt.data.manifest import ManifestColumns, Row
from vsalt.errors import DataError, printable

FLAG = "--write-clean"
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl", ".parquet")


def check_out(out: Path) -> None:
    """Say early that a manifest cannot be written.

    Raises:
        DataError: `out` is there, or its name does not tell a format, or its folder is missing.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise DataError(f"{FLAG} {out}: the name must end in one of {', '.join(SUFFIXES)}")
    if os.path.lexists(out):
        raise DataError(f"{FLAG} {out}: the file is there; nothing is written over")
    if not out.parent.is_dir():
        raise DataError(f"{FLAG} {out}: there is no folder {out.parent}")


def write_manifest(out: Path, rows: Sequence[Row], columns: ManifestColumns) -> None:
    """Write rows with all their columns to a new manifest.

    Paths that the source gives relative to its folder are written relative to the folder of
    `out`, absolute ones as they are. So names, and all draws that depend on them, stay as they
    were where `out` lies in the source's folder.

    Args:
        out: the manifest, with a suffix of `SUFFIXES`; it appears when it is complete.
        rows: what to write.
        columns: names of the source's columns; labels of folders go into that of labels.

    Raises:
        DataError: there are no rows, `out` is there or cannot be written, a row lies in a shard,
            or a name does not go into the format.
    """
    check_out(out)
    if not rows:
        raise DataError(f"{FLAG} {out}: no clip can be read")
    names = dict.fromkeys(["path"])
    for row in rows:
        names.update(dict.fromkeys(row.columns))
        if row.label is not None:
            names[columns.label] = None
    folder = os.path.abspath(out.parent)
    records = (_cells(row, folder, columns) for row in rows)
    temporary = out.with_name(f"{out.name}.tmp")
    try:
        _write(temporary, out.suffix.lower(), list(names), records)
        os.replace(temporary, out)
    except UnicodeEncodeError as error:
        raise DataError(
            f"{FLAG} {out}: {printable(str(error.object))[:200]} is not UTF-8; give a name that "
            "ends in .jsonl, which can hold it"
        ) from error
    except OSError as error:
        raise DataError(f"{FLAG} {out} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _cells(row: Row, folder: str, columns: ManifestColumns) -> dict[str, str]:
    if row.size is not None:
        raise DataError(
            f"{FLAG}: {printable(row.relative_path)} lies in a shard, which only an index can "
            "tell; clean the source that was packed, and pack it again"
        )
    path = row.path
    if not os.path.isabs(row.relative_path):
        path = os.path.relpath(path, folder)
    cells = {"path": path, **row.columns}
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
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{FLAG} needs pyarrow for Parquet: pip install 'vsalt[parquet]', or give another name"
        ) from error
    cells: dict[str, list[str | None]] = {name: [] for name in names}
    for record in records:
        for name, column in cells.items():
            column.append(record.get(name))
    columns = {name: pyarrow.array(column, pyarrow.string()) for name, column in cells.items()}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
