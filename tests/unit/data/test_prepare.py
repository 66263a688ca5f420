"""`vsalt data prepare`: whole sources, resumed, never over the input."""

import dataclasses
import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from vsalt.cli import data_prepare
from vsalt.data import prepare as module
from vsalt.data.config import ReadLimits
from vsalt.data.jobs import Job
from vsalt.data.manifest import read_source
from vsalt.data.prepare import PrepareResult, plan_jobs, prepare
from vsalt.data.reencode import EncodeConfig, reencode_video
from vsalt.data.video_info import probe
from vsalt.errors import DataError, RunFolderError

SMALL = EncodeConfig(short_side=16, preset="ultrafast")


def run(source: Path, out: Path, config: EncodeConfig = SMALL, *, workers: int = 0):
    return prepare(source, out, config, workers=workers, timeout_s=60.0)


def contents(out: Path) -> dict[str, str]:
    """The hash of every file but the lock, by name; modification times of inputs are left out."""
    return {
        os.fsdecode(os.path.relpath(path, out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def statuses(result: PrepareResult) -> dict[str, str]:
    return {file.path: file.status for file in result.files}


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def source(tmp_path, write_video):
    """A manifest: two rows of one file, two suffixes of one name, a broken one, odd names."""
    folder = tmp_path / "source"
    for name in ("a.mp4", "sub/a.mov", "sub/a.avi", "ode\udc80\n d'été.mp4", "../above.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        # FFmpeg takes no name that is not UTF-8.
        plain = write_video(tmp_path / f"plain{Path(name).suffix}", codec=codec, num_frames=12)
        plain.rename(folder / name)
    (folder / "broken.mp4").write_bytes(b"not a video")
    rows = [
        {"path": "a.mp4", "label": "x", "start_s": 0.1, "end_s": 0.5, "split": "test"},
        {"path": "broken.mp4", "label": "y"},
        {"path": "sub/a.mov", "group": "g", "anything": "else"},
        {"path": "sub/a.avi"},
        {"path": "./a.mp4", "start_s": 0.5},
        {"path": "ode\udc80\n d'été.mp4"},
        {"path": "../above.mp4"},
        {"path": str(tmp_path / "above.mp4"), "label": "absolute"},
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_whole_source(tmp_path, source):
    out = tmp_path / "out"
    result = run(source, out)
    status = statuses(result)
    assert status.pop("broken.mp4") == "failed"
    assert set(status.values()) == {"prepared"}
    assert len(status) == 5
    before = [row for row in read_source(source).rows if row.label != "y"]
    after = read_source(out / "manifest.jsonl").rows
    assert len(after) == len(before) == result.num_rows == 7
    for old, new in zip(before, after, strict=True):
        for name in ("label", "split", "group", "start_s", "end_s", "weight", "columns"):
            assert getattr(old, name) == getattr(new, name)
        assert os.path.realpath(new.path).startswith(os.path.realpath(out) + os.sep)
        assert probe(new.path).num_frames == 12
    assert after[0].path == after[3].path
    assert after[0].relative_path == "a.mp4"
    assert [row.relative_path for row in after[1:3]] == ["sub/a.mov.mp4", "sub/a.avi.mp4"]
    failed = next(record for record in records(out / "prepared.jsonl") if not record["num_frames"])
    assert (failed["path"], failed["status"]) == ("broken.mp4", "failed")
    assert "broken.mp4" in failed["reason"]
    good = records(out / "prepared.jsonl")[0]
    assert good["bytes_before"] == (source.parent / "a.mp4").stat().st_size
    assert good["bytes_after"] == (out / "a.mp4").stat().st_size
    assert (good["size_before"], good["size_after"]) == ([32, 48], [16, 24])
    assert (good["num_frames"], good["duration_s"]) == (12, 1.2)


def test_any_number_of_workers_writes_the_same_bytes(tmp_path, source):
    made = {}
    for workers in (0, 2):
        run(source, tmp_path / f"out{workers}", workers=workers)
        made[workers] = contents(tmp_path / f"out{workers}")
    assert made[0] == made[2]
    assert len(made[0]) == 5 + 3


def picture(height: int, width: int) -> Image.Image:
    y, x = np.mgrid[:height, :width] / 9
    channels = np.stack([np.sin(x + y), np.cos(x), np.sin(y / 2)], axis=-1)
    return Image.fromarray((127 + 120 * channels).astype(np.uint8))


def test_images_are_shrunk_upright_and_small_ones_kept(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    large, small = picture(60, 90), picture(12, 40)
    large.save(folder / "a.png")
    large.save(folder / "b.JPG", "jpeg", quality=98)
    turned = Image.Exif()
    turned[0x0112] = 6
    large.save(folder / "c.jpeg", quality=98, exif=turned)
    large.convert("P").save(folder / "d.png")
    small.save(folder / "e.png")
    small.save(folder / "f.jpg", exif=turned)
    out = tmp_path / "out"
    result = run(folder, out)
    assert [file.status for file in result.files] == ["prepared"] * 4 + ["kept"] * 2
    assert [file.output for file in result.files] == [file.path for file in result.files]
    for name in ("e.png", "f.jpg"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    for file in result.files[:4]:
        made = Image.open(out / file.path)
        upright = ImageOps.exif_transpose(Image.open(folder / file.path)).convert("RGB")
        expected = upright.resize(made.size, Image.Resampling.BICUBIC)
        assert made.getexif().get(0x0112) is None
        assert (made.height, made.width) == file.size_after
        assert min(made.size) == 16
        difference = np.asarray(made.convert("RGB"), float) - np.asarray(expected, float)
        assert np.sqrt(np.mean(difference**2)) < 4, file.path
    assert read_source(out / "manifest.jsonl").rows[0].relative_path == "a.png"


def test_second_run_does_what_is_left(tmp_path, source, write_video):
    out = tmp_path / "out"
    run(source, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    write_video(source.parent / "broken.mp4", num_frames=5)
    write_video(source.parent / "sub" / "a.mov", num_frames=7)
    (out / "a.mp4").write_bytes(b"shorter than it was")
    result = run(source, out)
    assert result.num_resumed == 3
    assert set(statuses(result).values()) == {"prepared"}
    assert [file.num_frames for file in result.files] == [12, 5, 7, 12, 12, 12]
    unchanged = {path for path, when in before.items() if path.stat().st_mtime_ns == when}
    assert {path.name for path in before} - {path.name for path in unchanged} == {
        "a.mp4",
        "a.mov.mp4",
    }
    assert result.num_rows == 8
    run(source, tmp_path / "anew")
    assert contents(out) == contents(tmp_path / "anew")


def test_files_that_the_source_has_dropped_are_removed(tmp_path, source):
    out = tmp_path / "out"
    run(source, out)
    lines = source.read_text().splitlines(keepends=True)
    source.write_text("".join(line for line in lines if "a.avi" not in line))
    (tmp_path / "precious.mp4").touch()
    with (out / "prepared.jsonl").open("a") as file:
        forged = dict(records(out / "prepared.jsonl")[0], output="../precious.mp4")
        file.write(json.dumps(forged) + "\n")
    run(source, out)
    assert not (out / "sub" / "a.avi.mp4").exists()
    assert (tmp_path / "precious.mp4").exists()


def test_a_set_of_another_source_stays(tmp_path, source, write_video):
    run(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "other").mkdir()
    write_video(tmp_path / "other" / "b.mp4")
    with pytest.raises(DataError, match=r"was begun from .*rows.jsonl, not from .*other"):
        run(tmp_path / "other", tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_what_a_file_was_goes_when_it_is_broken(tmp_path, source):
    run(source, tmp_path / "out")
    (source.parent / "sub" / "a.mov").write_bytes(b"broken")
    assert statuses(run(source, tmp_path / "out"))["sub/a.mov"] == "failed"
    run(source, tmp_path / "anew")
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")


def test_other_settings_are_refused(tmp_path, source):
    run(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    other = dataclasses.replace(SMALL, crf=30)
    with pytest.raises(DataError, match=r"--crf was 20 and is now 30"):
        run(source, tmp_path / "out", other)
    assert contents(tmp_path / "out") == before


def test_killed_run_goes_on_as_if_undisturbed(tmp_path, write_video):
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(6):
        write_video(folder / f"{index}.mp4", seed=index, num_frames=60, height=96, width=96)
    words = ["--short-side", "64", "--preset", "slower", "--workers", "1"]
    command = [sys.executable, "-m", "vsalt", "data", "prepare", str(folder)]
    out = tmp_path / "out"
    process = subprocess.Popen([*command, str(out), *words], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(out.glob("*.mp4"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "manifest.jsonl").exists()
    assert data_prepare.prepare([str(folder), str(out), *words[:4], "--workers", "0"], "") == 0
    undisturbed = tmp_path / "undisturbed"
    assert (
        data_prepare.prepare([str(folder), str(undisturbed), *words[:4], "--workers", "0"], "") == 0
    )
    assert contents(out) == contents(undisturbed)
    assert not (out / ".partial").exists()


@pytest.fixture
def folder(tmp_path, write_video):
    folder = tmp_path / "videos"
    (folder / "sub").mkdir(parents=True)
    write_video(folder / "sub" / "a.mp4", num_frames=4)
    return folder


def everything(root: Path) -> dict[str, str]:
    return {
        str(path): path.read_bytes().hex() if path.is_file() else "" for path in root.rglob("*")
    }


@pytest.mark.parametrize("trick", ["same", "inside", "above", "link to it", "link inside"])
def test_never_over_a_folder(tmp_path, folder, trick):
    link = tmp_path / "link"
    out = {
        "same": folder,
        "inside": folder / "sub" / "out",
        "above": tmp_path,
        "link to it": link,
        "link inside": link / "out",
    }[trick]
    if "link" in trick:
        link.symlink_to(folder)
    before = everything(tmp_path)
    with pytest.raises(DataError, match="OUT"):
        run(folder, out)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("trick", ["hard link", "link", "linked folder", "foreign", "manifest"])
def test_never_over_what_lies_in_out(tmp_path, folder, trick):
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    # The marker would let a second run begin.
    (out / "prepare.json").write_text(json.dumps(dataclasses.asdict(SMALL)))
    source = folder
    if trick == "hard link":
        os.link(folder / "sub" / "a.mp4", out / "sub" / "a.mp4")
    elif trick == "link":
        (out / "sub" / "a.mp4").symlink_to(folder / "sub" / "a.mp4")
    elif trick == "linked folder":
        (out / "sub").rmdir()
        (out / "sub").symlink_to(folder / "sub")
    elif trick == "foreign":
        (out / "prepare.json").rename(out / "else.json")
    else:
        source = out / "manifest.jsonl"
        source.write_text(json.dumps({"path": str(folder / "sub" / "a.mp4")}) + "\n")
    before = everything(tmp_path)
    with pytest.raises(DataError, match="OUT"):
        run(source, out)
    assert everything(tmp_path) == before


def test_manifest_whose_files_lie_in_out(tmp_path, folder):
    manifest = tmp_path / "rows.csv"
    manifest.write_text("path\nvideos/sub/a.mp4\n")
    before = everything(tmp_path)
    with pytest.raises(DataError, match="in OUT is the same file"):
        run(manifest, folder)
    # Beside them is allowed.
    assert everything(tmp_path) == before
    assert run(manifest, tmp_path / "small").num_rows == 1


def test_full_disk_ends_the_run_with_advice(tmp_path, folder):
    (job,) = plan_jobs(read_source(folder).rows)
    (tmp_path / "out" / ".partial").mkdir(parents=True)
    (tmp_path / "out" / ".partial" / "00000000").symlink_to("/dev/full")
    maker = module._FileMaker(str(tmp_path / "out"), SMALL, ReadLimits())
    with pytest.raises(RunFolderError, match="the disk is full"):
        maker.read([job], Job())


def test_a_disk_that_fills_up_is_one_error_without_noise(tmp_path, folder, capfd):
    media = read_source(folder).rows[0].media
    with (
        Full(tmp_path / "made.mp4", 1000) as target,
        pytest.raises(OSError, match="full") as caught,
    ):
        reencode_video(media, target, SMALL, limits=ReadLimits())
    assert caught.value.errno == errno.ENOSPC
    assert capfd.readouterr().err == ""


class Full(io.BufferedRandom):
    """A file with room for so many bytes; whatever is done to it afterwards fails."""

    def __init__(self, path: Path, room: int) -> None:
        super().__init__(io.FileIO(path, "w+"))
        self.room = room

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        self._check()
        return super().write(data)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        self._check()
        return super().seek(position, whence)

    def _check(self) -> None:
        if self.room < 0:
            raise OSError(errno.ENOSPC, "full")


def test_too_little_disk_is_refused_first(tmp_path, folder, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Free())
    with pytest.raises(RunFolderError, match=r"needs about .* raise --crf"):
        run(folder, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.mp4"))


class _Free:
    free = 10


def test_command_reports_failures(tmp_path, source, capsys):
    words = [str(source), str(tmp_path / "out"), "--short-side", "16", "--workers", "0"]
    assert data_prepare.prepare(words, "vsalt data prepare") == 1
    printed = capsys.readouterr().out
    assert ["failed", "1"] in [line.split()[:2] for line in printed.splitlines()]
    assert "failed: broken.mp4" in printed
    assert "7 rows" in printed


def test_input_that_vanishes_fails_alone(tmp_path, folder):
    (job,) = plan_jobs(read_source(folder).rows)
    (folder / "sub" / "a.mp4").unlink()
    (tmp_path / "out" / ".partial").mkdir(parents=True)
    made = module._FileMaker(str(tmp_path / "out"), SMALL, ReadLimits()).read([job], Job())
    assert made.status == "failed"
    assert "No such file" in made.reason


def test_command_loads_no_torch():
    code = (
        "import sys, vsalt.cli.data_prepare, vsalt.cli.data_pack;"
        "assert not {'torch', 'av', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
