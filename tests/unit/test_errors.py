"""Mistakes are collected over nested configs, and raised once."""

import pytest

from vsalt.errors import ConfigError, VsaltError, collect_problems, report_problems


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
