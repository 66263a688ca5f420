"""Correlations against scipy; choices of the sweep; smoothing; expected seconds."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from vsalt.compare.cells import Cell, Choice
from vsalt.compare.result import CellResult
from vsalt.compare.selection import correlations, pearson, r2_interval, ranks, selection_runs
from vsalt.compare.spec import CompareSpec, DataSpec, SelectionSpec, SweepSpec
from vsalt.compare.stages import StageResult, smoothed
from vsalt.compare.sweep import choose, unchosen
from vsalt.compare.timing import Timings
from vsalt.config import from_dict


def test_correlations_are_those_of_scipy() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=12).round(1)
    y = x + generator.normal(size=12).round(1)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)
    assert pearson(ranks(x), ranks(y)) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert ranks(x).tolist() == stats.rankdata(x).tolist()
    assert pearson(np.ones(5), np.arange(5.0)) == 0


@pytest.mark.parametrize("num_runs", [4, 8, 25])
@pytest.mark.parametrize("r2", [0.0, 0.25, 0.95])
def test_the_interval_of_r2_covers_the_truth(num_runs: int, r2: float) -> None:
    """Also where nothing goes with accuracy, which is what the contrast may show."""
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(500):
        x = generator.normal(size=num_runs)
        y = np.sqrt(r2) * x + np.sqrt(1 - r2) * generator.normal(size=num_runs)
        low, high = r2_interval(pearson(x, y), num_runs)
        covered += low <= r2 <= high
    # Binomial with 500 trials: 0.95 has a standard deviation of 0.01.
    assert covered / 500 >= 0.91


def test_the_interval_of_r2_is_that_of_scipy_or_all() -> None:
    x = np.random.default_rng(0).normal(size=9)
    y = 3 * x + np.random.default_rng(1).normal(size=9)
    ends = stats.pearsonr(x, y).confidence_interval(0.95)
    assert ends.low > 0
    for sign in (1, -1):
        found = r2_interval(pearson(x, sign * y), 9)
        assert found == pytest.approx((ends.low**2, ends.high**2), rel=1e-5)
    assert r2_interval(0.99, 3) == (0.0, 1.0)
    assert r2_interval(1.0, 8) == pytest.approx((1.0, 1.0))


def result(cell: Cell, accuracy: float, *, loss: float = 1.0, teacher: float = 2.0) -> CellResult:
    stages = tuple(
        StageResult(name=name, steps=3, flops=5, loss=value, val_loss=None, rankme=None)
        for name, value in (("teacher", teacher), ("student", loss))
    )
    return CellResult(
        cell=cell, inputs_sha256="", accuracy=accuracy, num_test=4, chance=0.5, stages=stages
    )


def spec_of(**selection: Any) -> CompareSpec:
    return CompareSpec(
        arms=("salt",),
        budgets=(1e9,),
        data=(DataSpec(name="a", sources=("x",)),),
        selection=from_dict(SelectionSpec, selection),
    )


def test_runs_are_measured_by_the_stage_that_varies() -> None:
    cells = [
        Cell(data="a", arm="salt", purpose="selection", stage=stage, variant=str(index))
        for stage in ("runs", "teachers")
        for index in range(4)
    ]
    found = {
        cell.key: result(cell, 0.1 * place, loss=-float(place), teacher=float(place**2))
        for place, cell in enumerate(cells)
    }
    variants = [{"name": str(index), "settings": {"optim": {"lr": 1.0}}} for index in range(4)]
    variants[3]["settings"] = {"image-masks": {"name": "tube"}}
    spec = spec_of(runs=variants, teachers=[*variants[:3], {"name": "3"}])
    runs = selection_runs(spec, cells, found)
    assert [run.same_task for run in runs] == [True, True, True, False, *4 * [True]]
    assert [run.measures["loss"] for run in runs] == [0, -1, -2, -3, 16, 25, 36, 49]
    of_runs, of_alike_runs, of_teachers = correlations(runs)
    assert (of_runs.stage, of_runs.measure, of_runs.num_runs) == ("runs", "loss", 4)
    assert (of_runs.r, of_runs.r2, of_runs.spearman) == pytest.approx((-1, 1, -1))
    assert (of_runs.same_task, of_alike_runs.same_task) == (False, True)
    assert (of_alike_runs.stage, of_alike_runs.num_runs) == ("runs", 3)
    assert of_teachers.stage == "teachers"
    # A variant that comes to the settings of another one is the same run, and counts once.
    again = [*runs, dataclasses.replace(runs[0], variant="again")]
    assert correlations(again) == correlations(runs)
    assert 0.9 < of_teachers.r2 < 1


def test_the_sweep_chooses_the_best_and_among_equals_the_nearest() -> None:
    spec = CompareSpec(arms=("salt",), budgets=(1e9,), data=(DataSpec(name="a", sources=("x",)),))
    cells = [
        Cell(data="a", arm="salt", purpose="sweep", choice=Choice(lr=lr)) for lr in (0.25, 1.0, 2.0)
    ]
    scores = dict(zip((cell.key for cell in cells), (0.5, 0.5, 0.4), strict=True))
    found = {cell.key: result(cell, scores[cell.key]) for cell in cells}
    assert choose(spec, cells, found) == {"a salt": Choice(lr=1.0)}
    found[cells[2].key] = result(cells[2], 0.6)
    assert choose(spec, cells, found) == {"a salt": Choice(lr=2.0)}
    del found[cells[0].key]
    assert choose(spec, cells, found) == {}
    # One that has diverged is a result, as long as another has not.
    assert choose(spec, cells, found, [cells[0].key]) == {"a salt": Choice(lr=2.0)}
    assert choose(spec, cells, {}, [cell.key for cell in cells]) == {}


def test_every_fold_waits_for_its_own_choice() -> None:
    data = DataSpec(name="a", sources=("x",), folds="fold")
    spec = CompareSpec(
        arms=("salt",), budgets=(1e9,), data=(data,), sweep=SweepSpec(every_fold=True)
    )
    cells = [Cell(data="a", fold=fold, arm="salt", purpose="sweep") for fold in ("0", "1")]
    choices = choose(spec, cells, {cells[0].key: result(cells[0], 0.5)})
    assert choices == {"a 0 salt": Choice()}
    assert unchosen(spec, cells, choices) == ["a 1 salt"]


def test_smoothing_is_a_mean_at_first_and_forgets() -> None:
    assert smoothed([]) is None
    assert smoothed([3.0]) == 3.0
    falling = smoothed([10.0] * 100 + [1.0] * 100)
    assert falling is not None
    assert 1.0 < falling < 1.01
    # Over 40 records the last two weigh half each.
    assert smoothed([0.0] * 38 + [4.0, 8.0]) == pytest.approx(0.5 * 8 + 0.25 * 4)


def test_seconds_are_expected_from_what_was_done(tmp_path: Path) -> None:
    timings = Timings(tmp_path)
    cell = Cell(data="a", arm="salt", budget=1e9, seed=0)
    other = Cell(data="a", arm="pixel", budget=2e9, seed=0)
    assert timings.expect(cell) is None
    timings.add(cell, 10.0)
    timings.add(cell, 20.0)
    with (tmp_path / "seconds.jsonl").open("a") as file:
        file.write('{"key": "cut sh')
    again = Timings(tmp_path)
    assert again.expect(cell) == pytest.approx(15.0)
    assert again.expect(other) == pytest.approx(30.0)
    assert again.expect(Cell(data="a", arm="random-init", seed=0)) is None
    again.add(cell, 60.0)
    assert Timings(tmp_path).expect(cell) == pytest.approx(30.0)


def test_a_probe_alone_does_not_tell_how_long_a_training_takes(tmp_path: Path) -> None:
    timings = Timings(tmp_path)
    scored = Cell(data="other", arm="salt", budget=1e9, seed=0)
    swept = Cell(data="a", arm="salt", budget=1e9, seed=0, purpose="sweep")
    timings.add(scored, 1.0)
    # Better than nothing.
    assert timings.expect(dataclasses.replace(swept, purpose="compare")) == pytest.approx(1.0)
    timings.add(swept, 100.0)
    for known in (timings, Timings(tmp_path)):
        assert known.expect(dataclasses.replace(swept, purpose="compare")) == pytest.approx(100.0)
        assert known.expect(dataclasses.replace(scored, seed=1)) == pytest.approx(1.0)
        assert known.expect(Cell(data="a", arm="pixel", budget=2e9)) == pytest.approx(200.0)
