"""Packed shards: the same bytes, rows and batches as the files they were made of."""

import json
import os
import tarfile
from pathlib import Path

import pytest
import torch

from vsalt.cli import data_pack
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.dataset import ClipDataset
from vsalt.data.loader import ClipLoader
from vsalt.data.manifest import read_source
from vsalt.data.media import Media
from vsalt.data.pack import pack
from vsalt.data.shards import PackedFile
from vsalt.data.unpack import Selection, unpack
from vsalt.durable import hold
from vsalt.errors import ConfigError, DataError, DecodeError, RunFolderError

KB = 1000


@pytest.fixture(scope="module")
def source(tmp_path_factory, write_video):
    """A manifest of seven files and eight rows; one file has two rows, one name is odd."""
    folder = tmp_path_factory.mktemp("source")
    names = ["a.mp4", "sub/b.mp4", "sub.x/c.d.mkv", "e\udc80.mp4", "f.mp4", "sub/g.mov", "h.mp4"]
    rows = []
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        plain = write_video(folder / f"plain{Path(name).suffix}", seed=index, num_frames=20)
        plain.rename(folder / name)
        split = "test" if index == 4 else "train"
        rows.append({"path": name, "label": f"l{index % 2}", "split": split, "group": str(index)})
    rows.append({"path": "a.mp4", "start_s": 0.5, "end_s": 1.5, "label": "again", "group": "0"})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def packed(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "out"
    pack(source, out, shard_bytes=40 * KB)
    return out


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != ".lock"}


def test_shards_hold_the_files(source, packed):
    rows = [json.loads(line) for line in (packed / "index.jsonl").read_text().splitlines()]
    given = [json.loads(line) for line in source.read_text().splitlines()]
    assert [row["path"] for row in rows] == [row["path"] for row in given]
    shards = sorted(path.name for path in packed.glob("*.tar"))
    assert len(shards) > 1
    assert {row["shard"] for row in rows} == set(shards)
    members = {}
    for name in shards:
        assert (packed / name).stat().st_size % tarfile.RECORDSIZE == 0
        with tarfile.open(packed / name) as tar:
            for info in tar:
                members[name, info.offset_data] = info, tar.extractfile(info).read()
                assert (info.mtime, info.uid, info.gid, info.uname) == (0, 0, 0, "")
    assert len(members) == 14
    for row in rows:
        info, data = members[row["shard"], row["offset"]]
        assert data == (source.parent / row["path"]).read_bytes()
        assert row["size"] == info.size
        assert info.name.count(".") == 1
        assert Path(info.name).suffix == Path(row["path"]).suffix
    sidecars = [json.loads(data) for info, data in members.values() if info.name.endswith("json")]
    by_path = {sidecar["path"]: sidecar for sidecar in sidecars}
    assert by_path["f.mp4"]["label"] == "l0"
    assert [row["label"] for row in by_path["a.mp4"]["rows"]] == ["l0", "again"]


def test_rows_are_the_same(source, packed):
    before, after = read_source(source).rows, read_source(packed).rows
    names = ("relative_path", "label", "split", "group", "start_s", "end_s", "weight", "columns")
    for old, new in zip(before, after, strict=True):
        assert all(getattr(old, name) == getattr(new, name) for name in names)
        data = Path(new.path).read_bytes()[new.offset : new.offset + new.size]
        assert data == Path(old.path).read_bytes()


def batches(path: Path) -> list:
    data = DataConfig(sources=(str(path),), holdout=0.2, workers=0)
    catalogue = Catalogue.load(data, seed=3)
    dataset = ClipDataset(
        table=catalogue.table(),
        order=catalogue.order(3),
        clip=ClipConfig(num_frames=4, frame_step=2, size=(16, 16)),
        data=data,
        seed=3,
        batch_size=4,
        draw_masks=None,
    )
    loader = ClipLoader(dataset, start=0, stop=5, batch_size=4, micro_batch_size=4)
    try:
        return [(micro.batch.rows, micro.batch.clips.clone()) for micro in loader]
    finally:
        loader.close()


def test_batches_are_bit_identical(source, packed):
    plain, shards = batches(source), batches(packed)
    assert len(plain) == 5
    for (rows, clips), (packed_rows, packed_clips) in zip(plain, shards, strict=True):
        assert rows == packed_rows
        assert torch.equal(clips, packed_clips)


def test_two_packings_are_equal(source, packed, tmp_path):
    pack(source, tmp_path / "again", shard_bytes=40 * KB)
    assert contents(tmp_path / "again") == contents(packed)


def test_packing_shards_gives_the_same_shards(packed, tmp_path):
    pack(packed, tmp_path / "again", shard_bytes=40 * KB)
    for path in packed.glob("*.tar"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / "again/index.jsonl").read_bytes() == (packed / "index.jsonl").read_bytes()


