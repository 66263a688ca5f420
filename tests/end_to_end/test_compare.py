"""`vsalt compare` on tiny networks: nothing tested is seen, nothing done is done again."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from support import runs
from support.comparisons import FOLDED, SPEC, SYNTH, write_folds
from support.markup import Page
from vsalt import durable
from vsalt.compare import run_cell
from vsalt.compare.bootstrap import draw, estimate
from vsalt.compare.plan import plan_cells, print_plan
from vsalt.compare.run import count_done, run_compare
from vsalt.compare.spec import read_spec
from vsalt.errors import ConfigError, DataError, RunFolderError
from vsalt.report.numbers import duration

SWEEP = "[sweep]\nlr = [2.0]\nmomentum = [0.9]\n"
SELECTION = """
[selection]
arms = ["salt"]
runs = [{name = "low", settings = {optim = {lr = 1e-4}}},
        {name = "high", settings = {optim = {lr = 1e-2}}},
        {name = "few", settings = {masks = {ratio = 0.25}}}]
"""


def compare(spec: str, folder: Path, **options: Any) -> int:
    """Run a comparison in this process; its sources and its results lie in the folder."""
    return run_compare(
        read_spec(tomllib.loads(spec), folder),
        folder / "out",
        Console(quiet=True),
        text=spec,
        command="vsalt compare spec.toml --out out",
        num_workers=1,
        **options,
    )


@pytest.fixture(scope="module")
def folded(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished comparison over two folds with a sweep and a selection."""
    folder = tmp_path_factory.mktemp("folded")
    write_folds(videos, folder)
    assert compare(SPEC + FOLDED + SWEEP + SELECTION, folder) == 0
    return folder


def test_no_training_sees_a_clip_that_it_is_tested_on(folded: Path) -> None:
    """Of every stage seen.jsonl, beside the rows of every probe that its encoder was scored by."""
    with (folded / "folds.csv").open(newline="") as file:
        fold_of = {os.path.basename(row["path"]): row["fold"] for row in csv.DictReader(file)}
    checked = 0
    for cell in (folded / "out" / "cells").iterdir():
        result = json.loads((cell / "result.json").read_text())
        tested = {
            os.path.basename(json.loads(line)["row"])
            for line in (cell / "predictions.jsonl").read_text().splitlines()
        }
        if result["cell"]["purpose"] == "compare":
            assert {fold_of[name] for name in tested} == {result["cell"]["fold"]}
        else:
            # The sweep and the selection are of the first fold; the sweep tests none of its clips.
            in_fold = {fold_of[name] == "0" for name in tested}
            assert in_fold == {result["cell"]["purpose"] == "selection"}
        if result["cell"]["budget"] is None:
            continue
        probe = json.loads((cell / "probe" / "probe.json").read_text())
        run = Path(probe["encoders"][0]["checkpoint"]).parents[1]
        files = list(run.rglob("seen.jsonl"))
        assert len(files) == (2 if result["cell"]["arm"] == "salt" else 1)
        for file in files:
            seen = {json.loads(line)["file_name"] for line in file.read_text().splitlines()}
            assert seen
            assert not seen & tested
            checked += 1
    assert checked > 10


