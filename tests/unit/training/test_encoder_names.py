"""What encoders are called where several stand in one table."""

import pytest

from vsalt.training.encoder_names import name_encoders


def names(*given: tuple[str, str | None], longest: int | None = None) -> list[str]:
    return [str(name) for name in name_encoders(given, longest=longest)]


def test_the_role_comes_first_and_the_run_tells_encoders_apart() -> None:
    assert names(
        ("a/run", "student"),
        ("a/run/student/teacher", "teacher"),
        ("b/run/student", "student"),
        ("b/run/assistant/teacher", "teacher"),
        ("b/run/assistant", "assistant"),
        ("pixels-only", "teacher"),
    ) == [
        *("student (a/run)", "teacher (a/run)", "student (b/run)", "teacher (b/run)"),
        *("assistant (b/run)", "teacher (pixels-only)"),
    ]


def test_names_that_are_no_paths_stay() -> None:
    assert names(("student", "student"), ("random init", None), ("old/run", None)) == [
        *("student", "random init", "old/run"),
    ]
    assert names(("mine", "student")) == ["student (mine)"]


def test_an_end_that_is_not_of_the_stage_is_no_part_of_it() -> None:
    assert names(("runs/teacher", "student")) == ["student (runs/teacher)"]
    assert names(("teacher", "assistant"), ("/teacher", "teacher"))[0] == "assistant (teacher)"
    checkpoint = "run/student/checkpoints/step-4"
    assert names((checkpoint, "student")) == [f"student ({checkpoint})"]


def test_two_of_a_role_in_one_run_have_their_whole_paths() -> None:
    assert names(("run/teacher", "teacher"), ("run/student/teacher", "teacher")) == [
        *("teacher (run/teacher)", "teacher (run/student/teacher)"),
    ]
    # Whole paths of some could be the shortened ones of others.
    given = ("run/teacher", "run/student/teacher", "run/teacher/teacher")
    assert len({*names(*((path, "teacher") for path in given))}) == 3


@pytest.mark.parametrize("longest", range(1, 40))
def test_long_places_lose_leading_folders_as_long_as_names_differ(longest: int) -> None:
    given = [
        *(("/data/one/experiment/run", "student"), ("/data/two/experiment/run", "student")),
        *(("/data/two/other/place", "student"), ("random init", None)),
    ]
    found = names(*given, longest=longest)
    assert len({*found}) == 4
    assert all(name.rpartition("/")[2] in ("run)", "place)", "random init") for name in found)
    assert found[3] == "random init"


def test_no_more_is_cut_than_needed() -> None:
    given = ("/data/two/other/place", "student")
    assert names(given, longest=31) == ["student (/data/two/other/place)"]
    assert names(given, longest=30) == ["student (…/two/other/place)"]
    assert names(given, longest=22) == ["student (…/place)"]
