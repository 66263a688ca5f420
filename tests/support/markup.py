"""Reads a page by Python's own parser, strictly: every tag closed in its order, every id once."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"img", "meta"}


@dataclass
class Found:
    tag: str
    attributes: dict[str, str]
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text inside, that of inner elements too."""
        return "".join(self.texts)


class Page(HTMLParser):
    """The elements of a page, in the order in which they begin."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Found] = []
        self._open: list[Found] = []
        self.feed(markup)
        self.close()
        assert not self._open, f"never closed: {[one.tag for one in self._open]}"
        ids = [one.attributes["id"] for one in self.elements if "id" in one.attributes]
        assert len(ids) == len({*ids}), "an id is given twice"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len({*names}), f"<{tag}> has an attribute twice"
        found = Found(tag, {name: value or "" for name, value in attrs})
        self.elements.append(found)
        if tag not in VOID:
            self._open.append(found)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        last = self._open.pop()
        assert last.tag == tag, f"</{tag}> closes <{last.tag}>"

    def handle_data(self, data: str) -> None:
        for one in self._open:
            one.texts.append(data)

    def all(self, *tags: str) -> list[Found]:
        return [one for one in self.elements if one.tag in tags]

    @property
    def text(self) -> str:
        (body,) = self.all("body")
        return body.text