def test_results_hold_what_was_asked_for(folded: Path) -> None:
    found = json.loads((folded / "out" / "results.json").read_text())
    assert (found["left"], found["failed"]) == ([], [])
    assert [one["arm"] for one in found["accuracies"]] == [
        "raw_pixels", "frame_difference", "random-init", "salt", "vjepa",
    ]  # fmt: skip
    assert found["data"]["folded"] == {
        "num_test": 32, "num_groups": 11, "num_shared": 0, "chance": 0.25,
    }  # fmt: skip
    salt = next(one for one in found["accuracies"] if one["arm"] == "salt")
    assert 0.8 * 5e7 < salt["flops"] <= 5e7
    assert 0 < salt["teacher_flops"] < salt["flops"]
    pairs = {(one["arm"], one["against"]) for one in found["differences"]}
    assert pairs == {("salt", "vjepa"), ("salt", "random-init"), ("vjepa", "random-init")}
    # Both folds' predictions together are the accuracy, in the cells as in the sum.
    cells = [one for one in found["cells"] if one["arm"] == "salt"]
    rights = sum(one["accuracy"] * one["num_test"] for one in cells)
    assert salt["value"] == pytest.approx(rights / 32)
    assert {one["arm"]: one["lr"] for one in cells}["salt"] == 2.0
    assert [one["chosen"] for one in found["sweep"]].count(True) == 2
    assert found["sweep_flops"] > 2 * 0.8 * 5e7
    assert len(found["selection"]) == 3
    assert {one["measure"] for one in found["correlations"]} == {"loss", "val_loss", "rankme"}
    assert str(folded) not in (folded / "out" / "results.json").read_text()
    with (folded / "out" / "results.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(found["cells"])


def test_groups_json_is_enough_to_find_all_intervals_again(folded: Path) -> None:
    """Accuracies and differences from numbers of right rows per group, without any other file."""
    points = json.loads((folded / "out" / "groups.json").read_text())
    found = json.loads((folded / "out" / "results.json").read_text())

    def values(point: dict[str, Any]) -> np.ndarray:
        rows = [
            [right for times in zip(seed, point["rows"], strict=True) for right in once(*times)]
            for seed in point["right"]
        ]
        return np.array(rows, dtype=np.float64)

    def once(right: int, rows: int) -> list[int]:
        return [1] * right + [0] * (rows - right)

    groups = np.repeat(np.arange(11), points[0]["rows"])
    draws = draw(groups, 1)
    by_arm = {point["arm"]: values(point) for point in points}
    assert [point["seeds"] for point in points] == [[None], [None], [0], [0], [0]]
    for one in found["accuracies"]:
        again = estimate(by_arm[one["arm"]], draws)
        assert (one["value"], one["high"]) == pytest.approx((again.value, again.high), rel=1e-5)
    for one in found["differences"]:
        again = estimate(by_arm[one["arm"]] - by_arm[one["against"]], draws)
        ends = (one["low"], one["value"], one["high"])
        assert ends == pytest.approx((again.low, again.value, again.high), rel=1e-5, abs=1e-12)
    assert "scene" not in (folded / "out" / "groups.json").read_text()


def test_the_page_is_whole(folded: Path) -> None:
    page = Page((folded / "out" / "report.html").read_text(encoding="utf-8"))
    headings = [heading.text for heading in page.all("h2")]
    assert headings == [
        "Accuracy on folded", "Paired differences", "Sweep", "Model selection", "How it was made",
    ]  # fmt: skip
    titles = [title.text for title in page.all("title")]
    assert "Accuracy over compute" in titles
    assert "salt: held-out loss of the last stage" in titles
    # What is not trained stands below no budget.
    heads = [head.text for head in page.all("th")]
    assert heads[:3] == ["arm", "untrained", "5.00e+07 FLOPs"]
    # The run `few` has other masks.
    text = " ".join(note.text for note in page.all("p"))
    assert "that of another task (few)" in text


def test_a_second_start_does_nothing(folded: Path) -> None:
    before = times(folded / "out")
    results = (folded / "out" / "results.json").read_bytes()
    assert compare(SPEC + FOLDED + SWEEP + SELECTION, folded) == 0
    assert times(folded / "out") == before
    assert (folded / "out" / "results.json").read_bytes() == results


def test_the_devices_are_those_of_the_trainings(folded: Path, tmp_path: Path) -> None:
    """Results that are written again on another machine do not claim to be from there."""
    shutil.copytree(folded, tmp_path, dirs_exist_ok=True)
    known = json.loads((folded / "out" / "results.json").read_text())["environment"]
    assert known["device"] == "cpu"
    first = min((tmp_path / "out" / "stages").glob("*/environment.json"))
    record = json.loads(first.read_text())
    record["starts"][0] |= {"device": "cuda", "device_name": "H", "torch": "1.0"}
    first.write_text(json.dumps(record))
    assert compare(SPEC + FOLDED + SWEEP + SELECTION, tmp_path) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())["environment"]
    assert found == known | {"device": "H, cpu", "torch": f"1.0, {known['torch']}"}


