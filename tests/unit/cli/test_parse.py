"""Parsing: flags that are none because the value stands without one."""

import shlex
from collections.abc import Callable, Sequence

import pytest

from vsalt.cli import data, data_pack, data_prepare, pretrain
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
