"""The command line as a user meets it: help, completion, mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest

from support import runs
from vsalt.cli.main import main
from vsalt.cli.verbs import VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_needs_no_torch(verb: str) -> None:
    code = (
        "import sys; from vsalt.cli.main import main\n"
        "try: main([*sys.argv[1:], '--help'])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *verb.split()], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
    assert f"usage: vsalt {verb}" in done.stdout


def test_help_of_a_family_lists_its_verbs() -> None:
    done = runs.vsalt("probe", "--help")
    assert done.returncode == 0
    assert "probe fit" in done.stdout
    assert "embed" not in done.stdout


def completions(script: str, words: list[str]) -> list[str]:
    """What bash offers for the last of the words."""
    code = (
        f"{script}\nCOMP_WORDS=({' '.join(map(repr, words))})\n"
        f"COMP_CWORD={len(words) - 1}\n_vsalt\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_completion_knows_verbs_and_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no file here looks like a verb
    script = runs.vsalt("completion", "bash").stdout
    assert completions(script, ["vsalt", "pr"]) == ["pretrain", "probe"]
    assert completions(script, ["vsalt", "probe", ""]) == ["fit", "eval", "predict"]
    assert completions(script, ["vsalt", "salt", "--teacher.optim.cl"]) == [
        "--teacher.optim.clip-after-warmup",
        "--teacher.optim.clip-norm",
    ]
    assert completions(script, ["vsalt", "salt", "--data", "x", "--see"]) == ["--seed"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["salti", "--out", "x"], "'salti' is not a verb; did you mean salt"),
        (["probe"], "did you mean probe fit"),
        (["salt", "--out", "x", "--preset", "huge"], "there are demo, tiny-cpu"),
        (["salt", "--out", "x", "--steps", "1:2:3"], "must be a number of steps, or two as T:S"),
        (["salt", "--out", "x", "--assistant.optim.lr", "1"], "this run has no assistant; take"),
        (["salt", "--out", "x", "--data", "/nowhere"], "no such file or folder: /nowhere"),
        (["pretrain", "--out", "x", "--method", "salt"], "--teacher RUN"),
        (["salt", "--out", "x", "--dry-run"], "--dry-run needs --data"),
        (["salt", "--out", "x", "--teacher.encoder.tubelet", "0", "16", "16"], "at least 1"),
        (["salt", "--out", "x", "--preset", "paper-vitb", "--steps", "100"], "warmup-steps"),
        (["resume", "/nowhere"], "holds no run"),
        (["embed", "--encoder", "/nowhere", "--data", "x", "--out", "x"], "there is no encoder"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_answered_without_a_traceback(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = runs.vsalt(*words)
    assert not list(tmp_path.iterdir())  # nothing is written before all is checked
    assert done.returncode in (1, 2)
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_the_teachers_layer_is_a_setting_of_the_student(videos: Path, tmp_path: Path) -> None:
    words = [*runs.TINY_SMALL, "--teacher.encoder.depth", "2", "--data", str(videos)]
    students, teachers = [], []
    for layer in ("-1", "0"):
        run = tmp_path / layer
        given = ["--student.method.teacher-layer", layer, "--out", str(run)]
        assert main(["salt", *words, *given]) == 0
        teachers.append(runs.stage_fingerprint(run / "teacher"))
        students.append(runs.stage_fingerprint(run / "student"))
    assert teachers[0] == teachers[1]
    assert students[0] != students[1]
    given = ["--student.method.teacher-layer", "2", "--out", str(tmp_path / "none")]
    assert main(["salt", *words, *given]) == 1
    assert not (tmp_path / "none").exists()


def test_all_mistakes_are_reported_at_once() -> None:
    done = runs.vsalt("salt", "--out", "x", "--clip.frame-step", "0", "--teacher.optim.lr", "-1")
    assert done.returncode == 1
    assert "2 settings are wrong" in done.stderr
    assert "clip.frame-step is 0" in done.stderr
    assert "optim.lr is -1.0" in done.stderr