def test_students_of_one_teacher_share_its_training(folded: Path) -> None:
    """Two folds and a candidate have a teacher each; the selection has none of its own."""
    teachers = list((folded / "out" / "stages").glob("pixel-*"))
    assert len(teachers) == 2 + 1


def test_other_settings_or_data_are_refused(folded: Path) -> None:
    changed = SPEC.replace("batch_size = 8", "batch_size = 4")
    told = r"other settings, data or version .*settings\.loop\.batch_size was 8, and is 4"
    with pytest.raises(RunFolderError, match=told):
        compare(changed + FOLDED + SWEEP + SELECTION, folded)
    spec = read_spec(tomllib.loads(changed + FOLDED + SWEEP + SELECTION), folded)
    with pytest.raises(RunFolderError, match=told):
        count_done(spec, folded / "out", {"folded": ("0", "1")})
    spec = read_spec(tomllib.loads(SPEC + FOLDED + SWEEP + SELECTION), folded)
    assert count_done(spec, folded / "out", {"folded": ("0", "1")})[1] == 0
    assert count_done(spec, folded / "new", {"folded": ("0", "1")})[0] == 0
    rows = folded / "folds.csv"
    text = rows.read_text()
    try:
        rows.write_text("".join(text.splitlines(keepends=True)[:-1]))
        with pytest.raises(RunFolderError, match="data set folded has changed"):
            compare(SPEC + FOLDED + SWEEP + SELECTION, folded)
    finally:
        rows.write_text(text)


def test_a_deadline_ends_before_a_cell_that_would_not_fit(
    folded: Path, videos: Path, tmp_path: Path
) -> None:
    write_folds(videos, tmp_path)
    (tmp_path / "out").mkdir()
    known = (folded / "out" / "seconds.jsonl").read_text()
    long = re.sub(r'"seconds": [\d.]+', '"seconds": 1e9', known)
    (tmp_path / "out" / "seconds.jsonl").write_text(long)
    assert compare(SPEC + FOLDED, tmp_path, hours=1.0) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (found["cells"], found["failed"]) == ([], [])
    assert len(found["left"]) == 2 * 5


def test_no_time_is_enough_to_write_what_is_done(folded: Path, tmp_path: Path) -> None:
    shutil.copytree(folded, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "out" / "cells" / "folded.fold1.vjepa.5e07.seed0")
    assert compare(SPEC + FOLDED + SWEEP + SELECTION, tmp_path, hours=0.0) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["left"] == ["folded.fold1.vjepa.5e07.seed0"]
    assert [one["arm"] for one in found["accuracies"]][-1] == "salt"
    assert len(found["selection"]) == 3


def test_two_starts_do_not_work_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (
        durable.hold(tmp_path / "out"),
        pytest.raises(RunFolderError, match=f"in use by process {os.getpid()}"),
    ):
        compare(SPEC + SYNTH, tmp_path)
    assert not (tmp_path / "out" / "data").exists()


def test_a_cell_that_fails_is_named_and_others_go_on(
    folded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folded, tmp_path, dirs_exist_ok=True)
    for arm in ("salt", "vjepa"):
        for fold in (0, 1):
            shutil.rmtree(tmp_path / "out" / "cells" / f"folded.fold{fold}.{arm}.5e07.seed0")
    original = run_cell.train

    def failing(stages: Any, catalogue: Any, console: Any) -> Any:
        if stages[-1].name == "vjepa":
            raise DataError("no luck")
        return original(stages, catalogue, console)

    monkeypatch.setattr(run_cell, "train", failing)
    assert compare(SPEC + FOLDED + SWEEP + SELECTION, tmp_path) == 1
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["failed"] == ["folded.fold0.vjepa.5e07.seed0", "folded.fold1.vjepa.5e07.seed0"]
    assert {one["arm"] for one in found["accuracies"]} == {
        "raw_pixels", "frame_difference", "random-init", "salt",
    }  # fmt: skip
    # What was trained for the cells that were removed is found again.
    names = ("accuracies", "cells")
    before = json.loads((folded / "out" / "results.json").read_text())
    assert all(one in before[name] for name in names for one in found[name])


