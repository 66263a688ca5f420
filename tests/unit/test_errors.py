"""Mistakes are collected over nested configs and raised once; names are made printable."""

import pickle

import pytest

from vsalt.errors import (
    ConfigError,
    DecodeError,
    DecodeTimeoutError,
    VsaltError,
    collect_problems,
    printable,
    report_problems,
)


def test_problems_outside_a_collection_are_raised_at_once() -> None:
    report_problems([])
    with pytest.raises(ConfigError) as caught:
        report_problems(["a is wrong"])
    assert str(caught.value) == "1 setting is wrong:\n  - a is wrong"
    assert isinstance(caught.value, VsaltError)


def test_problems_inside_a_collection_are_raised_at_its_end_once_each() -> None:
    reached = []
    with pytest.raises(ConfigError) as caught, collect_problems():  # noqa: PT012
        report_problems(["a is wrong", "b is wrong"])
        report_problems(["a is wrong"])
        reached.append(True)
    assert reached
    assert str(caught.value) == "2 settings are wrong:\n  - a is wrong\n  - b is wrong"
    with collect_problems():
        pass


def test_another_error_inside_a_collection_is_not_hidden() -> None:
    with pytest.raises(KeyError), collect_problems():  # noqa: PT012
        report_problems(["a is wrong"])
        raise KeyError
    # The collection is over: problems are raised at once again.
    with pytest.raises(ConfigError):
        report_problems(["b is wrong"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Übung 7 – 日本語 🎬 [a]\\b.mp4", "Übung 7 – 日本語 🎬 [a]\\b.mp4"),
        ("red\x1b[31m.mp4", "red\\x1b[31m.mp4"),
        ("two\nlines\r\t\x7f\x85", "two\\nlines\\r\\t\\x7f\\x85"),
        ("gpj.\u202e4pm\u2066\u200b", "gpj.\\u202e4pm\\u2066\\u200b"),
        (b"\xff\x9b.mp4".decode("utf-8", "surrogateescape"), "\\udcff\\udc9b.mp4"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_names_are_printed_without_what_a_terminal_would_obey(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
    shown.encode()


def test_printable_text_is_pythons_notion_of_it() -> None:
    every = "".join(map(chr, range(0x110000)))
    assert printable(every).isprintable()
    kept = "".join(filter(str.isprintable, every))
    assert printable(kept) == kept


def test_a_decode_error_is_one_printable_line_also_after_a_journey() -> None:
    error = DecodeTimeoutError("a\nb\x1b]0;title\x07.mp4: no")
    for each in (error, pickle.loads(pickle.dumps(error)), DecodeError(str(error))):
        assert str(each) == "a\\nb\\x1b]0;title\\x07.mp4: no"


def test_problems_survive_a_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ConfigError(["a is wrong", "b is wrong"])))
    assert error.problems == ["a is wrong", "b is wrong"]
    assert str(error) == "2 settings are wrong:\n  - a is wrong\n  - b is wrong"
