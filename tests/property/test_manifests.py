"""One table written as CSV, TSV, JSONL and Parquet is one source."""

import csv
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from vsalt.data.catalogue import Catalogue
from vsalt.data.config import DataConfig
from vsalt.data.manifest import read_source

NAMES = ["a.mp4", "b c.png", "ä/d.mp4"]
SCHEMA = pa.schema(
    {
        "path": pa.string(),
        "label": pa.dictionary(pa.int32(), pa.string()),
        "split": pa.string(),
        "start_s": pa.float64(),
        "weight": pa.float64(),
        "fold": pa.int64(),
        "flag": pa.bool_(),
    }
)
# No NUL, which CSV has not, and no half of a surrogate pair, which UTF-8 has not.
texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6
) | st.sampled_from(['"', "a,b", "x\ty", "line\nbreak", "true", " ", "0"])
seconds = st.floats(0, 1e6, allow_nan=False)

records = st.lists(
    st.fixed_dictionaries(
        {
            "path": st.sampled_from(NAMES),
            "label": st.none() | texts,
            "split": st.none() | st.sampled_from(["train", "TEST", "val"]),
            "start_s": st.none() | seconds,
            "weight": st.none() | seconds,
            "fold": st.none() | st.integers(-(2**63), 2**63 - 1),
            "flag": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=6,
)


def as_cell(value):
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def write_all(folder, table):
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        with (folder / f"m{suffix}").open("w", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerow(SCHEMA.names)
            writer.writerows([as_cell(record[name]) for name in SCHEMA.names] for record in table)
    lines = [json.dumps(record, ensure_ascii=False) for record in table]
    (folder / "m.jsonl").write_bytes("\n".join(lines).encode())
    pq.write_table(pa.Table.from_pylist(table, schema=SCHEMA), folder / "m.parquet")
    return [folder / f"m{suffix}" for suffix in (".csv", ".tsv", ".jsonl", ".parquet")]


def hash_of(path):
    config = DataConfig(sources=(str(path),), use_test=True, holdout=0.0)
    return Catalogue.load(config, 0).manifest_hash


@given(table=records)
@settings(max_examples=50, deadline=None)
def test_the_format_of_a_manifest_does_not_matter(table):
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in NAMES:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
        paths = write_all(folder, table)
        first, *others = [read_source(path) for path in paths]
        for record, row in zip(table, first.rows, strict=True):
            expected = {name: as_cell(value) for name, value in record.items() if name != "path"}
            assert row.columns == {name: cell for name, cell in expected.items() if cell}
            assert row.start_s == record["start_s"]
            assert row.weight == (1.0 if record["weight"] is None else record["weight"])
        for other in others:
            assert other.rows == first.rows
            assert other.weighted == first.weighted
        if any(row.weight > 0 for row in first.rows):
            assert len({hash_of(path) for path in paths}) == 1
