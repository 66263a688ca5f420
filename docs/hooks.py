"""Puts what the command line says of itself into the site, while MkDocs builds it.

A line `<!-- help: VERB -->` of a page becomes the verb's arguments and flags, from the parser that
reads them, and `<!-- keys: compare -->` the keys of a comparison's file, from the dataclasses that
check them. Where a page is read as it stands, the line is a comment.
"""

import ast
import dataclasses
import importlib
import re
import sys
import warnings
from argparse import Action
from collections.abc import Iterator, Sequence
from html import escape
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

MARKER = re.compile(r"^<!-- help: ([a-z ]+) -->$", re.MULTILINE)
KEYS = "<!-- keys: compare -->"
_TABLES = {
    "CompareSpec": "at the top",
    "DataSpec": "[[data]]",
    "SynthSet": "[data.synth]",
    "ProbeSpec": "[probe]",
    "SweepSpec": "[sweep]",
    "SelectionSpec": "[selection]",
    "Variant": "[[selection.runs]], [[selection.teachers]]",
    "ArmSpec": "[arm.NAME]",
}
"""Where the fields of each dataclass of `vsalt.compare.spec` stand in the file."""
_NOTE = re.compile(r"\s*\((default: .*|required|repeatable)\)$", re.DOTALL)
_FOLD_ABOVE = 40  # flags
Group = tuple[str, str, Sequence[Action]]


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace the markers of a page; MkDocs calls this."""
    markdown = MARKER.sub(lambda match: verb_help(match[1]), markdown)
    return markdown.replace(KEYS, spec_keys()) if KEYS in markdown else markdown


def spec_keys() -> str:
    """Return the keys of a comparison's file by table, with their defaults, as HTML."""
    from vsalt.compare import spec

    tree = ast.parse(Path(spec.__file__).read_text(encoding="utf-8"))
    texts = {node.name: _field_texts(node) for node in tree.body if isinstance(node, ast.ClassDef)}
    parts = []
    for name, table in _TABLES.items():
        kind = getattr(spec, name)
        keys = "\n".join(
            _key(item, texts[name][item.name])
            for item in dataclasses.fields(kind)
            if item.name in texts[name]
        )
        head = f"<code>{table}</code> {_prose(cleandoc(kind.__doc__).partition(chr(10))[0])}"
        parts.append(f'<p class="flags">{head}</p>\n<dl class="flags">\n{keys}\n</dl>')
    return "\n".join(parts)


