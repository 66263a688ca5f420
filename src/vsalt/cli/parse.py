"""Command lines to dataclasses, with presets and TOML files underneath."""

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from vsalt.config import from_dict
from vsalt.errors import ConfigError, collect_problems

T = TypeVar("T")


def parse(kind: type[T], words: Sequence[str], prog: str, default: T | None = None) -> T:
    """Parse a verb's options; the dataclass makes flags and help.

    Unions are decided by the default, so that a preset's method shows as plain flags.

    Raises:
        ConfigError: with every setting that is not allowed.
        SystemExit: for unknown flags and `--help`, as tyro prints them.
    """
    with collect_problems():
        result: T = tyro.cli(
            tyro.conf.AvoidSubcommands[kind],  # type: ignore[misc,valid-type]
            args=list(words),
            prog=prog,
            default=default,
        )
    return result


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


def load_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file says.

    Raises:
        ConfigError: if it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"--config {path}: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"--config {path} is not TOML: {error}"]) from error
