"""`vsalt linear page`: what it writes and what it refuses."""

import importlib.util
from pathlib import Path

import pytest

from vsalt import __version__
from vsalt.cli import linear_page
from vsalt.cli.main import main


def test_the_page_is_written_and_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "lab.html"
    for _ in range(2):
        assert main(["linear", "page", "--out", str(out)]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(f"{out}: ")
        assert printed.endswith(" kB; open it in a browser\n")
        text = out.read_text(encoding="utf-8")
        assert text.startswith("<!DOCTYPE html>")
        assert f"Made by vsalt {__version__}." in text
        out.write_text("old")


def test_a_folder_is_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["linear", "page", "--out", str(tmp_path)]) == 1
    assert f"--out {tmp_path} is a folder; name a file, such as" in capsys.readouterr().err


def test_what_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        linear_page, "find_spec", lambda name: None if name == "scipy" else real(name)
    )
    out = tmp_path / "lab.html"
    assert main(["linear", "page", "--out", str(out)]) == 1
    assert "pip install 'vsalt[linear]'" in capsys.readouterr().err
    assert not out.exists()
