"""Rows of packed shards, against tar files that the standard library wrote."""

import json
import os
import tarfile

import pytest

from vsalt.data.catalogue import Catalogue, file_identity
from vsalt.data.config import DataConfig
from vsalt.data.manifest import read_source
from vsalt.errors import DataError

FILES = {"run/a.mp4": b"first", "run/b.mp4": b"second file", "jump/c.png": b"3"}


@pytest.fixture
def unpacked(tmp_path):
    folder = tmp_path / "unpacked"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def packed(tmp_path, unpacked):
    """The same files in one tar file, with the index that the contract describes."""
    folder = tmp_path / "packed"
    folder.mkdir()
    shard = folder / "shard-000000.tar"
    names = [row.relative_path for row in read_source(unpacked).rows]
    with tarfile.open(shard, "w") as archive:
        for name in names:
            archive.add(unpacked / name, arcname=name)
    with tarfile.open(shard) as archive:
        places = {member.name: (member.offset_data, member.size) for member in archive}
    write_index(
        folder,
        [
            {
                "path": name,
                "shard": shard.name,
                "offset": places[name][0],
                "size": places[name][1],
                "label": name.split("/")[0],
            }
            for name in names
        ],
    )
    return folder


def write_index(folder, records):
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "index.jsonl").write_text(text)


def test_rows_name_the_bytes_of_their_files(packed):
    rows = read_source(packed).rows
    assert rows == read_source(packed / "index.jsonl").rows
    assert {row.relative_path for row in rows} == FILES.keys()
    for row in rows:
        assert row.path == str(packed / "shard-000000.tar")
        with open(row.path, "rb") as file:
            file.seek(row.offset)
            assert file.read(row.size) == FILES[row.relative_path]
        assert row.columns == {"label": row.relative_path.split("/")[0]}
        assert row.is_image == (row.relative_path == "jump/c.png")


def test_packing_changes_nothing_that_names_a_row(packed, unpacked):
    def load(folder):
        return Catalogue.load(DataConfig(sources=(str(folder),), holdout=0.4), seed=3)

    one, other = load(packed), load(unpacked)
    assert one.manifest_hash == other.manifest_hash
    assert (one.train, one.holdout) == (other.train, other.holdout)
    assert one.seen_rows() == other.seen_rows()
    assert {file_identity(row) for row in one.rows} == {
        (os.path.basename(name), len(content)) for name, content in FILES.items()
    }


def test_a_part_of_the_index_is_a_manifest_too(packed):
    lines = (packed / "index.jsonl").read_text().splitlines(keepends=True)
    (packed / "part.jsonl").write_text("".join(lines[1:]))
    assert read_source(packed / "part.jsonl").rows == read_source(packed).rows[1:]


def test_a_column_named_shard_alone_is_a_column(unpacked):
    path = unpacked / "m.csv"
    path.write_text("path,shard\nrun/a.mp4,7\n")
    (row,) = read_source(path).rows
    assert row.columns == {"shard": "7"}
    assert row.size is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"offset": -1}, "offset is '-1'; it must be a whole number"),
        ({"offset": 1.0}, "offset is '1.0'"),
        ({"offset": int("9" * 30)}, "offset is '999"),
        ({"size": "٣"}, "size is '٣'"),
        ({"size": None}, "size is ''"),
        ({"size": 1 << 40}, "has 10240 bytes, but the member is said to lie at"),
        ({"shard": "../unpacked/run/a.mp4"}, "must be the name of a tar file beside the index"),
        ({"shard": "/etc/passwd"}, "must be the name of a tar file beside the index"),
        ({"shard": ".."}, "must be the name of a tar file beside the index"),
        ({"shard": ""}, "must be the name of a tar file beside the index"),
        ({"shard": "a\0b"}, "there is no shard"),
        ({"shard": "shard-000009.tar"}, "there is no shard"),
        ({"shard": "folder"}, "not a regular file"),
        ({"path": ""}, "the path is empty"),
    ],
)
def test_mistakes(packed, change, reason):
    (packed / "folder").mkdir()
    good = json.loads((packed / "index.jsonl").read_text().splitlines()[0])
    write_index(packed, [good, {**good, **change}])
    with pytest.raises(DataError, match="1 mistakes") as caught:
        read_source(packed)
    (line,) = [line for line in str(caught.value).splitlines() if "line 2: " in line]
    assert reason in line


def test_a_shard_that_was_cut_off(packed):
    os.truncate(packed / "shard-000000.tar", 700)
    with pytest.raises(DataError, match=r"has 700 bytes.* was the shard cut off"):
        read_source(packed)


def test_no_index_or_another(packed):
    write_index(packed, [{"path": "run/a.mp4", "label": "x"}])
    with pytest.raises(DataError, match=r"no column 'shard'.*no column 'offset'"):
        read_source(packed)
    (packed / "index.jsonl").unlink()
    with pytest.raises(DataError, match=f"`vsalt data index {packed}`"):
        read_source(packed)
