"""Recognising test rows among those of pretraining."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vsalt.data.catalogue import SeenRow
from vsalt.data.manifest import Row
from vsalt.errors import RunFolderError
from vsalt.evaluation.transductive import exposure_of


def video(folder: Path, name: str, size: int, **stretch: float) -> Row:
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(b"x" * size)
    return Row(path=str(path), relative_path=name, source=0, columns={}, **stretch)


def seen_file(path: Path, *records: tuple[str, int, float | None, float | None]) -> Path:
    lines = [
        json.dumps(SeenRow(name, size, start_s, end_s, "train")._asdict())
        for name, size, start_s, end_s in records
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_files_are_known_by_name_and_size(tmp_path: Path) -> None:
    rows = [
        video(tmp_path, "moved/a.mp4", 10),
        video(tmp_path, "b.mp4", 11),
        video(tmp_path, "c.mp4", 12),
    ]
    first = seen_file(tmp_path / "1", ("a.mp4", 10, None, None), ("b.mp4", 99, None, None))
    found = exposure_of([first], rows)
    assert str(found) == "1 of 3 test rows"
    second = seen_file(tmp_path / "2", ("c.mp4", 12, None, None))
    assert exposure_of([first, second], rows).num_seen == 2
    assert str(exposure_of([second], rows[:2])) == "no test rows"


def test_packed_files_are_known_as_their_members(tmp_path: Path) -> None:
    shard = video(tmp_path, "shard-000000.tar", 4096)
    rows = [
        replace(shard, relative_path=f"run/{name}.mp4", offset=offset, size=100)
        for name, offset in (("a", 512), ("b", 1536))
    ]
    seen = seen_file(tmp_path / "seen", ("a.mp4", 100, None, None), ("b.mp4", 4096, None, None))
    assert exposure_of([seen], rows).num_seen == 1


@pytest.mark.parametrize(
    ("seen", "start_s", "end_s", "overlaps"),
    [
        ((None, None), 3.0, 4.0, True),
        ((0.0, 3.0), 3.0, 4.0, False),
        ((0.0, 3.1), 3.0, 4.0, True),
        ((4.0, None), 3.0, 4.0, False),
        ((4.0, None), 3.0, None, True),
        ((3.2, 3.4), 3.0, 4.0, True),
        ((3.2, 3.4), None, 3.2, False),
    ],
)
def test_stretches_must_overlap(
    tmp_path: Path, seen: tuple, start_s: float | None, end_s: float | None, overlaps: bool
) -> None:
    row = video(tmp_path, "a.mp4", 5, start_s=start_s, end_s=end_s)
    found = exposure_of([seen_file(tmp_path / "seen", ("a.mp4", 5, *seen))], [row])
    assert found.kind == ("transductive" if overlaps else "inductive")


def test_without_lists_nothing_is_claimed(tmp_path: Path) -> None:
    found = exposure_of([], [video(tmp_path, "a.mp4", 5)])
    assert (found.kind, str(found)) == ("unknown", "unknown")


@pytest.mark.parametrize("text", ["{", '{"file_name": "a.mp4"}\n', "[1]\n"])
def test_a_damaged_list_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "seen").write_text(text)
    with pytest.raises(RunFolderError, match="cannot be read"):
        exposure_of([tmp_path / "seen"], [])
