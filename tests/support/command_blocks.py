"""Parses the `vsalt` lines of pages by the command line's own code; nothing is run.

It is its own program, because the placeholders of required flags do not pass the checks of types
that hold under pytest. Standard input: a JSON list of command lines, each a list of words without
`vsalt`. Standard output: for each what is wrong with it, or null.
"""

import contextlib
import importlib
import io
import json
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

_WORDS_BEFORE = ("do", "then", "else", "time", "!", "{")
_ASSIGNMENT = re.compile(r"^(\w+)=(.*)$", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def vsalt_lines(text: str) -> list[list[str]]:
    """Return the words after `vsalt` of every command in a block of shell commands.

    Of a loop over words, the first one is taken. Variables that the block does not set stay.
    """
    found = []
    variables: dict[str, str] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        for command in _commands(line):
            while command and (command[0] in _WORDS_BEFORE or _ASSIGNMENT.match(command[0])):
                if given := _ASSIGNMENT.match(command[0]):
                    variables[given[1]] = given[2]
                command = command[1:]
            if command[:1] == ["for"] and command[2:3] == ["in"] and len(command) > 3:
                variables[command[1]] = command[3]
            if command[:1] == ["vsalt"]:
                found.append([_substitute(word, variables) for word in command[1:]])
    return found


def _commands(line: str) -> Iterator[list[str]]:
    """Split a line at pipes and the like; leave out redirections and comments."""
    line = re.sub(r"(?<!\S)\d(?=[<>])", "", line)  # as in 2> log
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    command: list[str] = []
    index = 0
    while index < len(words):
        if re.fullmatch(r"[<>]+&?|&>+", words[index]):
            index += 1  # with the file that follows
        elif re.fullmatch(r"[;|&()]+", words[index]):
            yield command
            command = []
        else:
            command.append(words[index])
        index += 1
    yield command


def _substitute(word: str, variables: dict[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), word)


def line_problems(lines: list[list[str]], folder: Path) -> list[str | None]:
    """Return for each line what is wrong with it, or None; `--config` files lie in the folder."""
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=folder,
    )
    answers: list[str | None] = json.loads(done.stdout)
    return answers


class _Valid(Exception):  # noqa: N818 - it is no error: the line has been read to its end
    """The line is a command of ours; what comes next would run it."""


def _read(words: list[str]) -> str | None:
    from vsalt.cli.main import find_verb, unknown_verb
    from vsalt.cli.verbs import VERBS
    from vsalt.errors import VsaltError

    if words in (["--help"], ["--version"]):
        return None
    name = find_verb(words)
    if name is None:
        family = any(verb.startswith(f"{words[0]} ") for verb in VERBS) if words else False
        return None if family and words[1:] == ["--help"] else unknown_verb(words or [""])
    rest = words[len(name.split()) :]
    if rest == ["--help"]:
        return None
    module = importlib.import_module(f"vsalt.cli.{VERBS[name].module}")
    printed = io.StringIO()
    with _stopped_after_reading(module):
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                getattr(module, VERBS[name].function)(rest, f"vsalt {name}")
        except _Valid:
            return None
        except VsaltError as error:
            return str(error)
        except SystemExit:
            return printed.getvalue()
    return "the verb ended without reading its words by vsalt.cli.parse.parse"


@contextlib.contextmanager
def _stopped_after_reading(module: types.ModuleType) -> Iterator[None]:
    """Let a verb read its words, and nothing else.

    Trainings stop where they would start, since much of a configuration is put together after
    the words are parsed. All other verbs stop after parsing.
    """
    start = types.ModuleType("vsalt.training.start")
    for name in ("start_salt", "start_stage", "resume_run"):
        setattr(start, name, _stop)
    sys.modules[start.__name__] = start
    parse: Any = module.parse  # an AttributeError here: this verb would run

    def parse_and_stop(*given: Any) -> NoReturn:
        _stop(parse(*given))

    if module.__name__ != "vsalt.cli.pretrain":
        module.parse = parse_and_stop
    try:
        yield
    finally:
        module.parse = parse


def _stop(*given: object, **named: object) -> NoReturn:
    raise _Valid


if __name__ == "__main__":
    print(json.dumps([_read(words) for words in json.load(sys.stdin)]))
