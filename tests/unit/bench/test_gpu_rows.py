"""benchmarks/gpu: a row that fails is recorded, and what is there already is not taken again."""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support.pages import ROOT

GPU = ROOT / "benchmarks" / "gpu"
MACHINE = {"device": "here", "load": 1.0}


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(GPU))
    yield importlib.import_module("rows")
    sys.modules.pop("rows")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return start("run.py", *words)


def start(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(GPU / script), *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def read(path: Path) -> dict[str, dict[str, object]]:
    return {row["row"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}


def test_what_a_row_prints_is_found(rows: ModuleType) -> None:
    taken = rows.take(rows.Row("good", ("-c", "print('[1, 2]')"), json.loads), 60)
    assert (taken["found"], taken["exit_code"]) == ([1, 2], 0)


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("print('{}'); raise SystemExit(3)", 3, "{}"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("print('nonsense')", 0, "nonsense"),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
    ],
)
def test_a_row_that_fails_has_its_exit_code_and_nothing_found(
    rows: ModuleType, script: str, code: int, said: str
) -> None:
    taken = rows.take(rows.Row("bad", ("-c", script), json.loads), 60)
    assert taken["exit_code"] == code
    assert said in taken["errors"]
    assert "found" not in taken


def test_a_row_that_hangs_ends_with_the_processes_that_it_started(rows: ModuleType) -> None:
    """A worker that outlives the row's process would keep its pipe open for a minute."""
    script = (
        "import subprocess, sys; print('begun', flush=True); "
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    )
    begin = time.monotonic()
    taken = rows.take(rows.Row("late", ("-c", script), json.loads), 2)
    assert time.monotonic() - begin < 50
    assert taken["exit_code"] is None
    assert "ended after 2 s" in taken["errors"]
    assert "begun" in taken["errors"]


def test_the_file_is_whole_after_every_row(rows: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "piece.json"
    good = rows.Row("good", ("-c", "print(1)"), json.loads)
    bad = rows.Row("bad", ("-c", "print("), json.loads)
    results = rows.Results(path, "piece", MACHINE)
    results.add(rows.take(good, 60))
    assert list(read(path)) == ["good"]
    results.add(rows.take(bad, 60))
    assert list(read(path)) == ["good", "bad"]

    again = rows.Results(path, "piece", {**MACHINE, "load": 7.0})
    assert again.found(good) == 1
    assert again.found(bad) is None
    assert again.found(rows.Row("good", ("-c", "print(2)"), json.loads)) is None


def test_rows_of_other_settings_do_not_stay(rows: ModuleType, tmp_path: Path) -> None:
    old, new, other = (
        rows.Row(name, ("-c", f"print({value})"), json.loads)
        for name, value in (("a", 1), ("a", 2), ("b", 3))
    )
    results = rows.Results(tmp_path / "piece.json", "piece", MACHINE)
    results.add(rows.take(old, 60))
    results.keep([new, other])
    results.add(rows.take(other, 60))
    assert list(read(tmp_path / "piece.json")) == ["b"]


def test_rows_of_another_machine_are_refused(rows: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "piece.json"
    results = rows.Results(path, "piece", MACHINE)
    results.add(rows.take(rows.Row("good", ("-c", "print(1)"), json.loads), 60))
    with pytest.raises(ValueError, match="another machine"):
        rows.Results(path, "piece", {**MACHINE, "device": "there"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["health", "vjepa2"], "needs --checkout"),
        (["health", "vjepa2", "--checkout", "."], "no checkout"),
        (["health", "data-wait"], "needs --data"),
        (["health", "small-gpu", "--data", "absent"], "no such file or folder: absent"),
    ],
)
@pytest.mark.slow
def test_what_a_later_piece_needs_is_asked_for_first(
    tmp_path: Path, words: list[str], said: str
) -> None:
    done = run(*words, "--device", "cpu", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_tests_that_are_all_skipped_count_as_failed(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("needs CUDA to be missing")
    done = run("tests", "--device", "cpu", "--out", str(tmp_path))
    assert done.returncode == 1
    found = read(tmp_path / "tests.json")
    assert list(found) == sorted(path.name for path in (ROOT / "tests/gpu").glob("test_*.py"))
    assert all("no test has passed" in str(row["errors"]) for row in found.values())


@pytest.mark.slow
def test_a_second_start_takes_only_what_is_missing(tmp_path: Path) -> None:
    words = ("step", "--device", "cpu", "--steps", "1", "--out", str(tmp_path))
    assert run(*words).returncode == 0
    path = tmp_path / "step.json"
    first = read(path)
    assert len(first) == 2
    salt, pixel = first.values()
    for row, method in ((salt, "salt"), (pixel, "pixel")):
        assert row["found"]["settings"]["method"] == method  # type: ignore[index]
        assert row["found"]["peak_memory"]["bytes"] > 0  # type: ignore[index]

    # As if the second row had failed.
    broken = json.loads(path.read_text(encoding="utf-8"))
    broken["rows"][1] = {**pixel, "exit_code": 1, "errors": "cut"}
    del broken["rows"][1]["found"]
    path.write_text(json.dumps(broken), encoding="utf-8")
    done = run(*words)
    assert done.returncode == 0
    assert f"{salt['row']}: there already" in done.stdout
    second = read(path)
    assert second[str(salt["row"])] == salt
    assert second[str(pixel["row"])]["exit_code"] == 0
    assert "found" in second[str(pixel["row"])]


@pytest.mark.slow
def test_health_measures_both_methods(tmp_path: Path) -> None:
    assert run("health", "--device", "cpu", "--out", str(tmp_path)).returncode == 0
    found = read(tmp_path / "health.json")
    assert list(found) == ["pixel", "salt"]
    assert all(row["found"]["step_s"] > 0 for row in found.values())  # type: ignore[index]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vsalt.data.synthetic import synthesise

    folder = tmp_path_factory.mktemp("data") / "videos"
    synthesise(folder, num_clips=24, size=32, num_frames=24, fps=12)
    return folder


@pytest.mark.slow
def test_a_run_beside_the_rate_of_its_loader(tmp_path: Path, videos: Path) -> None:
    words = ("small-gpu", "data-wait", "--device", "cpu", "--data", str(videos))
    done = run(*words, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "small-gpu.json")["small-gpu"]["found"]
    assert isinstance(found, dict)
    assert found["peak_memory"]["bytes"] > 0
    needed = json.loads((tmp_path / "data-wait.json").read_text())["needed_clips_per_s"]
    for stage in ("teacher", "student"):
        timings, wait = found[stage], found[f"{stage}_data_wait"]
        assert [timing["step"] for timing in timings] == [1, 2, 3]
        span = timings[2]["elapsed_s"] - timings[0]["elapsed_s"]
        assert wait["seconds"] == pytest.approx(span)
        # Two steps of two clips; the log rounds its rates.
        assert wait["clips_per_s"] == pytest.approx(4 / span, rel=0.05)
        idle = wait["clips_per_s"] / (1 - wait["share"])
        assert needed[stage] == wait["clips_per_s_without_wait"] == pytest.approx(idle)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "data-wait.json",
        "small-gpu.json",
    ]


@pytest.mark.slow
def test_nothing_is_reported_of_a_run_that_did_not_end(tmp_path: Path, videos: Path) -> None:
    """Whatever an earlier one has left."""
    lines = [
        {"step": step, "clips_per_s": 9.0, "data_wait_share": 0.0, "elapsed_s": float(step)}
        for step in (1, 2)
    ]
    for stage in ("teacher", "student"):
        stale = tmp_path / "small-gpu-run" / stage / "timings.jsonl"
        stale.parent.mkdir(parents=True)
        stale.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ("small-gpu", "data-wait", "--device", "cpu", "--data", str(videos))
    done = run(*words, "--timeout", "0.5", "--out", str(tmp_path))
    assert done.returncode == 1
    row = read(tmp_path / "small-gpu.json")["small-gpu"]
    assert row["exit_code"] is None
    assert "found" not in row
    assert "below_5_percent" not in json.dumps(row)
    waits = json.loads((tmp_path / "data-wait.json").read_text())
    assert waits["needed_clips_per_s"] is None
    assert len(waits["rows"]) == 3


@pytest.mark.slow
def test_a_run_that_fails_prints_no_numbers(videos: Path) -> None:
    words = [str(videos), "--device", "cpu", "--preset", "demo", "--steps", "0"]
    done = start("small_gpu.py", *words)
    assert done.returncode != 0
    assert not done.stdout
    assert "1 setting is wrong" in done.stderr
