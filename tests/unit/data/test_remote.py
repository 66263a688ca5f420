"""Files behind URLs against the same files on disk, and servers that fail."""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from support.range_server import RangeServer, serving
from support.s3_server import serving_s3
from vsalt.cli.main import main
from vsalt.data import remote
from vsalt.data.catalogue import Catalogue, ask_sizes, file_identity, parse_source
from vsalt.data.check import CheckOptions, check_sources
from vsalt.data.clip_table import ClipPlace
from vsalt.data.config import ClipConfig, DataConfig, ReadLimits
from vsalt.data.dataset import ClipDataset
from vsalt.data.decode import read_frames
from vsalt.data.frame_store import entry_path
from vsalt.data.jobs import Job
from vsalt.data.loader import ClipLoader
from vsalt.data.manifest import Row, read_source
from vsalt.data.media import Media
from vsalt.data.pack import pack
from vsalt.data.types import SampleKey
from vsalt.embedding.videos import read_videos
from vsalt.errors import DataError, DecodeError, DecodeTimeoutError, MissingExtraError

TIMES_S = [0.05, 0.55, 1.05]
NAMES = [f"videos/{index} #%.mp4" for index in range(6)]
CLIP = ClipConfig(num_frames=4, frame_step=2, size=(16, 16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_video) -> Path:
    """Six videos with a manifest, and a file of random bytes."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "videos").mkdir()
    for seed, name in enumerate(NAMES):
        write_video(folder / name, seed=seed, num_frames=20)
    lines = ["path,label", *(f"{name},{index % 2}" for index, name in enumerate(NAMES))]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    noise = np.random.default_rng(0).integers(0, 256, 5 << 20, dtype=np.uint8)
    (folder / "noise.bin").write_bytes(noise.tobytes())
    return folder


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    """The folder behind a server; what was known of another one is forgotten."""
    monkeypatch.setattr(remote, "WAITS_S", (0.01, 0.01))
    monkeypatch.setattr(remote, "REQUEST_S", 0.3)
    monkeypatch.setattr(remote, "_described", {})
    monkeypatch.setattr(remote, "_away", {})
    monkeypatch.setattr(remote, "_systems", {})
    with serving(folder) as server:
        yield server
        system = remote._systems.get("http")
        if system is not None and system._session is not None:
            # Later tests count what is open.
            fsspec.asyn.sync(system.loop, system._session.close)


@pytest.fixture
def in_memory(folder: Path) -> Iterator[str]:
    """The folder as a file system of this process."""
    memory = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/set/{path.relative_to(folder)}", path.read_bytes())
    yield "memory://set"
    memory.rm("/set", recursive=True)


def test_any_part_of_a_file_is_read_in_few_requests(server: RangeServer, folder: Path) -> None:
    whole = (folder / "noise.bin").read_bytes()
    url = f"{server.url}/noise.bin"
    random = np.random.default_rng(1)
    part = remote.RemoteFile(url, 100_001, 3 << 20)
    for _ in range(50):
        begin = int(random.integers(3 << 20))
        count = int(random.integers(1, 1 << 19))
        expected = whole[100_001:][: 3 << 20][begin : begin + count]
        assert part.read_at(begin, count, remaining_s=9.0) == expected
    assert remote.describe(url).size == len(whole)
    server.asked.clear()
    in_order = remote.RemoteFile(url, 0, len(whole))
    read = [in_order.read_at(at, 1 << 15, remaining_s=9.0) for at in range(0, len(whole), 1 << 15)]
    assert b"".join(read) == whole
    # 20 blocks in requests of 1, 2, 4, 8 and the rest.
    assert server.asked == {"GET noise.bin": 5}


def test_frames_are_those_of_the_local_file(server: RangeServer, folder: Path, in_memory) -> None:
    for name in NAMES[:2]:
        expected = read_frames(folder / name, TIMES_S)
        quoted = name.replace("%", "%25").replace("#", "%23")
        assert np.array_equal(read_frames(f"{server.url}/{quoted}", TIMES_S), expected)
        assert server.asked[f"GET {name}"] == 1
        assert np.array_equal(read_frames(f"{in_memory}/{name}", TIMES_S), expected)


def test_a_source_is_the_same_wherever_it_lies(
    server: RangeServer, folder: Path, in_memory: str
) -> None:
    local, *others = (
        Catalogue.load(DataConfig(sources=(f"{place}/labels.csv",), holdout=0.3), seed=3)
        for place in (folder, server.url, in_memory)
    )
    for other in others:
        assert other.manifest_hash == local.manifest_hash
        assert (other.train, other.holdout) == (local.train, local.holdout)
        assert other.seen_rows() == local.seen_rows()
    assert [str(row.media) for row in others[1].rows] == [f"{in_memory}/{name}" for name in NAMES]


def test_what_is_seen_is_told_whole_or_not_at_all(server: RangeServer) -> None:
    """A file that is not there is seen by nobody; one whose server fails now may be seen later."""
    data = DataConfig(sources=(f"{server.url}/labels.csv",), holdout=0.0)
    server.faults |= {NAMES[2]: "403", NAMES[4]: "500"}
    with pytest.raises(DataError, match=r"size of 1 of 6 files, such as .*/4%20%23%25\.mp4"):
        Catalogue.load(data, seed=0).seen_rows()
    del server.faults[NAMES[4]]
    names = [row.file_name for row in Catalogue.load(data, seed=0).seen_rows()]
    assert names == [name.removeprefix("videos/") for name in NAMES if name != NAMES[2]]


def test_rows_of_a_local_manifest_may_be_urls(server: RangeServer, tmp_path: Path) -> None:
    manifest = tmp_path / "mixed.jsonl"
    url = f"{server.url}/videos/0%20%23%25.mp4"
    manifest.write_text(f'{{"path": "{url}"}}\n{{"path": "{server.url}/a.PNG?signed=x.mp4"}}\n')
    video, picture = read_source(manifest).rows
    assert (video.path, video.relative_path) == (url, url)
    assert file_identity(video)[0] == "0 #%.mp4"
    assert (video.is_image, picture.is_image) == (False, True)
    manifest.write_text('{"path": "file:///etc/passwd"}\n')
    with pytest.raises(DataError, match="give its path alone"):
        read_source(manifest)


def test_a_malformed_url_is_told_with_its_place(tmp_path: Path, capsys) -> None:
    told = "http://[x/{} is no valid URL (Invalid IPv6 URL); write http://HOST/PATH"
    assert main(["data", "check", "http://[x/l.csv", "--workers", "0"]) == 1
    assert told.format("l.csv") in capsys.readouterr().err
    manifest = tmp_path / "labels.csv"
    manifest.write_text("path\nhttp://host/a.mp4\nhttp://[x/a.mp4\n")
    assert main(["data", "check", str(manifest), "--workers", "0"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any(line.endswith(f"{manifest} cannot be used:") for line in lines)
    assert any("line 3: " + told.format("a.mp4") in line for line in lines)
    with pytest.raises(DataError, match=r"http://\[x/a\.mp4 is no valid URL"):
        read_videos("http://[x/a.mp4")


def test_paths_may_not_lead_out_of_a_server(server: RangeServer, folder: Path) -> None:
    (folder / "bad.csv").write_text("path\n../../x.mp4\n/etc/passwd\n")
    with pytest.raises(DataError, match="2 mistakes") as caught:
        read_source(f"{server.url}/bad.csv")
    assert "must be relative to the manifest, or a URL" in str(caught.value)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_other_tables_are_read(suffix: str, server: RangeServer, folder: Path) -> None:
    import json

    import pyarrow
    import pyarrow.parquet

    table = [{"path": name, "label": str(index)} for index, name in enumerate(NAMES)]
    if suffix == ".jsonl":
        (folder / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), folder / "other.parquet")
    rows = read_source(f"{server.url}/other{suffix}").rows
    assert [(row.relative_path, row.label) for row in rows] == [
        (row["path"], row["label"]) for row in table
    ]


def test_shards_are_read_by_their_index(server: RangeServer, folder: Path) -> None:
    if not (folder / "shards").exists():
        pack(folder / "labels.csv", folder / "shards", shard_bytes=1 << 20)
    source = read_source(f"{server.url}/shards")
    assert [row.relative_path for row in source.rows] == NAMES
    for row, name in zip(source.rows[:2], NAMES, strict=False):
        assert row.path == f"{server.url}/shards/shard-000000.tar"
        assert np.array_equal(read_frames(row.media, TIMES_S), read_frames(folder / name, TIMES_S))
    with pytest.raises(DataError, match="Folders behind a URL are not listed"):
        read_source(f"{server.url}/videos")


def dataset_of(catalogue: Catalogue, data: DataConfig) -> ClipDataset:
    return ClipDataset(
        table=catalogue.table(),
        order=catalogue.order(0),
        batch_size=4,
        clip=CLIP,
        data=data,
        seed=0,
    )


def batches(source: str) -> list[tuple[torch.Tensor, tuple[object, ...]]]:
    data = DataConfig(sources=(source,), holdout=0.0)
    dataset = dataset_of(Catalogue.load(data, seed=0), data)
    with ClipLoader(dataset, start=0, stop=3, batch_size=4, micro_batch_size=4) as loader:
        return [(item.batch.clips.clone(), item.batch.bad_files) for item in loader]


def test_clips_are_those_of_local_files(server: RangeServer, folder: Path) -> None:
    expected = batches(str(folder / "labels.csv"))
    found = batches(f"{server.url}/labels.csv")
    for (clips, bad), (wanted, _) in zip(found, expected, strict=True):
        assert torch.equal(clips, wanted)
        assert not bad


def test_a_request_that_fails_is_made_again(server: RangeServer, folder: Path) -> None:
    server.faults[NAMES[0]] = "500 once"
    url = read_source(f"{server.url}/labels.csv").rows[0].path
    assert np.array_equal(read_frames(url, TIMES_S), read_frames(folder / NAMES[0], TIMES_S))


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("500", DecodeTimeoutError, "the server answers 500 .*, tried 3 times"),
        ("cut", DecodeTimeoutError, "tried 3 times"),
        ("hang", DecodeTimeoutError, "no answer in time, tried|reading took longer than 1 s"),
        ("403", DecodeError, "the server answers 403"),
        ("gone", DecodeError, "the server answers 404|no such file"),
    ],
)
def test_a_file_that_stays_unreadable_is_a_bad_one(
    fault: str, error: type[DecodeError], message: str, server: RangeServer
) -> None:
    row = read_source(f"{server.url}/labels.csv").rows[2]
    server.faults[NAMES[2]] = fault
    url = row.path.replace(".mp4", ".avi") if fault == "gone" else row.path
    with pytest.raises(DecodeError, match=message) as caught:
        read_frames(url, TIMES_S, limits=ReadLimits(timeout_s=1.0))
    assert type(caught.value) is error
    assert url in str(caught.value)


def test_bad_files_are_replaced_and_named_by_their_url(server: RangeServer) -> None:
    server.faults[NAMES[2]] = "cut"
    server.faults[NAMES[4]] = "403"
    bad = [file for _, files in batches(f"{server.url}/labels.csv") for file in files]
    rows = read_source(f"{server.url}/labels.csv").rows
    assert {(file.path, file.timed_out) for file in bad} == {
        (rows[2].path, True),  # on another day it might be whole
        (rows[4].path, False),
    }


def test_a_server_without_ranges_sends_small_files_whole(server: RangeServer, folder: Path) -> None:
    server.faults["noise.bin"] = "whole"
    whole = (folder / "noise.bin").read_bytes()
    file = remote.RemoteFile(f"{server.url}/noise.bin", 1000, 4 << 20)
    assert file.read_at(3 << 20, 5, remaining_s=9.0) == whole[1000 + (3 << 20) :][:5]
    assert file.read_at(7, 9, remaining_s=9.0) == whole[1007:1016]
    assert server.asked == {"GET noise.bin": 1}
    # It has become shorter, to the length of the part that is asked for.
    with pytest.raises(DecodeError, match="the file ends at byte 5242880"):
        remote.read_range(f"{server.url}/noise.bin", 100, 100 + (5 << 20), remaining_s=9.0)


def test_no_more_than_can_be_kept_is_taken_of_a_server_without_ranges(
    server: RangeServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "REQUEST_S", 60.0)
    most, sparse = remote.KEPT_BLOCKS * remote.BLOCK_BYTES, folder / "sparse.bin"
    with sparse.open("wb") as file:
        file.truncate(8 * most)
    server.faults["sparse.bin"] = "whole"
    file = remote.RemoteFile(f"{server.url}/sparse.bin", 0, 8 * most)
    with pytest.raises(DecodeError, match=f"more than {most} bytes need a server that knows byte"):
        file.read_at(0, 5, remaining_s=60.0)
    assert server.asked == {"GET sparse.bin": 1}
    assert server.sent["sparse.bin"] < 2 * most


def test_settings_of_fsspec_for_http_are_kept(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"headers": {"Authorization": "Bearer word"}}
    monkeypatch.setitem(fsspec.config.conf, "http", settings)
    remote.read_range(f"{server.url}/noise.bin", 0, 5, remaining_s=9.0)
    remote.describe(f"{server.url}/noise.bin")
    sent = [(each["Authorization"], each["Accept-Encoding"]) for each in server.headers]
    assert sent == [("Bearer word", "identity")] * 2


def test_a_server_that_is_away_is_an_error_at_once(
    server: RangeServer, folder: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        away = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(DataError, match=f"the server {away} cannot be reached, tried 3 times"):
        read_source(f"{away}/labels.csv")
    manifest = tmp_path / "away.csv"
    manifest.write_text(f"path\n{away}/0.mp4\n{away}/1.mp4\n")
    with pytest.raises(DataError, match=f"the server {away} cannot be reached, tried once"):
        read_source(manifest)
    # Also where the manifest itself comes from another one.
    (folder / "away.csv").write_text(manifest.read_text())
    with pytest.raises(DataError, match=f"the server {away} cannot be reached, tried once"):
        read_source(f"{server.url}/away.csv")
    # One of two servers is enough to begin with.
    manifest.write_text(f"path\n{away}/0.mp4\n{server.url}/videos/0%20%23%25.mp4\n")
    assert len(read_source(manifest).rows) == 2


def test_a_server_that_goes_away_ends_the_reading_soon(
    folder: Path, server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(folder) as other:
        data = DataConfig(sources=(f"{other.url}/labels.csv",), holdout=0.0)
        catalogue = Catalogue.load(data, seed=0)
        dataset = dataset_of(catalogue, data)
        assert not dataset.read([dataset.draw(SampleKey(0, 0))], Job()).bad_files
    monkeypatch.setattr(remote, "_described", {})
    began = time.monotonic()
    with pytest.raises(DataError, match="8 clips in a row could not be read") as caught:
        dataset.read([dataset.draw(SampleKey(1, 0))], Job())
    assert f"the server {other.url} cannot be reached, tried once" in str(caught.value)
    assert time.monotonic() - began < 60  # far from eight times the limit of a file


def test_a_server_that_is_silent_is_not_asked_for_ever(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "SILENT_FILES", 4)
    monkeypatch.setattr(remote, "_IN_FLIGHT", 2)
    server.faults.update({f"{number}.mp4": "hang" for number in range(100)})
    urls = [f"{server.url}/{number}.mp4" for number in range(100)]
    rows = [Row(path=url, relative_path=url, source=0, columns={}) for url in urls]
    with pytest.raises(DataError, match=r"4 files in a row could not be asked .* in time, tried"):
        ask_sizes(rows)
    assert len(server.asked) < 10


def test_many_threads_may_forget_at_once(in_memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_described", {})
    monkeypatch.setattr(remote, "_MOST_DESCRIBED", 1)
    names = [f"{in_memory}/{number}" for number in range(500)]
    for name in names:
        fsspec.filesystem("memory").pipe_file(name, b"12")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        found = list(remote.describe_all(names))
    finally:
        sys.setswitchinterval(before)
    assert {info.size for info in found} == {2}
    assert len(remote._described) == 1


def test_a_kept_frame_belongs_to_a_version_of_the_file(
    server: RangeServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ClipPlace(Media(f"{server.url}/noise.bin"), None, None)
    first = entry_path(Path("cache"), place, ReadLimits())
    assert entry_path(Path("cache"), place, ReadLimits()) == first
    os.utime(folder / "noise.bin", ns=(1, 1))
    monkeypatch.setattr(remote, "_described", {})  # another process
    assert entry_path(Path("cache"), place, ReadLimits()) != first


def test_the_limit_of_a_reading_holds_for_what_names_its_frames(server: RangeServer) -> None:
    server.faults["noise.bin"] = "hang"
    place = ClipPlace(Media(f"{server.url}/noise.bin"), None, None)
    with pytest.raises(DecodeTimeoutError, match="tried once"):
        entry_path(Path("cache"), place, ReadLimits(timeout_s=0.1))


def test_check_reads_what_is_behind_urls(server: RangeServer, folder: Path) -> None:
    server.faults[NAMES[1]] = "403"
    lines = ["path", *NAMES, "videos/none.mp4", NAMES[0]]
    (folder / "check.csv").write_text("\n".join(lines) + "\n")
    location, weight = parse_source(f"{server.url}/check.csv@2")
    assert weight == 2
    (found,) = check_sources([location], CheckOptions(clip=CLIP, workers=0))
    assert {number: text.split(" ")[-1] for number, text in found.bad.items()} == {
        1: "Forbidden",
        6: found.bad[6].split(" ")[-1],
    }
    assert not found.timed_out
    assert list(found.notes["again"]) == [7]
    assert not found.notes["leaves"]
    assert found.files.num_files == 5
    assert found.files.size_bytes == sum(
        (folder / name).stat().st_size for index, name in enumerate(NAMES) if index != 1
    )


@pytest.mark.parametrize(
    "words",
    [
        ("prepare", "URL/labels.csv", "out"),
        ("pack", "URL/labels.csv", "out"),
        ("unpack", "URL/shards", "out"),
        ("index", "URL/shards"),
    ],
)
def test_verbs_that_cannot_read_urls_say_so(
    words: tuple[str, ...], server: RangeServer, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(["data", *(word.replace("URL", server.url) for word in words)])
    assert code != 0
    assert "is a URL, and this verb reads local files only" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


READINGS: dict[str, Callable[[str], object]] = {
    "describe": remote.describe,
    "read_whole": remote.read_whole,
    "read_range": lambda url: remote.read_range(url, 0, 4, remaining_s=60.0),
}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of an S3-compatible server, with one object `there`."""
    with serving_s3() as settings, pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.setattr(remote, "_systems", {})
        system = fsspec.filesystem("s3", skip_instance_cache=True)
        system.mkdir("bucket")
        system.pipe_file("bucket/there", b"some bytes")
        yield "s3://bucket"
        # Of later tests none is led to this server.
        system.clear_instance_cache()


@pytest.mark.parametrize("reading", READINGS)
def test_what_s3_does_not_have_is_asked_for_once(
    bucket: str, reading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    open_system = remote._open_system

    def count(url: str) -> tuple[object, str]:
        tried.append(url)
        return open_system(url)

    monkeypatch.setattr(remote, "_open_system", count)
    read = READINGS[reading]
    read(f"{bucket}/there")
    assert len(tried) == 1
    missing = {
        f"{bucket}/absent": "no such file|404 The specified key does not exist",
        "s3://nowhere/absent": "404 The specified bucket does not exist",
    }
    for url, reason in missing.items():
        tried.clear()
        with pytest.raises(DecodeError, match=f"^{url}: .*({reason})") as caught:
            read(url)
        assert not isinstance(caught.value, DecodeTimeoutError)
        assert tried == [url]


@pytest.mark.parametrize(
    ("code", "status", "passes"),
    [
        ("NoSuchKey", 404, False),
        ("AccessDenied", 403, False),
        ("InvalidRange", 416, False),
        ("RequestTimeout", 400, True),
        ("TooManyRequests", 429, True),
        ("InternalError", 500, True),
        ("SlowDown", 503, True),
        # An error in an answer that had begun as a good one.
        ("InternalError", 200, True),
    ],
)
def test_which_errors_of_s3_may_pass(code: str, status: int, passes: bool) -> None:
    """By the table of S3's error responses; `translate_boto_error` is what s3fs raises."""
    response = {
        "Error": {"Code": code, "Message": "told so"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    error = translate_boto_error(ClientError(response, "GetObject"))
    assert remote._may_pass(remote._cause(error)) is passes


def test_what_is_missing_can_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_systems", {})
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vsalt\[remote\]'"):
        read_source("http://127.0.0.1:9/labels.csv")


def test_a_protocol_that_nobody_knows_is_named() -> None:
    with pytest.raises(DataError, match="nonsense:// is no protocol that fsspec knows"):
        read_source("nonsense://host/labels.csv")
