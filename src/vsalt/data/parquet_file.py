"""Reads Parquet tables as text, a batch of rows at a time; needs the extra `parquet`."""

import io
from collections.abc import Iterator
from typing import Any

from vsalt.data.remote import read_whole
from vsalt.data.table_files import TextRecord, as_text, check_names
from vsalt.data.urls import Location
from vsalt.errors import DataError

BATCH_ROWS = 1 << 14


def read_parquet(path: Location) -> Iterator[TextRecord]:
    """Read a Parquet file; its cells become the text that a JSONL file of the same table gives.

    Whole numbers are written without a point, floating-point numbers with one, truth values as
    true and false, dates as 2024-01-31, times with all digits of their unit; null is an empty cell.

    Yields:
        The records, numbered from 1.

    Raises:
        DataError: pyarrow is not installed, the file cannot be read, a column has a name twice or
            none, or holds lists, structures or anything else that is not a plain value.
    """
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet files are read by pyarrow; pip install 'vsalt[parquet]'"
        ) from error
    number = 0
    try:
        # Without pre_buffer, only the pages of the batch are kept, not the whole row group.
        content = io.BytesIO(read_whole(path)) if isinstance(path, str) else path
        with ParquetFile(content, pre_buffer=False) as file:
            names = tuple(file.schema_arrow.names)
            check_names(path, names)
            _check_types(path, file.schema_arrow)
            for batch in file.iter_batches(BATCH_ROWS):
                columns = [
                    _as_texts(path, name, column)
                    for name, column in zip(names, batch.columns, strict=True)
                ]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield TextRecord(number, names, cells)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a Parquet file: {error}") from error


def _check_types(path: Location, schema: Any) -> None:
    from pyarrow import types

    nested = [f"{field.name} ({field.type})" for field in schema if types.is_nested(field.type)]
    if nested:
        raise DataError(
            f"{path}: a manifest holds one plain value per cell, but these columns hold more: "
            f"{', '.join(nested)}"
        )


def _as_texts(path: Location, name: str, column: Any) -> list[str]:
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_float32(column.type) or types.is_float16(column.type):
        # Through the shortest text: 0.1 in 32 bits is not 0.10000000149011612.
        column = column.cast(pa.string()).cast(pa.float64())
    if types.is_floating(column.type):
        return [as_text(value) for value in column.to_pylist()]
    try:
        return [cell or "" for cell in column.cast(pa.string()).to_pylist()]
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: column {name} of type {column.type} cannot be read as text: {error}"
        ) from error
