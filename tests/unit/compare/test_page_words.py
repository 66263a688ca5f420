"""What the page says in sentences, from results that are put together here."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.markup import Page
from vsalt.compare import page
from vsalt.compare.analysis import Accuracy, Analysis, Difference, Point, _estimate
from vsalt.compare.bootstrap import Estimate, draw
from vsalt.compare.divide import DataSet
from vsalt.compare.page_words import about, verdict
from vsalt.compare.results import Results
from vsalt.compare.spec import CompareSpec, DataSpec

BUDGET = 1e10


def accuracy(arm: str, value: float, *, used: float = 1.0) -> Accuracy:
    point = Point(
        data="d",
        student=None,
        arm=arm,
        budget=None if arm in ("raw_pixels", "random-init") else BUDGET,
        flops=used * BUDGET,
        teacher_flops=0.0,
        chance=0.25,
        seeds=(0,),
        right=np.zeros((1, 40), dtype=np.bool_),
    )
    return Accuracy(point=point, estimate=estimate_of(value))


def estimate_of(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.05, high=value + 0.05, detectable=0.1, dof=9.0)


def difference(against: str, value: float) -> Difference:
    return Difference(
        data="d",
        student=None,
        budget=BUDGET,
        arm="salt",
        against=against,
        estimate=estimate_of(value),
    )


def results(*accuracies: Accuracy, groups: int = 40, **own: Any) -> Results:
    spec = CompareSpec(
        arms=("random-init", "pixel", "salt", "vjepa"),
        budgets=(BUDGET,),
        data=(DataSpec(name="d", sources=("d.csv",)),),
    )
    data_set = DataSet(name="d", num_groups=groups, unused={})
    analysis = Analysis(
        accuracies=accuracies,
        differences=(difference("pixel", 0.2), difference("vjepa", 0.01)),
        chance={"d": 0.25},
        groups={"d": np.arange(40) % groups},
    )
    return Results(
        spec=spec,
        sets={"d": dataclasses.replace(data_set, **own)},
        cells=(),
        found={},
        sweep=(),
        choices={},
        diverged={},
        analysis=analysis,
        runs=(),
        correlations=(),
        left=(),
        failed={},
        environment={},
    )


def test_the_result_is_said_in_a_sentence() -> None:
    given = (accuracy("raw_pixels", 0.3), accuracy("pixel", 0.5), accuracy("salt", 0.7))
    assert verdict(results(*given, accuracy("vjepa", 0.69)), "d", None) == (
        "At 1.00e+10 FLOPs salt has the highest accuracy, 70.0 %. salt is clearly above pixel; "
        "shows no clear difference to vjepa."
    )
    # Of an arm that is not finished nothing is said.
    assert "vjepa" not in verdict(results(*given), "d", None)
    assert verdict(results(given[0]), "d", None) == ""


def test_arms_that_are_no_better_than_floors_are_named() -> None:
    given = (accuracy("raw_pixels", 0.6), accuracy("pixel", 0.5), accuracy("salt", 0.7))
    told = verdict(results(*given), "d", None)
    assert "Not above raw pixels (60.0 %), which needs no training: pixel." in told


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({}, "40 test clips in 40 groups, 1 seed"),
        ({"num_groups": None}, "40 test clips, no groups given: each counts as independent"),
        ({"unused": {"of split val": 3}}, "3 rows left out: 3 of split val."),
    ],
)
def test_rows_and_groups_are_told(own: dict[str, Any], told: str) -> None:
    assert told in about(results(**own), "d")


@pytest.mark.parametrize(
    ("num_groups", "told"),
    [(4, "too few for intervals"), (5, "intervals are rough"), (20, "")],
)
def test_few_groups_are_told_by_the_rule_of_probes(num_groups: int, told: str) -> None:
    said = about(results(groups=num_groups), "d")
    assert told in said
    assert ("groups only" in said or "too few" in said) == bool(told)


@pytest.mark.parametrize(("num_groups", "finite"), [(4, False), (5, True)])
def test_fewer_than_five_groups_have_no_interval(num_groups: int, finite: bool) -> None:
    values = np.random.default_rng(0).random((2, 40))
    found = _estimate(values, draw(np.arange(40) % num_groups, 2))
    assert found.value == pytest.approx(values.mean())
    assert np.isfinite([found.low, found.high, found.detectable]).all() == finite


def test_the_page_says_how_much_of_a_budget_was_used(tmp_path: Path) -> None:
    given = (accuracy("pixel", 0.5, used=0.85), accuracy("salt", 0.7, used=0.99))
    page.write_page(results(*given), tmp_path, text="", command="")
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    small = [one.text for one in text.all("small")]
    assert small == ["[45.0, 55.0]", "uses 85.0 % of the budget", "[65.0, 75.0]"]
    cells = [one.text for one in text.all("td")]
    assert "no clear difference" in cells
    assert "yes" in cells
