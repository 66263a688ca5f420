"""Links between pages lead somewhere when the pages are read as they stand, on a Git host.

The site's own links are checked when it is built; its headings get other anchors in rare cases.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from support.pages import ROOT, pages

_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_CODE = re.compile(r"^(`{3,}).*?^\1\s*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def test_links_lead_somewhere() -> None:
    problems = [problem for page in pages() for problem in link_problems(page)]
    assert not problems, "\n".join(problems)


def test_the_front_page_has_links() -> None:
    assert len(_links((ROOT / "README.md").read_text(encoding="utf-8"))) >= 10


def link_problems(page: Path) -> list[str]:
    """Return the relative links of a page whose file or heading is not there."""
    problems = []
    for link in _links(page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            problems.append(f"{page}: {link}: there is no such file")
        elif anchor and anchor not in anchors(target):
            problems.append(f"{page}: {link}: {target.name} has no such heading")
    return problems


def _links(text: str) -> list[str]:
    found: list[str] = _LINK.findall(_CODE.sub("", text))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    seen: dict[str, int] = {}
    found = set()
    for heading in re.findall(r"^#{1,6} +(.*?)\s*#*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = seen.get(slug, 0)
        seen[slug] = number + 1
        found.add(f"{slug}-{number}" if number else slug)
    return found


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("other.md#two-words-code", None),
        ("other.md#two-words-code-1", None),
        ("#here", None),
        ("https://example.org/none.md#x", None),
        ("none.md", "there is no such file"),
        ("other.md#three", "other.md has no such heading"),
        ("#there", "page.md has no such heading"),
    ],
)
def test_a_link_to_nothing_is_found(link: str, says: str | None, tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Two words: `code`\n## Two words, code\n")
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n\n[text]({link}) and `[code](none.md)`\n")
    problems = link_problems(page)
    assert not problems if says is None else says in problems[0]
