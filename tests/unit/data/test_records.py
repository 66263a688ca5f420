"""Records by row and view, whatever file they lie in."""

import pickle

import numpy as np
import pytest

from vsalt.data.records import RecordLayout, Records
from vsalt.errors import DataError, DecodeError

ROWS = np.array([3, 5, 6, 10, 11])
LAYOUT = RecordLayout(num_rows=5, num_views=3, record_bytes=4, rows_per_file=2)


@pytest.fixture
def files(tmp_path):
    """Records that say which row and view they are of."""
    paths = []
    for number in range(LAYOUT.num_files):
        content = bytes(
            value
            for row in ROWS[LAYOUT.rows_of(number)]
            for view in range(3)
            for value in (row, view, 7, 7)
        )
        assert len(content) == LAYOUT.bytes_of(number)
        paths.append(tmp_path / f"{number}.bin")
        paths[-1].write_bytes(content)
    return paths


def test_every_record_is_found(files):
    assert (LAYOUT.num_files, LAYOUT.num_bytes) == (3, 60)
    records = Records(files, LAYOUT, ROWS, {})
    sent = pickle.loads(pickle.dumps(records))
    for reader in (records, sent):
        for row in ROWS:
            for view in range(3):
                assert reader.read(int(row), view, "x").tolist() == [row, view, 7, 7]


def test_a_row_that_was_left_out_cannot_be_read(files):
    records = Records(files, LAYOUT, ROWS, {6: "no video"})
    with pytest.raises(DecodeError, match=r"clip\.mp4: it has no cached targets: no video"):
        records.read(6, 0, "clip.mp4")


@pytest.mark.parametrize("row", [0, 4, 12])
def test_a_row_that_the_cache_does_not_know_ends_the_run(files, row):
    with pytest.raises(DataError, match=rf"row {row}, clip\.mp4, is not in the cache") as caught:
        Records(files, LAYOUT, ROWS, {}).read(row, 0, "clip.mp4")
    assert not isinstance(caught.value, DecodeError)  # which would be replaced by another clip


def test_files_that_are_not_whole_are_refused(files):
    files[1].write_bytes(files[1].read_bytes()[:-1])
    with pytest.raises(DataError, match=r"1\.bin has 23 bytes, not 24; write the cache anew"):
        Records(files, LAYOUT, ROWS, {})
    files[1].unlink()
    with pytest.raises(DataError, match=r"1\.bin is missing"):
        Records(files, LAYOUT, ROWS, {})


def test_no_rows_need_no_files():
    layout = RecordLayout(num_rows=0, num_views=1, record_bytes=4, rows_per_file=2)
    assert layout.num_files == 0
    Records([], layout, np.array([], dtype=np.int64), {})
