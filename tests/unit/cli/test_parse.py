"""Parsing: flags that are none because the value stands without one."""

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from vsalt.cli import data, data_pack, data_prepare, pretrain
from vsalt.cli.parse import Count, load_toml, parse, whole_number
from vsalt.errors import ConfigError


@pytest.mark.parametrize(
    ("verb", "name", "words", "line"),
    [
        (data_prepare.prepare, "data prepare", "my --out o --size 64", "my o --size 64"),
        (data_prepare.prepare, "data prepare", "--out=o my", "my o"),
        (data_prepare.prepare, "data prepare", "--out o --source my", "my o"),
        (data_pack.pack, "data pack", "--out o", "SOURCE o"),
        (data_pack.unpack, "data unpack", "my --out", "my OUT"),
        (data.synth, "data synth", "-n 5 --out 'a b'", "'a b' -n 5"),
        (pretrain.resume, "resume", "--run own", "own"),
    ],
)
def test_a_flag_for_a_positional_value_is_answered_with_the_right_line(
    verb: Callable[[Sequence[str], str], int], name: str, words: str, line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        verb(shlex.split(words), f"vsalt {name}")
    (problem,) = caught.value.problems
    told, _, meant = problem.partition(": give the value alone: ")
    assert meant == f"vsalt {name} {line}"
    assert set(told.split(" and ")) <= {"--out", "--source", "--run"}


@dataclass(frozen=True)
class Counted:
    """Arguments that are counts."""

    clips: Count
    """Needed."""
    more: Count | None = None
    """Not needed."""


def test_counts_may_be_written_as_powers_of_ten(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(Counted, ["--clips", "5e3", "--more", "7"], "x") == Counted(5000, 7)
    assert parse(Counted, ["--clips", "2.5e1", "--more", "None"], "x") == Counted(25)
    assert whole_number("9007199254740993") == 2**53 + 1  # not by way of a float
    for wrong in ("5.5", "1e-1", "inf", "nan", "many"):
        with pytest.raises(SystemExit):
            parse(Counted, ["--clips", wrong], "x")
        told = " ".join(capsys.readouterr().err.replace("│", " ").split())
        assert f"{wrong!r} is no whole number, such as 5000 or 5e3" in told


def test_settings_from_a_pipe_are_refused_since_they_are_read_twice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is a pipe; write the settings to a file"):
        load_toml(tmp_path / "pipe")
