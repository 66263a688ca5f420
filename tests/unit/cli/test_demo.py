"""The demo: few labels beside many videos, its summary, and what is refused before any work."""

import csv
import io
import json
import re
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from vsalt.cli import demo, embed
from vsalt.cli.demo_summary import ROWS, TASKS, demo_summary, demo_table
from vsalt.cli.main import main
from vsalt.data.manifest import Row, read_source
from vsalt.data.synthetic import synthesise
from vsalt.errors import ConfigError, RunFolderError
from vsalt.evaluation import subjects
from vsalt.evaluation.protocol import TaskOptions, make_task
from vsalt.presets import salt_preset
from vsalt.presets.demo import LONG, SHORT
from vsalt.training import start
from vsalt.training.build import resolve_salt
from vsalt.training.salt import create_salt
from vsalt.training.stop import InterruptedRunError


def test_features_of_the_same_clips_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(subjects, "extract_all", lambda *args, **_: calls.append(args) or args)
    extract = demo._extract_once()
    one, two = (Row(path=name, relative_path=name, source=0, columns={}) for name in "ab")
    student, other = SimpleNamespace(sha256="s"), SimpleNamespace(sha256="o")
    first = extract([student], [one, two], "config")
    relabelled = [replace(row, label="x", columns={"motion": "y"}) for row in (one, two)]
    assert extract([student], relabelled, "config") is first
    assert len(calls) == 1
    # Other weights, clips or settings are other features.
    for change in (
        ([other], [one, two], "config"),
        ([student], [two], "config"),
        ([student], [one, replace(two, start_s=1.0)], "config"),
        ([student], [one, two], "other"),
    ):
        assert extract(*change) is not first
    assert len(calls) == 5


def test_embeddings_that_fail_are_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for code in (0, 1):
        monkeypatch.setattr(embed, "run", lambda args, code=code: code)
        assert demo._embed(Path("run"), Path("labels.csv"), Path("out")) == code


