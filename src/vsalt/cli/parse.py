"""Command lines to dataclasses, with presets and TOML files underneath."""

import dataclasses
import math
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import tyro

from vsalt.config import from_dict
from vsalt.errors import ConfigError, collect_problems

T = TypeVar("T")


def whole_number(text: str) -> int:
    """Read a whole number, as 5000 or as 5e3.

    Raises:
        ValueError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise ValueError(f"{text!r} is no whole number, such as 5000 or 5e3")
    return int(value)


Count = Annotated[
    int,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""Type of a flag that counts what there may be many of."""


def parse(kind: type[T], words: Sequence[str], prog: str, default: T | None = None) -> T:
    """Parse a verb's options; the dataclass makes flags and help.

    Unions are decided by the default, so that a preset's method shows as plain flags.

    Raises:
        ConfigError: with every setting that is not allowed, or for a flag that is none because
            its value stands without one.
        SystemExit: for unknown flags and `--help`, as tyro prints them.
    """
    _refuse_flags_of_positionals(kind, words, prog)
    with collect_problems():
        result: T = tyro.cli(
            tyro.conf.AvoidSubcommands[kind],  # type: ignore[misc,valid-type]
            args=list(words),
            prog=prog,
            default=default,
        )
    return result


def _refuse_flags_of_positionals(kind: type, words: Sequence[str], prog: str) -> None:
    """Answer `vsalt data pack SOURCE --out OUT` with the line that is meant."""
    names = _positionals(kind)
    flags = {f"--{name.replace('_', '-')}": name for name in names}
    given: dict[str, str] = {}
    rest: list[str] = []
    left = iter(words)
    for word in left:
        flag, equals, value = word.partition("=")
        if flag in flags:
            given[flags[flag]] = value if equals else next(left, flags[flag].upper())
        else:
            rest.append(word)
    if not given:
        return
    # The first words without a flag are the other positional values, in their order.
    line = [given.get(name) or _take_value(rest) or name.upper() for name in names]
    wrong = " and ".join(flag for flag, name in flags.items() if name in given)
    raise ConfigError([f"{wrong}: give the value alone: {prog} {shlex.join([*line, *rest])}"])


def _positionals(kind: type) -> list[str]:
    """Return the names of the fields that are given without a flag, in their order."""
    mark = get_args(tyro.conf.Positional[int])[1]
    hints = get_type_hints(kind, include_extras=True)
    return [
        item.name
        for item in dataclasses.fields(kind)
        if mark in getattr(hints[item.name], "__metadata__", ())
    ]


def _take_value(words: list[str]) -> str | None:
    return words.pop(0) if words and not words[0].startswith("-") else None


def incomplete(kind: type[T], /, **given: object) -> T:
    """Return arguments for `parse` whose required ones are still missing; tyro asks for them.

    They are not constructed in the usual way, which would check them.
    """
    args = object.__new__(kind)
    for item in dataclasses.fields(kind):  # type: ignore[arg-type]
        value: object = tyro.MISSING
        if item.name in given:
            value = given[item.name]
        elif item.default is not dataclasses.MISSING:
            value = item.default
        elif item.default_factory is not dataclasses.MISSING:
            value = item.default_factory()
        object.__setattr__(args, item.name, value)
    return args


def option(words: Sequence[str], name: str, default: str | None = None) -> str | None:
    """Return the value of one option before the rest is parsed, because it decides the defaults."""
    value = default
    for index, word in enumerate(words):
        if word == name and index + 1 < len(words):
            value = words[index + 1]
        elif word.startswith(f"{name}="):
            value = word.partition("=")[2]
    return value


def read_toml(path: Path, base: T) -> T:
    """Return a config with the settings of a TOML file over those of `base`.

    Raises:
        ConfigError: if the file cannot be read, or holds what is no setting.
    """
    return from_dict(type(base), load_toml(path), base=base)


def load_toml(path: Path, *, flag: str = "--config") -> dict[str, Any]:
    """Return what a TOML file says.

    Args:
        path: the file.
        flag: how messages call it.

    Raises:
        ConfigError: if it cannot be read.
    """
    if path.is_fifo():
        # It is read more than once, and the second time it would be empty.
        raise ConfigError([f"{flag} {path} is a pipe; write the settings to a file, and name that"])
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{flag} {path}: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{flag} {path} is not TOML: {error}"]) from error
