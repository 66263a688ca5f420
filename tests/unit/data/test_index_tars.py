"""`vsalt data index`: shards that others have packed, some of them hostile."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from vsalt.cli import data_pack
from vsalt.data.index_tars import index_tars
from vsalt.data.manifest import read_source
from vsalt.errors import DataError

LONG = "deep/" * 40 + "long.mp4"


def add(tar: tarfile.TarFile, name: str, data: bytes = b"v", **fields) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(data) if info.size and info.isreg() else None)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_columns_and_places(tmp_path, form):
    long_name = "x" * 90 + "/" + "y" * 60 if form == tarfile.USTAR_FORMAT else "x" * 180 + "/a"
    with tarfile.open(tmp_path / "part-1.tar", "w", format=form) as tar:
        add(tar, "a.mp4", b"first")
        add(tar, "a.json", json.dumps({"n": 3, "t": "x", "deep": {"no": 1}, "b": True}).encode())
        add(tar, "b.front.MP4", b"second!")
        add(tar, "b.side.webm", b"third")
        add(tar, "b.cls", b"7\n")
        add(tar, "b.txt", "dört".encode())
        add(tar, f"{long_name}.jpg", b"picture")
        add(tar, "only.txt", b"no video")
    result = index_tars(tmp_path)
    assert result.problems == ()
    rows = lines(tmp_path)
    assert [row["path"] for row in rows] == [
        "part-1/a.mp4",
        "part-1/b.front.MP4",
        "part-1/b.side.webm",
        f"part-1/{long_name}.jpg",
    ]
    data = (tmp_path / "part-1.tar").read_bytes()
    found = [data[row["offset"] : row["offset"] + row["size"]] for row in rows]
    assert found == [b"first", b"second!", b"third", b"picture"]
    assert {name: rows[0][name] for name in ("n", "t", "b")} == {"n": 3, "t": "x", "b": True}
    assert "deep" not in rows[0]
    assert (rows[1]["label"], rows[2]["text"]) == ("7", "dört")
    assert "label" not in rows[0] | rows[3]


def test_equal_names_in_two_shards_stay_apart(tmp_path):
    for name in ("one", "two"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            add(tar, "000.mp4")
    index_tars(tmp_path)
    assert [row["path"] for row in lines(tmp_path)] == ["one/000.mp4", "two/000.mp4"]


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("/etc/x.mp4", {}, "leads out"),
        ("../x.mp4", {}, "leads out"),
        ("a/../../x.mp4", {}, "leads out"),
        ("l.mp4", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "link"),
        ("h.mp4", {"type": tarfile.LNKTYPE, "linkname": "good.mp4"}, "link"),
        ("d.mp4", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}, "not a plain file"),
        ("p.mp4", {"type": tarfile.FIFOTYPE}, "not a plain file"),
        ("s.mp4", {"type": tarfile.GNUTYPE_SPARSE}, ""),
    ],
)
def test_hostile_members_are_left_out(tmp_path, name, fields, reason):
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        add(tar, "good.mp4")
        add(tar, name, b"" if fields else b"v", **fields)
        add(tar, "also.mp4")
    result = index_tars(tmp_path)
    assert [row["path"] for row in lines(tmp_path)] == ["s/good.mp4", "s/also.mp4"]
    (problem,) = result.problems
    assert reason in problem


def huge(tar: tarfile.TarFile, size: int, kind: bytes = tarfile.REGTYPE) -> None:
    info = tarfile.TarInfo("huge.mp4")
    info.size, info.type = size, kind
    tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
    tar.offset += 512


@pytest.mark.parametrize("size", [-1024, -(2**40), 1 << 50])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_impossible_sizes_end_a_shard(tmp_path, size, kind):
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        add(tar, "good.mp4")
        huge(tar, size, kind)
        add(tar, "lost.mp4")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        add(tar, "next.mp4")
    result = index_tars(tmp_path)
    assert [row["path"] for row in lines(tmp_path)] == ["s/good.mp4", "t/next.mp4"]
    assert "s.tar: damaged" in result.problems[0]


@pytest.mark.parametrize("keep", [600, 1024 + 300, 1024 + 512 + 3])
def test_truncated_shard_keeps_what_is_whole(tmp_path, keep):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        add(tar, "a.mp4", b"x" * 200)
        add(tar, "b.mp4", b"y" * 200)
    data = (tmp_path / "s.tar").read_bytes()
    (tmp_path / "s.tar").write_bytes(data[:keep])
    if keep == 600:
        with pytest.raises(DataError, match="no video"):
            index_tars(tmp_path)
        return
    result = index_tars(tmp_path)
    assert [row["path"] for row in lines(tmp_path)] == ["s/a.mp4"]
    assert len(result.problems) == 1


@pytest.mark.parametrize("text", [b"[1]", b"{", b"[" * 100_000, b"\xff", b"1" * (1 << 21)])
def test_bad_columns_are_reported(tmp_path, text):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        add(tar, "a.mp4")
        add(tar, "a.json", text)
    result = index_tars(tmp_path)
    assert len(lines(tmp_path)) == 1
    assert "a.json" in result.problems[0]


def test_columns_of_the_index_cannot_be_forged(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        add(tar, "a.json", json.dumps({"shard": "/etc/passwd", "offset": 0, "size": 9}).encode())
        add(tar, "a.mp4", b"bytes")
        add(tar, "b.json", json.dumps({"rows": [{"shard": "x", "k": "v"}, 3]}).encode())
        add(tar, "b.mp4", b"bytes")
    result = index_tars(tmp_path)
    assert all((row["shard"], row["size"]) == ("s.tar", 5) for row in lines(tmp_path))
    assert lines(tmp_path)[1]["k"] == "v"
    assert "shard" in result.problems[0]


def test_one_odd_member_does_not_spoil_the_others(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        add(tar, "a.mp4", b"bytes")
        for key, path in (("b", "x\0y.mp4"), ("c", "\ud800.mp4"), ("d", "")):
            add(tar, f"{key}.json", json.dumps({"path": path}).encode())
            add(tar, f"{key}.mp4", b"bytes")
        add(tar, "e.json", b'{"rows": []}')
        add(tar, "e.mp4", b"bytes")
        add(tar, "odd", b"bytes", pax_headers={"path": "f\0.mp4"})
    result = index_tars(tmp_path)
    assert [row.relative_path for row in read_source(tmp_path).rows] == [
        f"s/{key}.mp4" for key in "abcde"
    ]
    assert len(result.problems) == 1
    assert "NUL" in result.problems[0]


def test_refusals(tmp_path, capsys):
    with pytest.raises(DataError, match="not a folder"):
        index_tars(tmp_path / "none")
    with pytest.raises(DataError, match="no tar file"):
        index_tars(tmp_path)
    (tmp_path / "x.tar").mkdir()
    with pytest.raises(DataError, match="no video"):
        index_tars(tmp_path)
    (tmp_path / "x.tar").rmdir()
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        add(tar, "/a.mp4")
        add(tar, "b.mp4")
    assert data_pack.index([str(tmp_path)], "vsalt data index") == 1
    assert "leads out" in capsys.readouterr().out
    with pytest.raises(DataError, match="there already"):
        index_tars(tmp_path)
