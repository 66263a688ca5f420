import os

import pytest

from vsalt.data.folder import FileFinder, read_folder
from vsalt.data.manifest import read_source


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_and_videos_are_rows_of_both_kinds(tmp_path):
    touch(tmp_path, "cat/1.JPG", "cat/2.jpeg", "dog/3.png", "dog/4.mp4", "dog/5.gif", "dog/6.txt")
    rows = read_source(tmp_path).rows
    assert {row.relative_path: row.is_image for row in rows} == {
        "cat/1.JPG": True,
        "cat/2.jpeg": True,
        "dog/3.png": True,
        "dog/4.mp4": False,
        "dog/5.gif": False,
    }
    assert [row.label for row in rows] == ["cat", "cat", "dog", "dog", "dog"]


def test_the_order_is_that_of_sorted_parts(tmp_path):
    names = ["b.mp4", "a/z.mp4", "a-b/c.mp4", "a/b/c.mp4", "a.mp4", "ä/x.mp4", "a b/q.mp4"]
    touch(tmp_path, *names)
    found = [record.cells[0] for record in read_folder(tmp_path, [".mp4"])]
    assert found == sorted(names, key=lambda name: name.split("/"))


def test_names_that_are_not_utf8(tmp_path):
    name = b"bad\xff.mp4"
    with open(os.path.join(os.fsencode(tmp_path), name), "w"):
        pass
    (row,) = read_source(tmp_path).rows
    assert os.fsencode(row.relative_path) == name
    assert os.path.isfile(row.path)


@pytest.mark.parametrize("num_files", [3, 2 * FileFinder.ASK_AT_MOST])
def test_files_are_found_as_isfile_finds_them(tmp_path, num_files):
    names = [f"{i}.mp4" for i in range(num_files)]
    touch(tmp_path, *names, "deep/x.mp4")
    os.symlink(tmp_path / "0.mp4", tmp_path / "link.mp4")
    os.symlink(tmp_path / "gone", tmp_path / "broken.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    asked = [*names, "link.mp4", "broken.mp4", "pipe.mp4", "deep", "deep/x.mp4", "no/x.mp4", "a\0"]
    paths = [f"{tmp_path}/{name}" for name in asked]
    finder = FileFinder()
    for _ in range(2):
        found = [finder.is_file(path) for path in paths]
        assert found == [os.path.isfile(path) for path in paths]
    assert sum(found) == num_files + 2


@pytest.mark.parametrize("name", ["no", "no\0", "\ud800"])
def test_many_files_of_a_folder_that_is_not_there(tmp_path, name):
    finder = FileFinder()
    assert not any(
        finder.is_file(f"{tmp_path}/{name}/{i}.mp4") for i in range(2 * FileFinder.ASK_AT_MOST)
    )
