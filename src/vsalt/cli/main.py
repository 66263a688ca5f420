"""The `vsalt` command: finds the verb, then hands the rest of the line to it.

Only the chosen verb's module is imported, and none of them imports torch before it runs.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from vsalt import __version__
from vsalt.cli.verbs import VERBS
from vsalt.errors import ToldElsewhereError, VsaltError, printable
from vsalt.training.launcher import follow_launcher

IN_SEVERAL_PROCESSES = ("pretrain", "salt", "resume")
"""Verbs that torchrun may start."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: the words after `vsalt`; by default those of this process.
    """
    words = with_hyphens(sys.argv[1:] if argv is None else argv)
    if words in (["--version"], ["-V"]):
        print(f"vsalt {__version__}")
        return 0
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0 if words else 2
    family = [verb for verb in VERBS if verb.startswith(f"{words[0]} ")]
    if family and words[1:] in (["-h"], ["--help"]):
        print(overview(family))
        return 0
    name = find_verb(words)
    if name is None:
        print(unknown_verb(words), file=sys.stderr)
        return 2
    verb = VERBS[name]
    several = os.environ.get("WORLD_SIZE", "1") not in ("", "1")
    if several and name not in IN_SEVERAL_PROCESSES:
        print(
            f"vsalt {name} runs in one process, and WORLD_SIZE says that there are several; start "
            f"it without torchrun. In several: {', '.join(IN_SEVERAL_PROCESSES)}",
            file=sys.stderr,
        )
        return 2
    # Before torch is imported, which takes seconds in which torchrun may die.
    follow_launcher(os.environ)
    module = importlib.import_module(f"vsalt.cli.{verb.module}")
    try:
        code: int = getattr(module, verb.function)(words[len(name.split()) :], f"vsalt {name}")
    except ToldElsewhereError as error:
        return error.exit_code
    except VsaltError as error:
        who = f"[process {os.environ['RANK']}] " if several and "RANK" in os.environ else ""
        # Names from the disk may hold anything; the line ends are our own.
        for line in f"{who}vsalt {name}: {error}".split("\n"):
            print(printable(line), file=sys.stderr)
        return int(getattr(error, "exit_code", 1))
    except BrokenPipeError:
        # The reader of our output has gone, as in `vsalt salt --help | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(f"vsalt {name}: interrupted", file=sys.stderr)
        return 130
    return code


def overview(names: Sequence[str] = tuple(VERBS)) -> str:
    """Return the text of `vsalt --help`, or of the help of a family of verbs."""
    width = max(map(len, names)) + 2
    lines = [
        "vsalt: compute-efficient self-supervised learning from video with frozen teachers (SALT)",
        "",
        "usage: vsalt VERB [OPTIONS]      vsalt VERB --help shows a verb's options",
        "",
        *(f"  {name:<{width}}{VERBS[name].summary}" for name in names),
        "",
        "  --version  print the version",
    ]
    return "\n".join(lines)


def with_hyphens(words: Sequence[str]) -> list[str]:
    """Return a line with its flags spelt --as-this, where the parser takes --as_this as well.

    Some flags are read before the rest is parsed, because others' defaults depend on them. In the
    other spelling they would be taken by the parser, and then have no effect.
    """
    end = words.index("--") if "--" in words else len(words)
    flags = [word.partition("=") for word in words[:end]]
    return [
        (flag.replace("_", "-") if flag.startswith("--") else flag) + equals + value
        for flag, equals, value in flags
    ] + list(words[end:])


def find_verb(words: Sequence[str]) -> str | None:
    """Return the verb that the line begins with, if there is one."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if len(words) >= length and name in VERBS:
            return name
    return None


def unknown_verb(words: Sequence[str]) -> str:
    """Return what to say about a line that begins with no verb."""
    import difflib

    family = [name for name in VERBS if name.startswith(f"{words[0]} ")]
    near = family or difflib.get_close_matches(words[0], VERBS, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(VERBS)}"
    given = " ".join(words[:2]) if family else words[0]
    return f"vsalt: {given!r} is not a verb; {hint}"
