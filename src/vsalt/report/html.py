"""HTML and SVG as a tree in which every text and every attribute is escaped when it is written.

File names, labels and errors come from the disk, so no text is ever taken for markup: there is no
way to put a string into the page without escaping. What would make the page act or load something
(scripts, handlers, addresses) cannot be written at all.
"""

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from vsalt.errors import printable

# fmt: off
TAGS = frozenset({
    "a", "body", "code", "dd", "details", "div", "dl", "dt", "figcaption", "figure", "footer",
    "h1", "h2", "h3", "h4", "header", "img", "li", "main", "nav", "p", "pre", "section", "small",
    "span", "strong", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul",
    "circle", "desc", "g", "line", "polyline", "rect", "svg", "text", "title",
})
# fmt: on
"""The tags of a report; none of them runs or loads anything."""
VOID = frozenset({"img"})
ATTRIBUTE = re.compile(r"(?!on)[a-z][a-zA-Z0-9-]*")
PNG_URI = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]*")
ANCHOR = re.compile(r"#[A-Za-z][\w-]*")


@dataclass(frozen=True)
class Element:
    """An element; made by `tag`."""

    name: str
    attributes: tuple[tuple[str, str], ...]
    children: "tuple[Element | str, ...]"


Node: TypeAlias = Element | str
Child: TypeAlias = Element | str | Iterable[Element | str | None] | None
"""What `tag` takes as content; None is nothing, and an iterable is what it holds."""


def tag(name: str, /, *children: Child, **attributes: str | float | int | None) -> Element:
    """Return an element.

    Args:
        name: one of `TAGS`.
        children: texts and elements.
        attributes: a trailing `_` is dropped and other ones become `-`, so that `class_` and
            `aria_label` can be written; None leaves the attribute out.

    Raises:
        ValueError: for a tag or an attribute that a report must not have.

    Example:
        >>> render(tag("p", "a < b", class_="note"))
        '<p class="note">a &lt; b</p>'
    """
    if name not in TAGS:
        raise ValueError(f"<{name}> is no tag of a report")
    written = []
    for key, value in attributes.items():
        if value is None:
            continue
        attribute, text = key.rstrip("_").replace("_", "-"), _text(value)
        _check_attribute(attribute, text)
        written.append((attribute, text))
    return Element(name, tuple(written), tuple(_flat(children)))


def _text(value: str | float | int) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _check_attribute(name: str, text: str) -> None:
    allowed = {"href": ANCHOR, "src": PNG_URI}.get(name)
    if name in ("style", "srcset", "xmlns") or not ATTRIBUTE.fullmatch(name):
        raise ValueError(f"{name} is no attribute of a report")
    if allowed is not None and not allowed.fullmatch(text):
        raise ValueError(f"{name} must not be {text[:60]!r}: a report loads nothing")


def _flat(children: Iterable[Child]) -> Iterator[Node]:
    for child in children:
        if isinstance(child, str | Element):
            yield child
        elif child is not None:
            yield from _flat(child)


def render(node: Node) -> str:
    """Return markup: a text escaped, an element with all that it holds."""
    return "".join(_pieces(node))


def _pieces(node: Node) -> Iterator[str]:
    if isinstance(node, str):
        yield escape(node)
        return
    attributes = "".join(f' {name}="{escape(text)}"' for name, text in node.attributes)
    yield f"<{node.name}{attributes}>"
    if node.name in VOID:
        return
    for child in node.children:
        yield from _pieces(child)
    yield f"</{node.name}>"


def escape(text: str) -> str:
    """Return text that means itself in content and in attributes; control characters are shown."""
    return html.escape("\n".join(printable(line) for line in text.split("\n")))


def render_page(title: str, css: str, body: Element) -> str:
    """Return a whole document.

    Args:
        title: of the window.
        css: the style sheet of this package, the one text that is not escaped.
        body: a `body` element.
    """
    if "<" in css:
        raise ValueError("a style sheet must not hold <")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n{render(body)}\n</html>\n"
    )
