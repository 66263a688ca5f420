"""The notebooks' code runs, cell after cell, and says what the text around it says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.command_blocks import line_problems, vsalt_lines
from support.encoders import write_checkpoint
from support.pages import ROOT
from vsalt.data.synthetic import synthesise

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
RUN_CELLS = """
import json, sys
names = {}
for number, cell in enumerate(json.load(open(sys.argv[1], encoding="utf-8"))["cells"]):
    if cell["cell_type"] == "code":
        print(f"--- cell {number}")
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
"""


def cells(notebook: Path, kind: str) -> list[dict]:
    whole = json.loads(notebook.read_text(encoding="utf-8"))
    assert whole["nbformat"] == 4
    return [cell for cell in whole["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_holds_no_outputs(notebook: Path) -> None:
    for cell in cells(notebook, "code"):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_commands_in_its_text_are_ours(notebook: Path, tmp_path: Path) -> None:
    text = "\n".join("".join(cell["source"]) for cell in cells(notebook, "markdown"))
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    words = [line for block in blocks for line in vsalt_lines(block)]
    assert words
    assert line_problems(words, tmp_path) == [None] * len(words)


def run(notebook: Path, folder: Path) -> str:
    """Run all cells in one namespace of a new process; return what they print."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_CELLS, notebook], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_encoder_is_used(tmp_path: Path) -> None:
    synthesise(tmp_path / "videos", num_clips=24, seed=0)
    write_checkpoint(tmp_path / "run")
    said = run(ROOT / "examples" / "use-the-encoder.ipynb", tmp_path)
    features, found, in_memory, accuracy, classes = (
        part.partition("\n")[2].strip() for part in said.split("--- cell ")[1:]
    )
    assert features.endswith("(24, 24) float32")
    first, *others = found.splitlines()
    assert first.startswith("1.0000 videos/000000.mp4 ")
    assert len(others) == 4
    assert float(in_memory.split()[-1]) < 1e-5
    assert accuracy.startswith("accuracy of three parts: [")
    assert "] [" in classes