def _field_texts(kind: ast.ClassDef) -> dict[str, str]:
    """Return the text below each field of a dataclass."""
    return {
        field.target.id: str(text.value.value)
        for field, text in pairwise(kind.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def _key(item: "dataclasses.Field[Any]", text: str) -> str:
    """Return a key as a term and its description."""
    default = item.default
    note = ""
    if isinstance(default, bool):
        note = str(default).lower()
    elif isinstance(default, (int, float, str)) and default != "":
        note = f'"{default}"' if isinstance(default, str) else f"{default:g}"
    elif isinstance(default, tuple) and default:
        note = str(list(default)).replace("'", '"')
    shown = f' <span class="note">default: {escape(note)}</span>' if note else ""
    return f"<dt><code>{item.name}</code>{shown}</dt>\n<dd>{_prose(text)}</dd>"


class _Asked(Exception):  # noqa: N818 - it is no error
    """What a verb would parse: the type of its arguments, with the defaults of the preset."""

    def __init__(self, kind: type, default: object) -> None:
        self.kind = kind
        self.default = default


def verb_help(name: str) -> str:
    """Return what a verb does, its usage, and its arguments and flags by group, as HTML."""
    kind, default = _asked(name)
    groups = [group for group in _groups(kind, default) if group[2]]
    fold = sum(len(actions) for _, _, actions in groups) > _FOLD_ABOVE
    parts = [f"<p>{_prose(part)}</p>" for part in cleandoc(kind.__doc__ or "").split("\n\n")]
    parts.append(f"<pre><code>{_usage(name, groups)}</code></pre>")
    for title, text, actions in groups:
        flags = "\n".join(_entry(name, action) for action in actions)
        flags = f'<dl class="flags">\n{flags}\n</dl>'
        prefix = title.removesuffix(" options")
        if title in ("options", "positional arguments"):
            parts.append(flags)
        elif fold:
            summary = f"<code>--{escape(prefix)}.…</code> {_prose(text)}"
            parts.append(f'<details class="flags"><summary>{summary}</summary>{flags}</details>')
        else:
            parts.append(f'<p class="flags">{_prose(text)}</p>{flags}')
    return "\n".join(parts)


def _asked(name: str) -> tuple[type, object]:
    """Let a verb begin to read an empty line, and return what it would parse."""
    from vsalt.cli.verbs import VERBS

    def stop(kind: type, _words: object, _prog: object, default: object = None) -> NoReturn:
        raise _Asked(kind, default)

    module: Any = importlib.import_module(f"vsalt.cli.{VERBS[name].module}")
    parse, module.parse = module.parse, stop
    try:
        getattr(module, VERBS[name].function)([], f"vsalt {name}")
    except _Asked as asked:
        return asked.kind, asked.default
    finally:
        module.parse = parse
    raise RuntimeError(f"vsalt {name} reads no arguments")


def _groups(kind: type, default: object) -> Iterator[Group]:
    """Yield the groups of a verb's parser: title, what it is about, arguments and flags."""
    import tyro

    with warnings.catch_warnings():
        # The one way to a parser that is not run. Should it go, the site's build says so.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message="get_parser")
        parser = tyro.extras.get_parser(tyro.conf.AvoidSubcommands[kind], default=default)
    for group in parser._action_groups:
        actions = [item for item in group._group_actions if "--help" not in item.option_strings]
        yield group.title or "", group.description or "", actions


def _usage(name: str, groups: Sequence[Group]) -> str:
    """Return the verb with what must be given, and whether there is more."""
    actions = [action for _, _, group in groups for action in group]
    needed = [action for action in actions if action.required or not action.option_strings]
    words = [" ".join([*action.option_strings[:1], str(action.metavar)]) for action in needed]
    more = ["[OPTIONS]"] if len(needed) < len(actions) else []
    return escape(" ".join([f"vsalt {name}", *words, *more]))


def _entry(verb: str, action: Action) -> str:
    """Return a flag as a term and its description."""
    text = action.help or ""
    found = _NOTE.search(text)
    note = found[1] if found and found[1] not in ("default: None", "default: ") else ""
    text = text[: found.start()] if found else text
    value = "" if action.metavar in (None, "") or action.nargs == 0 else str(action.metavar)
    names = action.option_strings or [value]
    anchor = re.sub(r"[^\w.]+", "-", f"{verb} {names[0]}").strip("-.")
    term = ", ".join(f"<code>{escape(name)}</code>" for name in names)
    if value and action.option_strings:
        term += f" <var>{escape(_choices(value))}</var>"
    if note:
        term += f' <span class="note">{escape(" ".join(note.split()))}</span>'
    return f'<dt id="{escape(anchor)}">{term}</dt>\n<dd>{_prose(text)}</dd>'


def _choices(value: str) -> str:
    """Return {a,b} as a | b, which lines can break; None is how a default is told, no choice."""
    value = value.replace("{None}|", "").replace("{None,", "{")
    return re.sub(r"\{([^}]*)\}", lambda match: match[1].replace(",", " | "), value)


def _prose(text: str) -> str:
    """Return plain text, in which flags and what stands in backticks are code, as HTML."""
    text = escape(" ".join(text.split()), quote=False)
    return re.sub(
        r"`([^`]+)`|(?<![\w-])(--[a-z][\w-]*(?:\.[a-z][\w-]*)*)",
        lambda match: f"<code>{match[1] or match[2]}</code>",
        text,
    )
