"""What `vsalt linear figures` writes, refuses, and says when packages are missing."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from vsalt.cli.main import main


def test_chosen_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "figures"
    assert main(["linear", "figures", "--out", str(out), "--only", "F5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"F5   {out}/F05-rho-exponents.png: JEPA's preference")
    assert lines[1] == f"titles, captions and files: {out}/index.json"
    rows = json.loads((out / "index.json").read_text(encoding="utf-8"))["figures"]
    assert all(
        (out / row[kind]).stat().st_size > 500 for row in rows for kind in ("picture", "numbers")
    )


def test_unknown_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["linear", "figures", "--out", str(tmp_path / "new"), "--only", "F0", "F1"]) == 1
    assert "--only has 'F0'; it must be of F1, F2, F3" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    words = ["linear", "figures", "--out", str(tmp_path / "file"), "--only", "F1"]
    assert main(words) == 1
    assert "file is not a folder; name another one" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_missing_packages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert main(["linear", "figures", "--out", str(tmp_path / "new")]) == 1
    error = capsys.readouterr().err
    assert "linear figures needs scipy and matplotlib: pip install 'vsalt[linear]'" in error
    assert not (tmp_path / "new").exists()


def test_importing_the_verb_loads_nothing_heavy() -> None:
    code = (
        "import sys, vsalt.cli.linear_figures; "
        "print([name for name in ('scipy', 'matplotlib', 'torch') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_computing_numbers_loads_no_matplotlib() -> None:
    code = (
        "import sys; from vsalt.linear.figures.catalogue import FIGURES; "
        "FIGURES['F1'].compute(); print('matplotlib' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
