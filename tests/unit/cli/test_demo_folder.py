"""The demo's folder: who may work in it, and the seconds of all sittings, with a moved clock."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from support.clock import Clock, stopped_clock
from vsalt.cli import demo_folder
from vsalt.cli.demo_folder import check_demo_folder, hold_demo
from vsalt.errors import RunFolderError

SETTINGS: dict[str, Any] = {"seed": 0, "config": {"clip": {"size": [32, 32]}, "stages": []}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stopped_clock(monkeypatch)


def test_seconds_are_the_sum_over_sittings(tmp_path: Path, clock: Clock) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), hold_demo(out, SETTINGS) as seconds:  # noqa: PT012
        clock.now += 40
        assert seconds() == 40
        raise KeyboardInterrupt
    clock.now += 3600  # nobody works
    with hold_demo(out, SETTINGS) as seconds:
        assert seconds() == 40
        clock.now += 2.5
        assert seconds() == 42.5
    assert json.loads((out / "demo.json").read_text()) == {"settings": SETTINGS, "seconds": 42.5}


def test_a_sitting_that_is_killed_has_left_its_seconds(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_folder, "EVERY_S", 0.001)
    written = threading.Event()
    write = demo_folder.durable.write_json

    def watch(path: Path, value: Any) -> None:
        write(path, value)
        if value["seconds"] == 7.0:
            written.set()

    monkeypatch.setattr(demo_folder.durable, "write_json", watch)
    with hold_demo(tmp_path / "out", SETTINGS):
        assert json.loads((tmp_path / "out" / "demo.json").read_text())["seconds"] == 0
        clock.now += 7
        assert written.wait(60)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        hold_demo(tmp_path / "out", SETTINGS),
        pytest.raises(RunFolderError, match="is in use by process"),
        hold_demo(tmp_path / "out", SETTINGS),
    ):
        pass


def test_only_the_same_unfinished_demo_may_go_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not check_demo_folder(out, SETTINGS)
    assert not out.exists()
    out.mkdir()
    # What a process leaves that is killed before it has written anything.
    for name in (".lock", ".demo.json.tmp"):
        (out / name).touch()
    assert not check_demo_folder(out, SETTINGS)
    with hold_demo(out, SETTINGS):
        pass
    (out / "videos").mkdir()
    assert check_demo_folder(out, SETTINGS)
    other = {"seed": 0, "config": {"clip": {"size": [16, 32]}}}
    with pytest.raises(RunFolderError) as caught:
        check_demo_folder(out, other)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"{out} is not an empty folder; choose another --out, or remove it. ")
    assert lines == [
        "  config.clip.size: [32, 32] there, [16, 32] now",
        "  config.stages: [] there, None now",
    ]
    (out / "summary.json").touch()
    with pytest.raises(RunFolderError, match="It holds this demo, and that is done"):
        check_demo_folder(out, SETTINGS)
    (out / "demo.json").unlink()
    with pytest.raises(RunFolderError, match=r"choose another --out, or remove it$"):
        check_demo_folder(out, SETTINGS)
