"""A comparison goes on in its own folder, and begins in no folder of others."""

from pathlib import Path

import pytest

from vsalt.compare.folder import check_folder
from vsalt.errors import RunFolderError


@pytest.mark.parametrize("name", ["results.csv", "report.html", "my videos/a.mp4", "notes.txt"])
def test_a_folder_of_others_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(RunFolderError, match="choose a new or empty folder"):
        check_folder(tmp_path)


def test_a_specification_alone_does_not_make_a_folder_ours(tmp_path: Path) -> None:
    """It may be the user's own, beside other things of theirs."""
    (tmp_path / "compare.toml").touch()
    check_folder(tmp_path)
    (tmp_path / "results.csv").touch()
    with pytest.raises(RunFolderError, match=r"holds other files .*: results\.csv;"):
        check_folder(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(RunFolderError, match="is a file"):
        check_folder(tmp_path / "out")


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("data/shapes/labels.csv", "data/shapes.json"),
        ("stages/.x.lock", "data/shapes.csv", ".lock"),
        ("seconds.jsonl",),
        ("cells/a.salt.seed0/result.json", "results.csv", "a note of mine.txt"),
        ("cells/a.salt.seed0/log.txt", ".lock"),
        ("compare.toml", "results.json", "results.csv", "report.html", "groups.json"),
    ],
)
def test_one_goes_on_where_a_comparison_has_begun(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    check_folder(tmp_path)
    check_folder(tmp_path / "new")