def test_without_a_choice_of_the_sweep_a_fold_waits(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never begins with a choice that nobody has made; others do."""
    write_folds(videos, tmp_path)
    original = run_cell.train

    def failing(stages: Any, catalogue: Any, console: Any) -> Any:
        if stages[0].config.data.sources[0].endswith("folded.fold1.sweep.csv"):
            raise DataError("no luck")
        return original(stages, catalogue, console)

    monkeypatch.setattr(run_cell, "train", failing)
    spec = SPEC.replace('["random-init", "salt", "vjepa"]', '["salt"]') + FOLDED
    assert compare(spec + SWEEP + "every_fold = true\n", tmp_path) == 1
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["failed"] == ["sweep.folded.fold1.salt.5e07.seed0.lr2"]
    assert found["left"] == [*found["failed"], "folded.fold1.salt.5e07.seed0"]
    trained = [one for one in found["cells"] if one["arm"] == "salt"]
    assert [(one["fold"], one["lr"]) for one in trained] == [("0", 2.0)]
    log = tmp_path / "out" / "cells" / found["failed"][0] / "log.txt"
    assert "failed: no luck" in log.read_text()


def test_a_candidate_that_diverges_is_not_chosen_and_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SPEC.replace('["random-init", "salt", "vjepa"]', '["pixel"]\nreference = "pixel"')
    spec += SYNTH + "[sweep]\nlr = [1.0, 1e30]\n"
    assert compare(spec, tmp_path) == 0
    first = (tmp_path / "out" / "results.json").read_bytes()
    found = json.loads(first)
    assert (found["left"], found["failed"]) == ([], [])
    chosen, diverged = found["sweep"]
    assert (chosen["lr"], chosen["chosen"], chosen["accuracy"] is None) == (1.0, True, False)
    assert (diverged["lr"], diverged["chosen"], diverged["accuracy"]) == (1e30, False, None)
    assert 0 < diverged["flops"] < chosen["flops"]
    assert found["sweep_flops"] == diverged["flops"] + chosen["flops"]
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "diverged" in [cell.text for cell in page.all("td")]

    def trained_again(*given: Any) -> Any:
        raise AssertionError(given)

    monkeypatch.setattr(run_cell, "train", trained_again)
    assert compare(spec, tmp_path) == 0
    assert (tmp_path / "out" / "results.json").read_bytes() == first


def test_a_budget_too_small_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    spec = SPEC.replace("5e7", "1e3") + SYNTH
    with pytest.raises(ConfigError, match=r"shapes\.vjepa\.1000\.seed0: .* is too small"):
        compare(spec, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_it_costs() -> None:
    spec = read_spec(tomllib.loads(SPEC + SYNTH + SWEEP), Path())
    plans = plan_cells(spec, {"shapes": None})
    # A candidate of two arms, two floors, random-init, two arms.
    assert len(plans) == 2 + 2 + 1 + 2
    console = Console(record=True, width=120, file=io.StringIO())
    print_plan(spec, plans, {"shapes": None}, console, flops_per_second=1e6)
    # A sweep trains on other rows, so it shares no teacher with the comparison.
    told = console.export_text()
    assert "7 cells; 6 stages are trained" in told
    assert "48 clips, still to be made" in told
    flops = sum(plan.flops for plan in plans)
    assert f"{flops:.3e} FLOPs in all, {duration(flops / 1e6)} of training" in told


def test_encoders_of_one_set_are_scored_on_another(videos: Path, tmp_path: Path) -> None:
    """One training for both sets; the other has a probe per fold, and is never trained on."""
    write_folds(videos, tmp_path)
    spec = SPEC.replace(', "vjepa"', "") + SYNTH + FOLDED + 'trained_on = "shapes"\n'
    assert compare(spec, tmp_path) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["left"] == []
    assert len(list((tmp_path / "out" / "stages").glob("*/trained"))) == 2
    accuracies = {(one["data"], one["arm"]): one for one in found["accuracies"]}
    assert len(accuracies) == 2 * 4
    assert accuracies["folded", "salt"]["flops"] == accuracies["shapes", "salt"]["flops"]
    assert found["data"]["folded"]["num_test"] == 32
    own = tmp_path / "out" / "cells" / "folded.salt.5e07.seed0"
    probe = json.loads((own / "probe" / "probe.json").read_text())
    assert len(probe["encoders"][0]["parts"]) == 2
    trained = json.loads(
        (Path(probe["encoders"][0]["checkpoint"]).parents[1] / "config.json").read_text()
    )
    shapes = tmp_path / "out" / "data" / "shapes.csv"
    assert trained["config"]["data"]["sources"] == [str(shapes)]


def times(out: Path) -> dict[str, int]:
    """When each cell and each stage was finished."""
    files = [*out.glob("cells/*/result.json"), *out.glob("stages/*/trained")]
    return {str(file): file.stat().st_mtime_ns for file in files}


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "code"), [("kill", -signal.SIGKILL), ("term", 143)])
def test_killed_and_run_again_equals_undisturbed(fault: str, code: int, tmp_path: Path) -> None:
    """In the middle of a student; what was finished before keeps its files."""
    spec = tmp_path / "spec.toml"
    spec.write_text(SPEC + SYNTH)
    whole, out = tmp_path / "whole", tmp_path / "out"
    done = runs.vsalt("compare", spec, "--out", whole)
    assert done.returncode == 0, done.stdout + done.stderr
    result = whole / "cells" / "shapes.salt.5e07.seed0" / "result.json"
    stages = json.loads(result.read_text())["stages"]
    teacher, student = (stage["steps"] for stage in stages)
    disturbed = runs.vsalt(
        *("compare", spec, "--out", out),
        prefix=(runs.FAULT_DRIVER, fault, tmp_path / "marker", "step", str(teacher + student // 2)),
    )
    assert disturbed.returncode == code, disturbed.stdout + disturbed.stderr
    before = times(out)
    assert [Path(name).parent.name for name in before if "cells" in name].count("shapes.raw_pixels")
    again = runs.vsalt("compare", spec, "--out", out)
    assert again.returncode == 0, again.stdout + again.stderr
    after = times(out)
    assert {name: after[name] for name in before} == before
    assert (out / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    assert (out / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()


@pytest.mark.slow
def test_worker_processes_find_the_same(tmp_path: Path) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text(SPEC + SYNTH)
    one, two = tmp_path / "one", tmp_path / "two"
    assert runs.vsalt("compare", spec, "--out", one, "--workers", "1").returncode == 0
    done = runs.vsalt("compare", spec, "--out", two, "--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (one / "results.json").read_bytes() == (two / "results.json").read_bytes()


@pytest.mark.slow
def test_workers_do_not_outlive_the_start_that_was_killed(tmp_path: Path) -> None:
    """They would work on the cells of the next one, which begins at once."""
    spec = tmp_path / "spec.toml"
    spec.write_text(SPEC.replace("5e7", "5e10") + SYNTH)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "vsalt", "compare", str(spec), "--out", str(out)]
    start = subprocess.Popen([*command, "--workers", "2"], stdout=subprocess.DEVNULL)
    wait_for(lambda: len(list(out.glob("stages/*/metrics.jsonl"))) == 2)
    children = Path(f"/proc/{start.pid}/task/{start.pid}/children").read_text().split()
    assert len(children) >= 2
    start.kill()
    start.wait()
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    # A signal lets a training save what it has done.
    assert len(list(out.glob("stages/*/checkpoints/latest"))) == 2
    assert not list(out.glob("cells/*salt*/result.json"))


def wait_for(condition: Callable[[], bool], *, seconds: float = 120.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.05)