def test_only_some_training_rows_keep_their_labels(tmp_path: Path) -> None:
    manifest = synthesise(tmp_path / "videos", num_clips=160, num_frames=1, size=16, test_every=4)
    labels = demo.hide_labels(manifest, tmp_path / "labels.csv", num_labels=64)
    every, few = read_source(manifest).rows, read_source(labels).rows
    assert [row.path for row in few] == [row.path for row in every]
    for task in TASKS:
        found = make_task(few, TaskOptions(label_column=task))
        (part,) = found.parts
        assert (len(part.train), len(part.test)) == (64, 40)
        assert found.left_out == {"no label": 56}
        # Every class has its share, and every label is the true one.
        counts = Counter(found.labels[part.train].tolist())
        assert set(counts.values()) == {64 // len(found.classes)}
        truth = {row.path: row.columns[task] for row in every}
        assert all(
            found.classes[label] == truth[row.path]
            for row, label in zip(found.rows, found.labels, strict=True)
        )
    with labels.open() as file:
        hidden = [row for row in csv.DictReader(file) if not row["label"]]
    assert len(hidden) == 56
    assert all(row["split"] == "train" for row in hidden)
    assert not any(row[name] for row in hidden for name in (*TASKS, "shape", "texture"))


def result(name: str, accuracy: float) -> dict[str, Any]:
    interval = {"low": accuracy - 0.02, "high": accuracy + 0.03}
    return {"name": name, "metrics": {"accuracy": accuracy, "interval": interval}}


def test_the_summary_has_exactly_these_keys() -> None:
    names = {
        "student": 0.5,
        "teacher": 0.4,
        "random init": 0.3,
        "raw pixels": 0.2,
        "frame differences": 0.25,
    }
    encoders = [result(name, value) for name, value in names.items()]
    results = {
        task: {"encoders": encoders, "chance": {"uniform": chance}}
        for task, chance in (("motion", 0.125), ("appearance", 0.25))
    }
    summary = demo_summary(results, 12345, seconds=61.26)
    assert json.loads(json.dumps(summary)) == {
        "seconds": 61.3,
        "train_flops": 12345,
        "chance": {"motion": 0.125, "appearance": 0.25},
        "encoders": {
            key: {
                task: {"accuracy": value, "ci95": [value - 0.02, value + 0.03]}
                for task in ("motion", "appearance")
            }
            for key, value in {
                "raw_pixels": 0.2,
                "frame_difference": 0.25,
                "random_init": 0.3,
                "teacher": 0.4,
                "student": 0.5,
            }.items()
        },
    }
    console = Console(file=io.StringIO(), width=80)
    console.print(demo_table(summary, 1024))
    lines = console.file.getvalue().splitlines()
    cells = [re.split(r"\s*│\s*", line.strip("│ ")) for line in lines if line.startswith("│")]
    assert [row[0] for row in cells] == [*ROWS.values(), "chance"]
    assert cells[-2] == ["student", "50.0% [48.0%, 53.0%]", "50.0% [48.0%, 53.0%]"]
    assert cells[-1] == ["chance", "12.5%", "25.0%"]


def test_bad_input_is_refused_before_any_work(tmp_path: Path) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").touch()
    new = str(tmp_path / "new")
    for words, error, text in (
        (["--out", str(used)], RunFolderError, "is not an empty folder; choose another --out"),
        (["--out", str(used / "notes.txt")], RunFolderError, "is not an empty folder"),
        (["--out", new, "--labels", "31"], ConfigError, "labels is 31; it must be at least 32"),
        (["--out", new, "--num-clips", "41"], ConfigError, "clips is 41; it must be at least 42"),
        (["--out", new, "--num-clips", "-5"], ConfigError, "clips is -5; it must be at least 42"),
        (["--out", new, "--num-clips", "1000"], ConfigError, "at most about 750"),
        (["--out", new, "--steps", "many"], ConfigError, "it must be a number of steps"),
    ):
        with pytest.raises(error, match=text):
            demo.demo(words, "vsalt demo")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["used"]
    assert [path.name for path in used.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (InterruptedRunError(15, "stopped"), 143)]
)
def test_who_interrupts_it_is_told_what_to_do(
    error: BaseException,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def begin(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(start, "start_salt", begin)
    monkeypatch.setenv("COLUMNS", "400")
    out = tmp_path / "my demo"
    words = ["demo", "--out", str(out), "--num-clips", "64", "--labels", "32"]
    assert main(words) == code
    first = capsys.readouterr()
    told = first.err.splitlines()[-1]
    assert shlex.split(told) == ["vsalt", *words]
    assert f"made 64 videos: {out / 'videos'}" in first.out
    assert not (out / "summary.json").exists()

    # The same command passes over what is done, and nothing else is let in.
    files = {path: path.stat().st_mtime_ns for path in (out / "videos").rglob("*")}
    assert main(words) == code
    again = capsys.readouterr().out
    assert f"goes on with the demo in {out}" in again
    assert "64 videos were made before" in again
    assert {path: path.stat().st_mtime_ns for path in (out / "videos").rglob("*")} == files
    assert main([*words, "--seed", "1"]) == 1
    assert "  seed: 0 there, 1 now" in capsys.readouterr().err


def test_another_run_in_the_demos_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--out", str(tmp_path / "out"), "--num-clips", "64", "--labels", "32"]
    begun: list[Any] = []
    monkeypatch.setattr(start, "start_salt", lambda run, config, **_: begun.append((run, config)))
    monkeypatch.setattr(start, "resume_run", lambda run, **_: begun.append(run))
    monkeypatch.setattr(demo, "_probe", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        demo.demo(words, "vsalt demo")
    ((run, config),) = begun
    create_salt(run, resolve_salt(config))
    with pytest.raises(ZeroDivisionError):
        demo.demo(words, "vsalt demo")
    assert begun[1:] == [run]
    create_salt(run, resolve_salt(replace(config, seed=7)))
    with pytest.raises(RunFolderError, match="is not what this demo began with"):
        demo.demo(words, "vsalt demo")
    assert begun[1:] == [run]


def test_the_plans_keep_their_promises() -> None:
    for plan, preset in ((SHORT, "demo"), (LONG, "demo-long")):
        assert plan.train() == salt_preset(preset)
        num_test = plan.num_clips // plan.test_every
        assert num_test >= 1000
        assert plan.num_clips - num_test >= 3000
        assert plan.num_labels % plan.shows.num_classes == 0
        assert len(plan.shows.motions) >= 8
        clip = plan.train().clip
        assert clip.size == (plan.size, plan.size)
        assert clip.num_frames * clip.frame_step <= plan.num_frames
        assert plan.train().data.flip == 0
