"""Runs JavaScript by Node.js, or by a headless browser where there is no Node.js."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000")
_PLACE = "answer-of-the-script"
# JSON has no infinity; float() of Python reads these words.
_AS_JSON = "JSON.stringify({0}, (_, x) => (Number.isNaN(x) || 1 / x === 0 ? String(x) : x))"


def evaluate(script: str, expression: str, folder: Path) -> Any:
    """Return the value of an expression after a script; the test is skipped without an engine.

    Args:
        script: JavaScript that needs no browser.
        expression: its value must be of plain data; infinities and NaN come back as texts.
        folder: where a page may be written.
    """
    answer = _AS_JSON.format(f"({expression})")
    node = shutil.which("node")
    if node is not None:
        return json.loads(_output([node, "-"], f"{script}\nconsole.log({answer});"))
    page = folder / "script.html"
    page.write_text(
        f'<meta charset="utf-8"><pre id="{_PLACE}"></pre><script>{script}\n'
        f"document.getElementById('{_PLACE}').textContent = encodeURIComponent({answer});</script>"
    )
    found = dump_dom(page).split(f'<pre id="{_PLACE}">')[1].split("</pre>")[0]
    return json.loads(unquote(found))


def dump_dom(page: Path, hash_: str = "") -> str:
    """Return the markup of a page after its scripts ran; the test is skipped without a browser."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs JavaScript: neither node nor any of {', '.join(_BROWSERS)} is there")
    return _output([browser, *_FLAGS, "--dump-dom", f"{page.as_uri()}{hash_}"], "")


def _output(command: list[str], given: str) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
