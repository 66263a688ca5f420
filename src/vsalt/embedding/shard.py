"""One shard of embeddings as a file: safetensors beside an index of lines, or a Parquet table.

A Parquet shard holds its own index, so that its readers need no other file:

    path, label       text; label is null where a row has none
    start_s, end_s    float64, seconds in the video
    source_row        int64, index of the row in the source
    embedding         fixed-size list of float32, F numbers
    tokens            if maps are kept: fixed-size list of T' H' W' C numbers, time slowest

The file's metadata has `vsalt`, the settings that embedding.json has, as JSON.

Shapes: n embeddings, F channels of a feature, (T', H', W') grid of tokens, C channels of a place.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from jaxtyping import Float, Float32
from torch import Tensor

from vsalt.errors import MissingExtraError
from vsalt.models.weights import save_weights

ShardFormat: TypeAlias = Literal["safetensors", "parquet"]
EMBEDDINGS = "embeddings"
TOKENS = "tokens"
METADATA = b"vsalt"


@dataclass(frozen=True, kw_only=True, eq=False)
class Shard:
    """The embeddings of some rows that follow one another.

    Attributes:
        embeddings: one per window of the readable rows.
        tokens: a map for each of them, in float16 or float32, if maps are kept.
        index: a record for each of them: source_row, path, label, start_s, end_s.
        bad: a record for each unreadable row.
        end_row: index of the row after the last.
    """

    embeddings: Float32[Tensor, "n F"]
    tokens: Float[Tensor, "n T H W C"] | None = None
    index: Sequence[dict[str, Any]]
    bad: Sequence[dict[str, Any]]
    end_row: int


def require_format(kind: ShardFormat) -> None:
    """Check that a format can be written.

    Raises:
        MissingExtraError: Parquet is asked for and pyarrow is not installed.
    """
    if kind == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("--format parquet needs pyarrow", extra="parquet") from error


def write_shard_file(
    path: Path, shard: Shard, kind: ShardFormat, settings: Mapping[str, Any]
) -> None:
    """Write a shard; the same content gives the same bytes.

    Args:
        path: the file.
        shard: what it holds.
        kind: its format.
        settings: what the embeddings depend on, for the metadata of Parquet.

    Raises:
        OSError: the system does not let it be written.
    """
    if kind == "safetensors":
        tensors = {EMBEDDINGS: shard.embeddings}
        if shard.tokens is not None:
            tensors[TOKENS] = shard.tokens
        save_weights(path, tensors)
    else:
        _write_parquet(path, shard, settings)


def _write_parquet(path: Path, shard: Shard, settings: Mapping[str, Any]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {
        name: pa.array([entry[name] for entry in shard.index], kind)
        for name, kind in (
            ("path", pa.string()),
            ("label", pa.string()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("source_row", pa.int64()),
        )
    }
    columns["embedding"] = _lists(shard.embeddings)
    if shard.tokens is not None:
        columns[TOKENS] = _lists(shard.tokens.flatten(1))
    table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(settings)})
    parquet.write_table(table, path, compression="zstd", use_dictionary=["path", "label"])


def _lists(values: Tensor) -> Any:
    """Return rows of numbers as a column of lists of one size."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(
        pa.array(values.contiguous().numpy().reshape(-1)), values.shape[1]
    )


def read_shard(path: Path, kind: ShardFormat) -> Any:
    """Return the embeddings of a shard, a float32 array of shape (n, F).

    Raises:
        OSError: the file cannot be read.
    """
    if kind == "safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            return file.get_tensor(EMBEDDINGS)
    from pyarrow import parquet

    column = parquet.read_table(path, columns=["embedding"])["embedding"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), column.type.list_size)


def read_shard_index(path: Path) -> list[dict[str, Any]]:
    """Return the records of a Parquet shard's index.

    Raises:
        OSError: the file cannot be read.
    """
    from pyarrow import parquet

    columns = ["source_row", "path", "label", "start_s", "end_s"]
    records: list[dict[str, Any]] = parquet.read_table(path, columns=columns).to_pylist()
    return records
