"""Which page `vsalt report` writes, what it refuses, and who tells of it."""

import io
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from support.report_runs import write_probe, write_salt
from vsalt.cli.main import main
from vsalt.training import announce


def test_the_page_of_one_run_lies_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_salt(tmp_path / "run")
    probe = write_probe(tmp_path / "probe")
    assert main(["report", str(run), "--probe", str(probe), "--clips", "0"]) == 0
    assert (run / "report.html").read_text().count("Linear probe of motion") > 0
    assert capsys.readouterr().out.startswith(f"{run}/report.html: 0.")


def test_several_runs_need_a_name_for_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(write_salt(tmp_path / name)) for name in ("a", "b")]
    assert main(["report", *runs, "--clips", "0"]) == 1
    assert "2 runs need --out FILE" in capsys.readouterr().err
    out = tmp_path / "new" / "page.html"
    assert main(["report", *runs, "--clips", "0", "--out", str(out)]) == 0
    assert out.is_file()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["RUN", "--clips", "-1"], "--clips is -1; it must be 0 or more"),
        (["RUN", "--out", "RUN"], "is a folder; name a file, such as"),
        (["RUN/nothing"], "holds no run: it does not exist"),
        (["RUN", "--probe", "RUN"], "holds no probe: it has no probe.json"),
        ([], "no run is given"),
    ],
)
def test_mistakes_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    run = write_salt(tmp_path / "run")
    assert main(["report", *(word.replace("RUN", str(run)) for word in words)]) == 1
    assert reason in capsys.readouterr().err
    assert not (run / "report.html").exists()


def test_the_end_of_a_run_says_what_can_be_done_with_it() -> None:
    console = Console(file=io.StringIO(), width=40)
    announce.say_done(Path("my long folder of runs") / "run\x1b[31m", console)
    done, *lines = console.file.getvalue().splitlines()
    assert done == "done: my long folder of runs/run\\x1b[31m"
    verbs = []
    for line in lines:
        words = shlex.split(line.removeprefix("next:"))
        assert "my long folder of runs/run\\x1b[31m" in words
        verbs.append(words[1])
    assert verbs == ["report", "probe", "embed"]
