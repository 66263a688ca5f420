"""Durable writes: one holder at a time, whole files or none, clear errors."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vsalt.durable import (
    create_folder,
    explain_write_errors,
    hold,
    read_json,
    require_free_disk,
    sync_tree,
    wait_to_hold,
    write_file,
    write_json,
)
from vsalt.errors import RunFolderError

HOLDER = """
import sys, time
from pathlib import Path
from vsalt.durable import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_has_one_holder_which_death_sets_free(tmp_path: Path) -> None:
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


def test_who_waits_holds_as_soon_as_another_has_died(tmp_path: Path) -> None:
    program = HOLDER.replace(" hold", " wait_to_hold")
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "lock"], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        held = threading.Event()

        def wait() -> None:
            with wait_to_hold(tmp_path / "lock"):
                held.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not held.wait(0.2)
        holder.kill()
        waiting.join(timeout=60)
        assert held.is_set()


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


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".latest.tmp").symlink_to("precious")
    write_file(tmp_path / "latest", "step-2\n")
    assert (tmp_path / "precious").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "precious"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_file(tmp_path / "latest", "half of \udc80")
    assert not list(tmp_path.iterdir())


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
        with pytest.raises(RunFolderError, match="is not a folder; name another one"):
            create_folder(path)
    create_folder(tmp_path / "a" / "b")
    create_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


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
