"""Runs the blocks of a page that are marked for it, as a reader would: one after the other."""

import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from support.pages import ROOT, Block, files


@dataclass(frozen=True)
class Outcome:
    """The exit code, or None after a time-out, and all output."""

    code: int | None
    output: str


def run_page(blocks: list[Block], folder: Path, *, slow: bool, timeout_s: float) -> Outcome:
    """Run a page's blocks in `folder`/work.

    Commands share one shell. Blocks of Python that follow one another share their names.
    """
    work, scripts = folder / "work", folder / "scripts"
    work.mkdir()
    scripts.mkdir()
    for name, text in files(blocks).items():
        (work / name).write_text(text, encoding="utf-8")
    run = {"python": "", "torchrun": "-m torch.distributed.run", "vsalt": "-m vsalt"}
    for name, words in run.items():
        command = scripts / name
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        command.chmod(0o755)
    script = scripts / "page.sh"
    script.write_text(_script(blocks, scripts, slow=slow), encoding="utf-8")
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", str(script)],
        cwd=work,
        env=_environment(scripts),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except BaseException as error:  # an interrupted test, too, leaves nothing that runs
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return Outcome(None, output)
        raise
    return Outcome(process.returncode, output)


def _script(blocks: list[Block], scripts: Path, *, slow: bool) -> str:
    chosen = [block for block in blocks if block.runs and (slow or not block.is_slow)]
    lines = []
    for is_shell, group in groupby(chosen, key=lambda block: block.is_shell):
        members = list(group)
        if is_shell:
            for block in members:
                lines += [f"echo '--- line {block.line}'", block.text]
            continue
        file = scripts / f"line_{members[0].line}.py"
        file.write_text("\n\n".join(block.text for block in members) + "\n", encoding="utf-8")
        lines += [f"echo '--- line {members[0].line}'", f"python {shlex.quote(str(file))}"]
    return "\n".join(lines) + "\n"


def _environment(scripts: Path) -> dict[str, str]:
    """Return the environment of a reader's shell: our commands, and no data of ours."""
    kept = {name: value for name, value in os.environ.items() if name != "VSALT_TEST_DATA"}
    return kept | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "COLUMNS": "100",
    }
