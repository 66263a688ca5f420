"""The page as a document: it loads nothing, holds all its parts, can be read and operated."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from urllib.parse import unquote

import pytest

from support.colours import contrast, palettes
from support.javascript import dump_dom
from vsalt.linear.page.controls import SLIDERS
from vsalt.linear.page.render import SCRIPTS, part, render_page
from vsalt.linear.page.self_test import self_test_rows

TEXT, GRAPHICS = 4.5, 3.0
"""WCAG 2.2, success criteria 1.4.3 and 1.4.11."""


@pytest.fixture(scope="module")
def page() -> str:
    return render_page("9.8.7")


class Elements(HTMLParser):
    """All start tags with their attributes, and which are left open."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "!doctype"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_is_one_well_formed_document(page: str) -> None:
    elements = Elements(page)
    assert elements.open == []
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "vsalt 9.8.7" in page
    assert not re.search(r"@[A-Z]+@", page)


def test_it_loads_nothing(page: str) -> None:
    for tag, attributes in Elements(page).found:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "srcset", "action", "style"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in page
    assert "@import" not in page
    for word in ("fetch(", "XMLHttpRequest", "import(", "eval(", "innerHTML", "localStorage"):
        assert word not in page


def test_only_its_own_script_may_run(page: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert f'http-equiv="Content-Security-Policy" content="{policy}"' in page
    assert all(part(name) in script for name in SCRIPTS)


def test_the_table_in_the_page_is_python_s(page: str) -> None:
    found = re.search(r'id="table">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    assert json.loads(found[1]) == json.loads(json.dumps(self_test_rows()))


def test_every_slider_has_a_label_a_value_and_a_range(page: str) -> None:
    elements = Elements(page).found
    ranges = [one["id"] for tag, one in elements if tag == "input" and one.get("type") == "range"]
    assert ranges == [slider.key for slider in SLIDERS]
    assert [one["for"] for tag, one in elements if tag == "output"] == ranges
    labels = {one.get("for") for tag, one in elements if tag == "label"}
    assert labels >= set(ranges)
    keys = re.findall(r"^  (\w+): \{ low: ", part("state.js"), re.MULTILINE)
    assert keys == ranges


def test_without_javascript_there_is_a_text(page: str) -> None:
    found = re.search(r"<noscript>(.*?)</noscript>", page, re.DOTALL)
    assert found is not None
    assert "needs JavaScript" in found[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_enough_contrast(scheme: str) -> None:
    colours = palettes(part("style.css"))[scheme]
    for ground in ("page", "panel"):
        for name in ("ink", "muted", "link", "limit", "curve-0", "curve-1", "clean", "noisy"):
            assert contrast(colours[name], colours[ground]) >= TEXT, name
        assert contrast(colours["axis"], colours[ground]) >= GRAPHICS


def test_colours_are_those_of_reports() -> None:
    style = resources.files("vsalt.report").joinpath("style.css").read_text(encoding="utf-8")
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    for scheme, css in (("light", light), ("dark", dark)):
        for name, colour in palettes(part("style.css"))[scheme].items():
            if name not in ("clean", "noisy"):
                assert f"--{name}: {colour};" in css


@pytest.mark.slow
def test_a_browser_draws_it(page: str, tmp_path: Path) -> None:
    file = tmp_path / "lab.html"
    file.write_text(page, encoding="utf-8")
    drawn = dump_dom(file)
    assert "a frozen converged teacher does not flip this pair" in drawn
    assert drawn.count("<svg") == 4
    assert re.search(r'id="wrong" role="alert" hidden', drawn)
    other = dump_dom(file, "#set=inverse&L=5&eps=0.001&foo=1")
    assert "Twelve features, the more predictable the weaker" in other
    assert other.count('class="curve of-set"') == 48
    assert "foo=1 (no control has this name)" in other


@pytest.mark.slow
def test_a_browser_warns_where_its_numbers_differ(tmp_path: Path) -> None:
    rows = self_test_rows()
    rows[3]["time"] *= 1 + 1e-8
    file = tmp_path / "lab.html"
    file.write_text(render_page("0", rows=rows), encoding="utf-8")
    drawn = dump_dom(file)
    found = re.search(r'<p class="alarm" id="wrong" role="alert">(.*?)</p>', drawn)
    assert found is not None
    assert "do not trust the curves below" in found[1]


# Frames of a browser without a screen keep no step with its virtual clock.
_FRAMES = "<script>window.requestAnimationFrame = (draw) => setTimeout(draw, 16);</script>"
# What a reader does, one thing after the other; each leaves what is then seen.
_OPERATE = """
const seen = [];
const text = (id) => document.getElementById(id).textContent;
const note = () => seen.push([location.hash, text("sentence"), text("L-value")]);
const later = (action) => new Promise((go) => {
  action();
  setTimeout(() => { note(); go(); }, 100);
});
const move = (key, value) => {
  byId(key).value = value;
  for (const name of ["input", "change"]) byId(key).dispatchEvent(new Event(name));
};
(async () => {
  await later(() => byId("preset-1").click());
  await later(() => move("L", 1));
  await later(() => byId("set-equal").click());
  await later(() => byId("common").click());
  await later(() => { location.hash = "#controls"; });
  await later(() => { location.hash = "#L=4"; });
  const place = document.createElement("pre");
  place.id = "seen";
  place.textContent = encodeURIComponent(JSON.stringify(seen));
  document.body.append(place);
})();
"""


@pytest.mark.slow
def test_controls_can_be_operated(page: str, tmp_path: Path) -> None:
    file = tmp_path / "lab.html"
    unlocked = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', _FRAMES, page)
    file.write_text(unlocked.replace("</body>", f"<script>{_OPERATE}</script></body>"))
    found = re.search(r'<pre id="seen">(.*?)</pre>', dump_dom(file))
    assert found is not None
    preset, depth, many, axis, skip, address = json.loads(unquote(found[1]))
    assert "la=0.8&ra=0.9&lb=1&rb=0.45&L=3&eps=0.01" in preset[0]
    assert "flips this pair as well" in preset[1]
    assert "&L=1&" in depth[0]
    assert depth[1].startswith("MAE and JEPA both learn B")
    assert depth[2] == "1"
    assert many[0].startswith("#set=equal&axis=own")
    assert many[1].startswith("Twelve features of equal λ")
    assert axis[0].startswith("#set=equal&axis=common")
    assert skip[1:] == axis[1:]
    assert address[2] == "4"
    assert "a frozen converged teacher does not flip this pair" in address[1]
