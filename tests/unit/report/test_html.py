"""What the page is made of cannot be mistaken for markup, and cannot load anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.markup import Page
from vsalt.report.html import render, render_page, tag

PNG = "data:image/png;base64,iVBORw0KGgo="


@given(st.text(), st.text())
def test_any_text_comes_back_as_text(content: str, label: str) -> None:
    page = Page(render(tag("p", content, title=label)))
    (found,) = page.elements
    # Control characters and the like are written as escapes, which `printable` is tested for.
    if (content + label).isprintable():
        assert (found.text, found.attributes) == (content, {"title": label})


def test_markup_in_a_text_is_text() -> None:
    hostile = "</p><script>alert('1')</script><img src=x onerror=\"alert(2)\">&amp;"
    markup = render(tag("p", hostile, class_='"><script>'))
    assert "<script" not in markup
    assert "<img" not in markup
    (found,) = Page(markup).elements
    assert found.text == hostile
    assert found.attributes == {"class": '"><script>'}


def test_control_characters_are_shown_and_line_ends_kept() -> None:
    assert render("red\x1b[31m\x00\u202eend\nnext") == "red\\x1b[31m\\x00\\u202eend\nnext"


def test_children_may_be_lists_and_nothing() -> None:
    element = tag("p", "a", None, ["b", None, tag("strong", "c")], lang=None, aria_label="x")
    assert render(element) == '<p aria-label="x">ab<strong>c</strong></p>'


@pytest.mark.parametrize("name", ["script", "iframe", "link", "object", "style", "p><script"])
def test_tags_that_act_or_load_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no tag of a report"):
        tag(name)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("p", {"onclick": "alert()"}),
        ("p", {"style": "background: url(//x)"}),
        ("p", {'x"><script>': "1"}),
        ("img", {"srcset": "x"}),
        ("img", {"src": "https://x/y.png"}),
        ("img", {"src": "data:image/svg+xml;base64,AAAA"}),
        ("img", {"src": f"{PNG}\n//x"}),
        ("a", {"href": "javascript:alert()"}),
        ("a", {"href": "//x"}),
    ],
)
def test_attributes_that_act_or_load_are_refused(name: str, attributes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"no attribute of a report|a report loads nothing"):
        tag(name, **attributes)


def test_pictures_within_and_anchors_are_allowed() -> None:
    assert render(tag("img", src=PNG, alt="")) == f'<img src="{PNG}" alt="">'
    assert render(tag("a", "x", href="#cost")) == '<a href="#cost">x</a>'


def test_a_page_escapes_its_title_and_refuses_markup_in_its_style() -> None:
    markup = render_page("</title><script>", "p { color: red }", tag("body"))
    assert "<script" not in markup
    (title,) = Page(markup).all("title")
    assert title.text == "</title><script>"
    with pytest.raises(ValueError, match="style sheet"):
        render_page("x", "</style><script>", tag("body"))
