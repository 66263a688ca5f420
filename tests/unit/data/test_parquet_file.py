"""Parquet manifests against the text that Python writes for the same values."""

import datetime
import decimal
import random
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vsalt.data.manifest import read_source
from vsalt.data.parquet_file import BATCH_ROWS, read_parquet
from vsalt.errors import DataError


def write(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([0, -7, None], pa.int8()), ["0", "-7", ""]),
        (pa.array([2**64 - 1, None], pa.uint64()), ["18446744073709551615", ""]),
        (pa.array([2.0, 0.1, 1e16, None]), ["2.0", "0.1", "1e+16", ""]),
        (pa.array([0.1, 3.0], pa.float32()), ["0.1", "3.0"]),
        (pa.array([1.5], pa.float16()), ["1.5"]),
        (pa.array([True, False, None]), ["true", "false", ""]),
        (pa.array(["ä,\n", "", None]), ["ä,\n", "", ""]),
        (pa.array(["x"], pa.large_string()), ["x"]),
        (pa.array([b"caf\xc3\xa9"]), ["café"]),
        (pa.array(["run", "jump", None, "run"]).dictionary_encode(), ["run", "jump", "", "run"]),
        (pa.array([datetime.date(2024, 1, 31)]), ["2024-01-31"]),
        (pa.array([datetime.datetime(2024, 1, 31)], pa.date64()), ["2024-01-31"]),
        (pa.array([1500], pa.timestamp("ms")), ["1970-01-01 00:00:01.500"]),
        (pa.array([decimal.Decimal("1.50")]), ["1.50"]),
        (pa.nulls(2), ["", ""]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_cells_as_text(tmp_path, column, texts):
    path = write(tmp_path / "m.parquet", {"x": column})
    records = list(read_parquet(path))
    assert [record.cells for record in records] == [(text,) for text in texts]
    assert [record.number for record in records] == list(range(1, len(texts) + 1))


def test_many_row_groups_and_batches(tmp_path):
    values = list(range(2 * BATCH_ROWS + 5))
    path = write(tmp_path / "m.pq", {"x": values}, row_group_size=BATCH_ROWS - 3)
    assert [record.cells for record in read_parquet(path)] == [(str(value),) for value in values]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (pa.table({"path": ["a"], "box": [[1, 2]]}), r"box \(list<.*int64>\)"),
        (pa.table({"path": ["a"], "about": [{"k": 1}]}), r"about \(struct<k: int64>\)"),
        (pa.table([["a"], ["b"]], names=["path", "path"]), "a column twice: path"),
        (pa.table([["a"], ["b"]], names=["path", ""]), "column 2 of the header has no name"),
        (pa.table({"path": ["a"], "x": [b"\xff"]}), "column x of type binary .* as text"),
        (pa.table({}), "is empty"),
        (pa.table({"path": pa.array([], pa.string())}), "no rows"),
        (pa.table({"file": ["a"]}), "there is no column 'path'"),
    ],
)
def test_unusable_tables(tmp_path, columns, reason):
    path = tmp_path / "m.parquet"
    pq.write_table(columns, path)
    with pytest.raises(DataError, match=reason):
        read_source(path)


def test_mistakes_are_named_by_row(tmp_path):
    (tmp_path / "a.mp4").touch()
    path = write(
        tmp_path / "m.parquet", {"path": ["a.mp4", None, "gone.mp4"], "start_s": [-1.0, 0.0, None]}
    )
    with pytest.raises(DataError) as caught:
        read_source(path)
    for part in ("row 1: start_s is '-1.0'", "row 2: the path is empty", "row 3: "):
        assert part in str(caught.value)


def test_files_that_are_cut_off_or_no_parquet(tmp_path):
    path = write(tmp_path / "m.parquet", {"path": ["a.mp4"] * 1000})
    whole = path.read_bytes()
    for content in (b"", b"path\na.mp4\n", whole[:-20], whole[:4] + bytes(60) + whole[64:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as a Parquet file"):
            read_source(path)


def test_flipped_bytes_are_refused_or_read(tmp_path):
    columns = {"path": ["ä.mp4", "b.mp4"] * 20, "label": pa.array(["x", "y"] * 20)}
    path = write(tmp_path / "m.parquet", columns, compression="none")
    whole = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(300):
        place = draw.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([draw.randrange(256)]) + whole[place + 1 :])
        try:
            assert all(len(record.cells) == 2 for record in read_parquet(path))
        except DataError:
            refused += 1
    assert 0 < refused < 300


def test_without_pyarrow_the_extra_is_named(tmp_path):
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path\n"
        "from vsalt.data.manifest import read_source\n"
        f"read_source(Path({str(tmp_path / 'm.parquet')!r}))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'vsalt[parquet]'" in ended.stderr
