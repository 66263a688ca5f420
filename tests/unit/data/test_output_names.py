"""Names in an output folder: inside of it, free, and mirroring the source."""

import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vsalt.data.output_names import OutputNames
from vsalt.durable import temporary_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b.mp4", "a/b.mp4"),
        ("a/B.MP4", "a/B.MP4"),
        ("./a//b.avi", "a/b.avi.mp4"),
        ("a/../b.mov", "b.mov.mp4"),
        ("no suffix", "no suffix.mp4"),
        ("ünï\n\udc80.mkv", "ünï\n\udc80.mkv.mp4"),
    ],
)
def test_names_mirror_paths(path, name):
    assert OutputNames().assign(path, ".mp4") == name


@pytest.mark.parametrize("path", ["/etc/x.mp4", "../x.mp4", "a/../../x.mp4", "/", "..", "//x.mp4"])
def test_what_leads_out_goes_outside(path):
    name = OutputNames().assign(path, ".mp4")
    assert name.startswith("outside/")
    assert name.endswith(("/x.mp4", "/_.mp4"))


def test_same_name_in_other_places_outside():
    names = OutputNames()
    assert names.assign("/a/x.mp4") != names.assign("/b/x.mp4")


def test_suffixes_do_not_collide():
    names = OutputNames()
    given = ["a.avi", "a.mov", "a.mp4", "a.avi.mp4", "a"]
    made = [names.assign(path, ".mp4") for path in given]
    assert made[:3] == ["a.avi.mp4", "a.mov.mp4", "a.mp4"]
    assert len(set(made)) == len(given)


def test_reserved_names_and_folders_are_not_taken():
    names = OutputNames(frozenset({"manifest.jsonl", ".partial"}))
    assert names.assign("manifest.jsonl") != "manifest.jsonl"
    assert not names.assign(".partial/a.mp4").startswith(".partial/")
    assert names.assign("x.mp4/y.mp4") == "x.mp4/y.mp4"
    assert names.assign("x.mp4") != "x.mp4"
    assert names.assign("y.mp4") == "y.mp4"
    assert not names.assign("y.mp4/z.mp4").startswith("y.mp4/")


def test_names_that_some_file_systems_take_for_one_are_one():
    names = OutputNames(frozenset({"manifest.jsonl"}))
    given = [
        "a/B.mp4",
        "A/b.mp4",
        "\u00e9.mp4",
        "e\u0301.mp4",
        "Manifest.JSONL",
        "STRASSE",
        "straße",
    ]
    made = [names.assign(path) for path in given]
    assert [name for name in made if not name.startswith("outside/")] == [
        "a/B.mp4",
        "\u00e9.mp4",
        "STRASSE",
    ]
    assert len({name.casefold() for name in made}) == len(given)


def test_names_of_files_that_are_being_written_are_reserved(tmp_path):
    name = temporary_name(tmp_path / "manifest.jsonl").name
    assert OutputNames(frozenset({"manifest.jsonl"})).assign(name).startswith("outside/")


PATHS = st.text(st.sampled_from("ab./\\é\0\udc80"), min_size=1, max_size=12)


@given(st.lists(PATHS, max_size=20, unique=True))
@example(["x" * 300 + ".mp4", "x" * 301 + ".mp4", "é" * 200])
def test_any_names_are_free_and_inside(paths):
    names = OutputNames()
    made = [names.assign(path, ".mp4") for path in paths]
    assert len(set(made)) == len(made)
    for name in made:
        parts = name.split("/")
        assert not posixpath.isabs(name)
        assert not {"", ".", ".."} & set(parts)
        assert "\0" not in name
        assert all(len(part.encode("utf-8", "surrogatepass")) <= 255 for part in parts)
        # No file lies where another needs a folder.
        assert not any(other.startswith(f"{name}/") for other in made)
