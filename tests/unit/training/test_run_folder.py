"""Run folders: logs cut at a step, one holder at a time, whole files or none, clear errors."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vsalt.errors import RunFolderError
from vsalt.training.run_folder import (
    JsonLines,
    check_new_run,
    create_folder,
    explain_write_errors,
    hold,
    read_json,
    require_free_disk,
    sync_tree,
    write_file,
    write_json,
)

HOLDER = """
import sys, time
from pathlib import Path
from vsalt.training.run_folder import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def write_log(path: Path, *lines: str) -> None:
    path.write_text("".join(lines))


def test_a_log_is_cut_to_a_step_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [f'{{"kind": "train", "step": {step}, "loss": 0.1}}\n' for step in (1, 2, 3, 4)]
    validation = '{"kind": "val", "step": 2, "val_loss": 1}\n'
    write_log(path, lines[0], lines[1], validation, lines[2], lines[3], '{"kind": "train", "st')
    log = JsonLines(path, keep_to_step=2)
    assert path.read_text() == "".join([lines[0], lines[1], validation])
    log.write({"step": 3, "loss": 0.25})
    log.sync()
    assert path.read_text().endswith(validation + '{"step": 3, "loss": 0.25}\n')
    log.close()


@pytest.mark.parametrize("half", ['{"step": 3', '{"step": 3, "loss": 0.25}', '{"step": 9}'])
def test_a_last_line_without_its_end_is_dropped(tmp_path: Path, half: str) -> None:
    path = tmp_path / "metrics.jsonl"
    write_log(path, '{"step": 1}\n', '{"step": 2}\n', half)
    JsonLines(path, keep_to_step=5).close()
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_log_of_a_run_that_saved_nothing_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_log(path, '{"step": 1}\n', '{"step": 2}\n')
    JsonLines(path, keep_to_step=0).close()
    assert path.read_text() == ""
    JsonLines(tmp_path / "new.jsonl", keep_to_step=0).close()
    assert (tmp_path / "new.jsonl").read_text() == ""


def test_a_run_folder_has_one_holder_which_death_sets_free(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(RunFolderError, match=f"in use by process {holder.pid};"),
            hold(tmp_path),
        ):
            pytest.fail("held twice")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with hold(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(RunFolderError, match=f"process {os.getpid()}"), hold(tmp_path):
            pytest.fail("held twice")
    with hold(tmp_path):
        pass


def test_errors_of_the_holder_are_not_the_locks(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="a video"), hold(tmp_path):
        raise PermissionError(errno.EACCES, "a video")
    with hold(tmp_path):
        pass


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "latest"
    write_file(path, "step-2\n")
    write_file(path, "step-4\n")
    assert path.read_text() == "step-4\n"

    def fail(*args: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RunFolderError, match=r"cannot write .*latest: your disk quota is used up"):
        write_file(path, "step-6\n")
    assert path.read_text() == "step-4\n"


def test_flushes_come_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut the name must not point at data that was never written."""
    events: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: events.append(_kind(fd)) or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda *a: events.append("rename") or replace(*a))
    write_json(tmp_path / "meta.json", {"step": 1})
    assert events == ["file", "rename", "folder"]

    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "data").write_text("x")
    events.clear()
    sync_tree(tmp_path)
    assert sorted(events) == ["file", "file", "folder", "folder"]
    assert events[-1] == "folder"


def _kind(descriptor: int) -> str:
    return "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"


def test_json_comes_back_or_says_why_not(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    value = {"a": [1, 2.5, None], "b": {"c": "…"}}
    write_json(path, value)
    assert read_json(path) == value == json.loads(path.read_bytes())
    with pytest.raises(RunFolderError, match=r"other.json does not exist"):
        read_json(tmp_path / "other.json")
    path.write_text('{"a": 1')
    with pytest.raises(RunFolderError, match=r"config.json cannot be read: Expecting"):
        read_json(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunFolderError, match=r"config.json cannot be read"):
        read_json(path)
    path.write_text("[1]")
    with pytest.raises(RunFolderError, match=r"config.json must hold a JSON object"):
        read_json(path)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunFolderError, match="is not a folder; choose another --out"):
            create_folder(path)
    create_folder(tmp_path / "a" / "b")
    create_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_run_is_not_begun_twice(tmp_path: Path) -> None:
    check_new_run(tmp_path)
    check_new_run(tmp_path / "not" / "yet")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RunFolderError, match=f"`vsalt resume {tmp_path}` goes on with it"):
        check_new_run(tmp_path)


def test_a_disk_too_small_is_refused_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2_500_000}))
    require_free_disk(tmp_path, 2_500_000)
    with pytest.raises(RunFolderError, match=r"has 2\.5 MB free.* need 3,000\.0 MB"):
        require_free_disk(tmp_path, 3_000_000_000)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "you may not write there"),
        (errno.EPERM, "you may not write there"),
    ],
)
def test_write_errors_say_what_to_do(number: int, advice: str) -> None:
    expected = f"cannot write the log: {advice}"
    with pytest.raises(RunFolderError, match=expected), explain_write_errors("the log"):
        raise OSError(number, os.strerror(number))


def test_other_errors_are_not_explained_away() -> None:
    with pytest.raises(IsADirectoryError), explain_write_errors("the log"):
        raise IsADirectoryError(errno.EISDIR, "Is a directory")
