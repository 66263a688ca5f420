"""Which page `vsalt report` writes, what it refuses, and who tells of it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.report_runs import write_probe, write_salt
from vsalt.cli import pretrain
from vsalt.cli.main import main
from vsalt.errors import RunFolderError


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


def test_only_a_run_that_ends_well_says_how_to_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(*_: object, **__: object) -> None:
        """Be a run that is done at once."""

    start = SimpleNamespace(start_salt=end, start_stage=end, resume_run=end)
    monkeypatch.setitem(sys.modules, "vsalt.training.start", start)
    run = str(tmp_path / "run")
    given = {"out": Path(run), "run": Path(run), "teacher": None}

    def parse(_: type, words: Sequence[str], prog: str, default: Any = None) -> SimpleNamespace:
        config = getattr(default, "config", None)
        return SimpleNamespace(**given, config=config, dry_run="--dry-run" in words)

    monkeypatch.setattr(pretrain, "parse", parse)
    for words in (["salt", "--out", run], ["pretrain", "--method", "pixel", "--out", run]):
        assert main([*words, "--dry-run"]) == 0
        assert "vsalt report" not in capsys.readouterr().out
        assert main(words) == 0
        assert f"vsalt report {run}\n" in capsys.readouterr().out
    assert pretrain.resume([run], "vsalt resume") == 0
    assert f"vsalt report {run}\n" in capsys.readouterr().out

    def stop(*_: object, **__: object) -> None:
        raise RunFolderError("stopped")

    start.start_salt = stop
    assert main(["salt", "--out", run]) == 1
    assert "vsalt report" not in capsys.readouterr().out