def test_index_of_own_shards(source, packed, tmp_path):
    pack(source, tmp_path / "out", shard_bytes=40 * KB)
    (tmp_path / "out" / "index.jsonl").unlink()
    assert data_pack.index([str(tmp_path / "out")], "vsalt data index") == 0
    made, given = (
        sorted((folder / "index.jsonl").read_text().splitlines())
        for folder in (tmp_path / "out", packed)
    )
    assert [json.loads(line) for line in made] == [json.loads(line) for line in given]


def test_second_run_keeps_finished_shards(source, packed, tmp_path):
    out = tmp_path / "out"
    first = pack(source, out, shard_bytes=40 * KB)
    shards = sorted(out.glob("*.tar"))
    # As after a kill: one shard flipped a bit, one is not there, one is half written.
    data = bytearray(shards[0].read_bytes())
    data[700] ^= 1
    shards[0].write_bytes(data)
    shards[1].unlink()
    (out / ".partial").mkdir()
    (out / ".partial" / "shard-000001.tar").write_bytes(b"half")
    (out / "index.jsonl").unlink()
    second = pack(source, out, shard_bytes=40 * KB)
    assert (first.num_kept, second.num_kept) == (0, len(shards) - 2)
    assert contents(out) == contents(packed)
    assert pack(source, out, shard_bytes=40 * KB).num_kept == len(shards)
    with pytest.raises(DataError, match="--shard-size"):
        pack(source, out, shard_bytes=50 * KB)


def test_changed_input_is_packed_anew(tmp_path, write_video):
    (tmp_path / "in").mkdir()
    for index in range(3):
        write_video(tmp_path / "in" / f"{index}.mp4", seed=index)
    pack(tmp_path / "in", tmp_path / "out", shard_bytes=2 * KB)
    write_video(tmp_path / "in" / "2.mp4", seed=9, num_frames=10)
    assert pack(tmp_path / "in", tmp_path / "out", shard_bytes=2 * KB).num_kept == 2
    pack(tmp_path / "in", tmp_path / "anew", shard_bytes=2 * KB)
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")
    (tmp_path / "in" / "2.mp4").unlink()
    pack(tmp_path / "in", tmp_path / "out", shard_bytes=2 * KB)
    assert len(list((tmp_path / "out").glob("*.tar"))) == 2


def test_shards_of_another_source_stay(source, packed, tmp_path, write_video):
    pack(source, tmp_path / "out", shard_bytes=40 * KB)
    (tmp_path / "other").mkdir()
    write_video(tmp_path / "other" / "a.mp4")
    with pytest.raises(DataError, match=r"was begun from .*rows.jsonl, not from .*other"):
        pack(tmp_path / "other", tmp_path / "out", shard_bytes=40 * KB)
    assert contents(tmp_path / "out") == contents(packed)


