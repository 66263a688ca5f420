"""Reads the blocks of Markdown pages, and the marks that say what is done with them.

A mark is an HTML comment directly above a block, which no reader sees:

    <!-- run -->            run it: all of a page, in order, in one folder that is empty at first
    <!-- run: slow -->      the same, in `make test-all` only
    <!-- show: REASON -->   do not run it; its command lines are parsed
    <!-- file: NAME -->     this text (TOML, CSV, ...) is the file NAME of that folder

And one comment stands alone: commands that make what a page takes for granted, such as a reader's
own videos. They run where they stand.

    <!-- setup
    vsalt data synth videos --num-clips 24
    -->
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHELLS = ("sh", "bash", "shell", "console")
_FENCE = re.compile(r"^(?P<indent>\s*)(?P<fence>`{3,}|~{3,})\s*(?P<language>[\w-]*)")
_MARK = re.compile(r"^\s*<!--\s*(?P<kind>run|show|file)\s*(?::\s*(?P<detail>.*?))?\s*-->\s*$")
_SETUP = re.compile(r"^<!--\s*setup\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block or a set-up comment, with the kind and the detail of its mark."""

    line: int
    language: str
    text: str
    kind: str | None = None
    detail: str = ""

    @property
    def runs(self) -> bool:
        return self.kind in ("run", "setup")

    @property
    def is_slow(self) -> bool:
        return self.kind == "run" and self.detail == "slow"

    @property
    def is_shell(self) -> bool:
        return self.language in SHELLS


def pages(root: Path = ROOT) -> list[Path]:
    """Return all pages of the documentation, those at the top of the source first."""
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]


def read_blocks(text: str) -> list[Block]:
    """Return the blocks of a page in their order."""
    found: list[Block] = []
    mark: re.Match[str] | None = None
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if _SETUP.match(line):
            found.append(Block(number, "sh", "\n".join(_until(lines, "-->")), "setup"))
            mark = None
        elif fence := _FENCE.match(line):
            body = [inner.removeprefix(fence["indent"]) for inner in _until(lines, fence["fence"])]
            kind, detail = (mark["kind"], mark["detail"] or "") if mark else (None, "")
            found.append(Block(number, fence["language"], "\n".join(body), kind, detail))
            mark = None
        elif line.strip():
            mark = _MARK.match(line)
    return found


def _until(lines: Iterator[tuple[int, str]], end: str) -> Iterator[str]:
    for _, line in lines:
        if line.strip() == end:
            return
        yield line


def mark_problems(blocks: list[Block]) -> list[str]:
    """Return what is wrong with the marks of a page, each with its line."""
    return [f"line {block.line}: {problem}" for block in blocks if (problem := _problem(block))]


def _problem(block: Block) -> str | None:
    if block.kind is None:
        if not block.is_shell:
            return None
        return "a block of commands has no mark; put <!-- run --> or <!-- show: REASON --> above it"
    if block.kind == "show" and not block.detail:
        return "say why it is only shown: <!-- show: REASON -->"
    if block.kind == "run" and block.detail not in ("", "slow"):
        return f"run: {block.detail} is no mark; there are run and run: slow"
    if block.kind == "run" and not (block.is_shell or block.language == "python"):
        return f"a block of {block.language or 'plain text'} cannot run"
    if block.kind == "show" and not block.is_shell:
        return "show is for blocks of commands"
    if block.kind == "file" and (block.is_shell or not block.detail):
        return "file takes a name, and stands above a block that is no command"
    return None


def files(blocks: list[Block]) -> dict[str, str]:
    """Return the texts of a page that are files, by name."""
    return {block.detail: block.text + "\n" for block in blocks if block.kind == "file"}
