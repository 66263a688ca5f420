"""`vsalt completion`: a script that lets bash or zsh complete verbs and flags.

The script holds all words, so that completing never starts Python.
"""

import contextlib
import importlib
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import tyro

from vsalt.cli.parse import parse
from vsalt.cli.verbs import VERBS

_SCRIPT = """\
_vsalt() {{
    local before="${{COMP_WORDS[*]:1:COMP_CWORD-1}} " current="${{COMP_WORDS[COMP_CWORD]}}" options
    case "$before" in
{cases}
        *) options="" ;;
    esac
    case "$current" in
        -*) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
        *) COMPREPLY=($(compgen -W "$options" -- "$current") $(compgen -f -- "$current")) ;;
    esac
}}
complete -o filenames -F _vsalt vsalt
"""
_ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


@dataclass(frozen=True, kw_only=True)
class CompletionArgs:
    """Print a completion script; put it to work by: eval "$(vsalt completion bash)"."""

    shell: tyro.conf.Positional[Literal["bash", "zsh"]]
    """bash, or zsh, which reads the same script through its bashcompinit."""


def completion(words: Sequence[str], prog: str) -> int:
    """Run the verb `completion`."""
    args = parse(CompletionArgs, words, prog)
    print((_ZSH if args.shell == "zsh" else "") + script(), end="")
    return 0


def script() -> str:
    """Return the script for the verbs and flags as they are now."""
    options = {f"{name} ": flags(name) for name in VERBS}
    groups: dict[str, list[str]] = defaultdict(list)
    for name in VERBS:
        first, _, second = name.partition(" ")
        groups[" "].append(first)
        if second:
            groups[f"{first} "].append(second)
    cases = [
        f'        "{name}"*) options="{" ".join(words)}" ;;' for name, words in options.items()
    ]
    cases += [
        f'        "{name}") options="{" ".join(dict.fromkeys(words))}" ;;'
        for name, words in groups.items()
    ]
    return _SCRIPT.format(cases="\n".join(cases))


def flags(name: str) -> list[str]:
    """Return a verb's flags, read from its own help."""
    verb = VERBS[name]
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        module = importlib.import_module(f"vsalt.cli.{verb.module}")
        getattr(module, verb.function)(["--help"], f"vsalt {name}")
    found = re.findall(r"(?<![\w-])--[a-z][\w.-]*", re.sub(r"\x1b\[[\d;]*m", "", text.getvalue()))
    return sorted(set(found))