def test_two_parts_of_a_file_that_begin_alike(packed, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    os.link(packed / "shard-000000.tar", folder / "shard-000000.tar")
    first = json.loads((packed / "index.jsonl").read_text().splitlines()[0])
    lines = [first, {**first, "path": "half.mp4", "size": first["size"] // 2}]
    (folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pack(folder, tmp_path / "out", shard_bytes=40 * KB)
    before, after = read_source(folder).rows, read_source(tmp_path / "out").rows
    for old, new in zip(before, after, strict=True):
        assert (old.relative_path, old.size) == (new.relative_path, new.size)
        given, made = (
            Path(row.path).read_bytes()[row.offset : row.offset + row.size] for row in (old, new)
        )
        assert given == made


def test_a_kill_before_the_first_note_can_be_gone_on_from(source, packed, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".lock").touch()
    (out / ".pack.json.tmp").write_text('{"sha')
    pack(source, out, shard_bytes=40 * KB)
    assert contents(out) == contents(packed)


def test_refusals(source, tmp_path, write_video):
    with pytest.raises(DataError, match="lies in OUT"):
        pack(source, source.parent, shard_bytes=KB)
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "a.mp4")
    with pytest.raises(DataError, match="lies in the source"):
        pack(tmp_path / "in", tmp_path / "in" / "out", shard_bytes=KB)
    with pytest.raises(DataError, match="not empty"):
        pack(source, tmp_path, shard_bytes=KB)
    rows = tmp_path / "rows.csv"
    rows.write_text("path,rows\nin/a.mp4,1\n")
    with pytest.raises(DataError, match="rename"):
        pack(rows, tmp_path / "out", shard_bytes=KB)
    assert not (tmp_path / "out").exists()


def test_members_above_eight_gib_get_a_header_that_says_so():
    media = Media("x.mp4", 0, 9 << 30)
    file = PackedFile(key="0", media=media, modified_ns=0, path="x.mp4", columns=({},))
    info = tarfile.TarInfo.frombuf(file.header[-512:], "utf-8", "strict")
    assert len(file.header) == 3 * 512
    assert info.name == "0.mp4"
    assert str(9 << 30).encode() in file.header


@pytest.mark.parametrize(
    ("text", "size"),
    [("1GB", 10**9), ("1GiB", 2**30), ("1.5m", 1_500_000), ("2048", 2048), ("500 MB", 5 * 10**8)],
)
def test_sizes(text, size):
    assert data_pack.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 apple", "10", "1iB", "nan"])
def test_what_is_no_size(text):
    with pytest.raises(ConfigError, match="shard-size"):
        data_pack.parse_size(text)


def test_round_trip(source, packed, tmp_path):
    assert data_pack.unpack([str(packed), str(tmp_path / "out")], "vsalt data unpack") == 0
    before, after = read_source(source).rows, read_source(tmp_path / "out/manifest.jsonl").rows
    for old, new in zip(before, after, strict=True):
        assert old.relative_path == new.relative_path
        assert old.columns == new.columns
        assert Path(old.path).read_bytes() == Path(new.path).read_bytes()


def test_selection(packed, tmp_path):
    words = ["--where", "label=l0", "--split", "train", "--limit", "2"]
    assert data_pack.unpack([str(packed), str(tmp_path / "out"), *words], "") == 0
    rows = read_source(tmp_path / "out/manifest.jsonl").rows
    assert [row.relative_path for row in rows] == ["a.mp4", "sub.x/c.d.mkv"]
    files = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {"a.mp4", "c.d.mkv", "manifest.jsonl", ".lock"}
    with pytest.raises(DataError, match="no row has a column 'lable'"):
        unpack(packed, tmp_path / "two", Selection(where={"lable": "x"}))
    with pytest.raises(DataError, match="none of 8 rows"):
        unpack(packed, tmp_path / "two", Selection(where={"label": "x"}))


def test_unpack_stays_inside(packed, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for path in packed.glob("*.tar"):
        os.link(path, folder / path.name)
    lines = [json.loads(line) for line in (packed / "index.jsonl").read_text().splitlines()]
    names = ["../../up.mp4", "/abs.mp4", "manifest.jsonl", "x/y.mp4", "x/y.mp4", "x", "x/y.mp4/z"]
    for line, name in zip(lines, names, strict=False):
        line["path"] = name
    index = "".join(json.dumps(line) + "\n" for line in lines[: len(names)])
    (folder / "index.jsonl").write_text(index)
    unpack(folder, tmp_path / "a" / "b" / "out", Selection())
    made = {path for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder}
    out = tmp_path / "a" / "b" / "out"
    assert all(out in path.parents for path in made)
    rows = read_source(out / "manifest.jsonl").rows
    assert len({row.path for row in rows}) == len(names)
    for row, line in zip(rows, lines, strict=False):
        shard = (packed / line["shard"]).read_bytes()
        assert Path(row.path).read_bytes() == shard[line["offset"] : line["offset"] + line["size"]]


@pytest.mark.parametrize("change", [{"offset": 0}, {"offset": 1024}, {"size": 100}])
def test_unpack_takes_whole_members_only(packed, tmp_path, change):
    folder = tmp_path / "shards"
    folder.mkdir()
    os.link(packed / "shard-000000.tar", folder / "shard-000000.tar")
    line = json.loads((packed / "index.jsonl").read_text().splitlines()[0])
    (folder / "index.jsonl").write_text(json.dumps(line | change) + "\n")
    with pytest.raises(DecodeError, match="header"):
        unpack(folder, tmp_path / "out", Selection())


def test_two_unpackings_into_one_folder_at_once(packed, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with hold(out), pytest.raises(RunFolderError, match="in use by process"):
        unpack(packed, out, Selection())
    assert [path.name for path in out.iterdir()] == [".lock"]


def test_unpack_wants_one_value_of_a_column(packed, tmp_path):
    words = [str(packed), str(tmp_path / "out"), "--where", "label=l0", "--where", "label=l1"]
    with pytest.raises(ConfigError, match="where names label twice"):
        data_pack.unpack(words, "vsalt data unpack")


def test_unpack_writes_into_new_folders_only(packed, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mp4").symlink_to(tmp_path / "target")
    with pytest.raises(DataError, match="out"):
        unpack(packed, tmp_path / "out", Selection())
    assert not (tmp_path / "target").exists()
    with pytest.raises(DataError, match="lies in"):
        unpack(packed, packed / "out", Selection())
