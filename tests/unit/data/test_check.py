"""`vsalt data check` against files whose faults are known, and the manifests it writes."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vsalt.cli.main import main
from vsalt.data.activity import Place
from vsalt.data.check import CheckOptions, SourceCheck, check_sources
from vsalt.data.check_reads import CheckReads
from vsalt.data.clean_manifest import write_manifest
from vsalt.data.clip_table import ClipTable
from vsalt.data.config import ClipConfig, ReadLimits
from vsalt.data.jobs import Job
from vsalt.data.manifest import ManifestColumns, read_source
from vsalt.errors import DataError

WriteVideo = Callable[..., Path]
ODD = "red\x1b[31m\udcff.mp4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo) -> Path:
    """A folder with three good videos, six bad ones and what is worth knowing."""
    top = tmp_path_factory.mktemp("check")
    outside = write_video(top / "elsewhere.mp4", num_frames=5)
    folder = top / "set"
    (folder / "train" / "jump").mkdir(parents=True)
    good = write_video(folder / "train" / "jump" / "a.mp4", num_frames=40, fps=10)
    write_video(folder / "b.mp4", num_frames=20, fps=20, height=64, width=32)
    (folder / ODD).write_bytes(write_video(top / "odd.mp4", num_frames=30).read_bytes())
    whole = good.read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("ffconcat version 1.0\nfile b.mp4\n")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "nowhere.mp4").symlink_to("missing.mp4")
    (folder / "null.mp4").symlink_to("/dev/null")
    (folder / "out.mp4").symlink_to(outside)
    (folder / "jumps").symlink_to(folder / "train" / "jump")
    (folder / "readme.TXT").touch()
    (folder / ".hidden").touch()
    return folder


def check(path: Path, **options: object) -> SourceCheck:
    (result,) = check_sources([path], CheckOptions(workers=0, **options))
    return result


def names(check: SourceCheck, kind: str) -> list[str]:
    return [check.source.rows[number].relative_path for number in check.notes[kind]]


def test_every_fault_has_its_reason_and_the_rest_is_counted(folder: Path) -> None:
    found = check(folder)
    rows = found.source.rows
    bad = {rows[number].relative_path: reason for number, reason in found.bad.items()}
    assert bad.pop("empty.mp4") == "empty file"
    assert bad.pop("pipe.mp4") == "not a regular file but a pipe"
    assert bad.pop("null.mp4") == "not a regular file but a device"
    assert bad.pop("nowhere.mp4") == "a symbolic link to nothing"
    # What the library says of these is its own; the name is not repeated.
    assert set(bad) == {"cut.mp4", "text.mp4"}
    assert not any("mp4:" in reason for reason in bad.values())
    files = found.files
    assert (files.num_files, sorted(files.num_frames)) == (4, [5, 20, 30, 40])
    assert sorted(round(seconds, 6) for seconds in files.duration_s) == [0.5, 1.0, 3.0, 4.0]
    assert (files.rates, files.sizes) == ({"10": 3, "20": 1}, {"48×32": 3, "32×64": 1})
    good = {row.relative_path for row in found.good_rows}
    assert files.size_bytes == sum((folder / name).stat().st_size for name in good)
    assert files.codecs == {"h264": 4}


def test_links_odd_names_and_what_is_passed_over(folder: Path) -> None:
    found = check(folder, depth="headers")
    links = names(found, "is_link")
    # Either way to the linked folder may come first, and then it is read by that name.
    jump = [name for name in links if name.startswith("jumps/")]
    assert sorted(set(links) - set(jump)) == ["nowhere.mp4", "null.mp4", "out.mp4"]
    assert sorted(names(found, "leaves")) == ["null.mp4", "out.mp4"]
    assert names(found, "odd_name") == [ODD]
    assert found.folder is not None
    assert found.folder.linked_folders == ["jumps"]
    assert {*found.folder.seen_twice, *map(os.path.dirname, jump)} == {"jumps", "train/jump"}
    assert found.folder.unread == {".txt": 1}
    assert found.folder.num_hidden == 1


def test_worker_processes_find_the_same(folder: Path) -> None:
    (parallel,) = check_sources([folder], CheckOptions(workers=1))
    alone = check(folder)
    assert (parallel.bad, parallel.notes, parallel.files) == (alone.bad, alone.notes, alone.files)


def test_a_reading_that_hangs_or_crashes_is_a_bad_row(folder: Path) -> None:
    table = ClipTable(read_source(folder / "train").rows)
    reads = CheckReads(table, [str(folder / "train")], [0], depth="ends", limits=ReadLimits())
    (alone,) = reads.read([0], Job())
    assert alone.error is None
    (stopped,) = reads.read([0], Job({Place(0): "reading ended its worker"}))
    assert (stopped.row, stopped.error) == (0, "reading ended its worker")
    assert (alone.timed_out, stopped.timed_out) == (False, True)


def test_time_outs_are_told_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = check(folder, limits=ReadLimits(timeout_s=1e-9))
    rows = found.source.rows
    slow = {rows[number].relative_path for number in found.timed_out}
    assert {"b.mp4", "cut.mp4", ODD} <= slow
    assert not slow & {"empty.mp4", "pipe.mp4", "null.mp4", "nowhere.mp4"}
    words = ["data", "check", str(folder), "--workers", "0", "--limits.timeout-s", "1e-9"]
    assert main(words) == 1
    assert f"{len(slow)} of them for the time it took" in " ".join(capsys.readouterr().out.split())
    assert main([*words, "--json", "-"]) == 1
    bad = json.loads(capsys.readouterr().out)["sources"][0]["bad"]
    assert {record["path"] for record in bad if record["timed_out"]} == slow


def test_a_path_that_no_file_can_have_is_a_mistake_of_the_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text('{"path": "a.mp4"}\n{"path": "\\ud800.mp4"}\n')
    with pytest.raises(DataError, match=r"line 2: the path '\\ud800.mp4' holds half a character"):
        check(manifest)


def test_a_manifest_with_repetitions_detours_and_missing_files(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", num_frames=40)
    os.link(tmp_path / "videos" / "a.mp4", tmp_path / "videos" / "same.mp4")
    write_video(tmp_path / "b.mp4", num_frames=10)
    manifest = tmp_path / "videos" / "clips.csv"
    lines = [
        "path,start_s,end_s",
        "a.mp4,0,1",
        "a.mp4,1,2.5",
        "same.mp4,0,1",
        "../b.mp4,,",
        "./a.mp4,9,10",
        "missing.mp4,,",
    ]
    manifest.write_text("\n".join(lines) + "\n")
    found = check(manifest)
    assert found.bad[5] == "no such file"
    assert "no frame lies between 9 s and 10 s" in found.bad[4]
    assert sorted(found.bad) == [4, 5]
    assert names(found, "again") == ["same.mp4"]
    assert names(found, "leaves") == names(found, "dot_dot") == ["../b.mp4"]
    assert found.files.num_files == 2
    # 10, 15, 10 and 10 frames against 3 * 4.
    found.finish(ClipConfig(num_frames=3, frame_step=4))
    assert found.windows is not None
    assert (found.windows.num_clips, found.windows.num_short) == (4, 3)
    with pytest.raises(DataError, match="1 missing files"):
        read_source(manifest)


def test_all_frames_are_counted_and_compared_with_the_header(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=40, gop=10, b_frames=0)
    content = bytearray(path.read_bytes())
    # The sizes of samples: the first key frame's slices vanish, the header's numbers stay.
    place = content.index(b"mdat") + 4
    middle = place + (content.index(b"moov") - place) // 2
    content[middle : middle + 200] = bytes(200)
    (tmp_path / "damaged.mp4").write_bytes(content)
    by_ends, by_all = check(tmp_path, depth="ends"), check(tmp_path, depth="all")
    assert not by_ends.bad
    suspects = [*by_all.bad, *by_all.notes["frames_differ"]]
    assert [by_all.source.rows[number].relative_path for number in suspects] == ["damaged.mp4"]


def test_limits_are_kept(folder: Path) -> None:
    found = check(folder, limits=ReadLimits(max_pixels=48 * 32))
    assert sum("pixels" in reason for reason in found.bad.values()) == 1


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_clean_manifest_gives_the_good_rows(
    suffix: str, tmp_path: Path, write_video: WriteVideo
) -> None:
    for name in ("a.mp4", 'co,mma "quoted"\nline.mp4'):
        write_video(tmp_path / name, num_frames=12)
    absolute = write_video(tmp_path / "c.mp4", num_frames=12)
    records = [
        {"path": "a.mp4", "species": "cat", "split": "TRAIN", "start_s": 0.25, "weight": 3},
        {"path": "gone.mp4", "species": "cat"},
        {"path": 'co,mma "quoted"\nline.mp4', "species": " dog", "group": "g", "note": "x\ty"},
        {"path": str(absolute), "split": "test", "end_s": "0.5"},
    ]
    manifest = tmp_path / "clips.jsonl"
    manifest.write_text("".join(json.dumps(record) + "\n" for record in records))
    columns = ManifestColumns(label="species")
    found = check(manifest, columns=columns)
    out = tmp_path / f"clean{suffix}"
    write_manifest(out, found.good_rows, columns)
    clean = read_source(out, columns=columns)
    assert clean.rows == tuple(found.good_rows)
    assert len(clean.rows) == 3
    assert clean.weighted
    before = out.read_bytes()
    with pytest.raises(DataError, match="nothing is written over"):
        write_manifest(out, found.good_rows, columns)
    assert out.read_bytes() == before
    assert not list(tmp_path.glob("*.tmp"))


def test_a_clean_manifest_of_a_folder_keeps_names_labels_and_splits(folder: Path) -> None:
    found = check(folder)
    out = folder / "clean.jsonl"
    try:
        write_manifest(out, found.good_rows, ManifestColumns())
        assert read_source(out).rows == tuple(found.good_rows)
    finally:
        out.unlink()
    elsewhere = folder.parent / "clean.jsonl"
    write_manifest(elsewhere, found.good_rows, ManifestColumns())
    rows = read_source(elsewhere).rows
    assert [row.path for row in rows] == [row.path for row in found.good_rows]
    assert rows[0].relative_path == f"set/{found.good_rows[0].relative_path}"


def test_a_clean_manifest_beside_the_old_one_keeps_every_spelling(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    write_video(tmp_path / "a.mp4")
    (tmp_path / "x").mkdir()
    manifest = tmp_path / "rows.csv"
    manifest.write_text("path\n./a.mp4\nx/../a.mp4\n")
    rows = check(manifest).good_rows
    # Names key the hold-out, so that another spelling would be another hold-out.
    write_manifest(tmp_path / "clean.csv", rows, ManifestColumns())
    assert [row.relative_path for row in rows] == ["./a.mp4", "x/../a.mp4"]
    assert read_source(tmp_path / "clean.csv").rows == tuple(rows)
    write_manifest(tmp_path / "x" / "clean.csv", rows, ManifestColumns())
    assert {row.path for row in read_source(tmp_path / "x" / "clean.csv").rows} == {rows[0].path}


def test_a_clean_manifest_of_shards_lies_beside_them(
    tmp_path: Path, write_video: WriteVideo, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, shards = tmp_path / "set", tmp_path / "shards"
    (folder / "train" / "jump").mkdir(parents=True)
    write_video(folder / "train" / "jump" / "a.mp4")
    write_video(folder / "b.mp4", seed=1)
    (folder / "bad.mp4").write_bytes(b"no video")
    assert main(["data", "pack", str(folder), str(shards)]) == 0
    words = ["data", "check", str(shards), "--workers", "0", "--write-clean"]
    assert main([*words, str(tmp_path / "clean.jsonl")]) == 1
    assert f"give a name in {shards}" in capsys.readouterr().err
    assert check(shards).folder is None
    good = [row for row in read_source(shards).rows if row.relative_path != "bad.mp4"]
    for suffix in (".jsonl", ".csv", ".parquet"):
        out = shards / f"clean{suffix}"
        assert main([*words, str(out)]) == 1
        assert read_source(out).rows == tuple(good)
    assert len(good) == 2


def test_nothing_of_the_user_is_written_over(tmp_path: Path, write_video: WriteVideo) -> None:
    write_video(tmp_path / "a.mp4")
    manifest, mine = tmp_path / "rows.csv", tmp_path / "clean.csv.tmp"
    manifest.write_text("path\na.mp4\n")
    mine.write_text("mine")
    words = ["data", "check", str(manifest), "--workers", "0"]
    assert main([*words, "--write-clean", str(tmp_path / "clean.csv")]) == 0
    assert mine.read_text() == "mine"
    assert main([*words, "--json", str(manifest)]) == 1
    assert manifest.read_text() == "path\na.mp4\n"


def test_what_a_clean_manifest_cannot_hold_is_refused(folder: Path, tmp_path: Path) -> None:
    found = check(folder)
    for name, reason in (
        ("clean.csv", "not UTF-8; give a name that ends in .jsonl"),
        ("clean.txt", "must end in one of .csv, .tsv, .jsonl, .parquet"),
        ("nowhere/clean.csv", "there is no folder"),
    ):
        with pytest.raises(DataError, match=reason):
            write_manifest(tmp_path / name, found.good_rows, ManifestColumns())
    assert not list(tmp_path.iterdir())


def test_the_command_prints_tables_and_exits_with_1_for_bad_files(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "check", str(folder), "--workers", "0"]
    out, findings = tmp_path / "clean.jsonl", tmp_path / "findings.json"
    assert main([*words, "--json", str(findings), "--write-clean", str(out)]) == 1
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out
    assert "red\\x1b[31m\\udcff.mp4" in shown.out
    assert "6 bad of 10 clips" in shown.out
    assert f"4 clips of 10 are in {out}" in shown.err
    report = json.loads(findings.read_text())["sources"][0]
    assert (report["clips"], report["bad_clips"], report["videos"]) == (10, 6, 4)
    assert report["notes"]["odd_name"] == [ODD]
    # With the bad ones left out, all is well; the JSON can go where tables go.
    assert main(["data", "check", str(out), "--workers", "0", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"][0]["bad"] == []


def test_wrong_words_are_refused_before_anything_is_read(folder: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken.csv"
    taken.touch()
    words = ["data", "check", str(folder)]
    for more in (
        ["--write-clean", str(taken)],
        ["--json", str(tmp_path / "no" / "findings.json")],
        [str(tmp_path), "--write-clean", str(tmp_path / "clean.csv")],
        ["--preset", "paper-vitz"],
    ):
        assert main([*words, *more]) == 1
    assert main(["data", "check"]) == 1
    assert taken.read_bytes() == b""


def test_a_preset_gives_the_clip(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "check", str(folder), "--workers", "0", "--read", "headers", "--json", "-"]
    main([*words, "--preset", "demo", "--clip.frame-step", "3"])
    clip = json.loads(capsys.readouterr().out)["clip"]
    from vsalt.presets import salt_preset

    demo = salt_preset("demo").clip
    assert clip == {"num_frames": demo.num_frames, "frame_step": 3, "fps": demo.fps}


def test_pictures_that_end_before_their_header_says(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    (tmp_path / "set").mkdir()
    whole = write_video(tmp_path / "set" / "whole.mkv", num_frames=100, gop=10)
    cut = tmp_path / "set" / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert names(check(tmp_path / "set"), "ends_early") == ["cut.mkv"]
