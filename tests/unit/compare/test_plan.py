"""What a dry run says of data and of budgets that whole steps do not meet."""

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from vsalt.compare.divide import DataSet
from vsalt.compare.plan import plan_cells, print_plan
from vsalt.compare.run import Session, _say_failures
from vsalt.compare.spec import CompareSpec, read_spec
from vsalt.compare.timing import Timings

NETWORK = {"width": 24, "depth": 1, "heads": 2, "mlp_width": 48}
ROWS = DataSet(name="d", num_train=32, num_test=16, num_classes=8, num_groups=4, unused={})


def spec_of(**changes: Any) -> CompareSpec:
    values: dict[str, Any] = {
        "preset": "demo",
        "arms": ["random-init", "pixel", "salt"],
        "budgets": [5e7],
        "settings": {
            "encoder": NETWORK,
            "predictor": NETWORK,
            "loop": {"batch_size": 8},
            "clip": {"num_frames": 4, "size": [16, 16]},
        },
        "data": [{"name": "d", "sources": ["d.csv"]}],
    }
    return read_spec(values | changes, Path("/specs"))


def told(spec: CompareSpec, width: int = 120) -> str:
    sets = {"d": ROWS}
    console = Console(record=True, width=width, file=io.StringIO())
    print_plan(spec, plan_cells(spec, sets), sets, console)
    return console.export_text()


def test_a_data_set_has_a_line() -> None:
    text = told(spec_of())
    assert "data d: 32 train / 16 test rows, 8 classes, 4 groups in test, 0 test rows" in text
    pixel = next(plan for plan in plan_cells(spec_of(), {"d": ROWS}) if plan.cell.arm == "pixel")
    assert f" to {8 * pixel.stages[0].steps / 32:.3g} passes" in text


def test_no_name_is_cut_off_and_floors_are_marked() -> None:
    text = told(spec_of(), width=60)
    assert "…" not in text
    # Where all cells are of the comparison, it does not say so in every row.
    assert "purpose" not in text
    assert "raw pixels (no training)" in told(spec_of())
    assert "purpose" in told(spec_of(sweep={}))


def test_a_budget_that_whole_steps_do_not_meet_is_told() -> None:
    plans = plan_cells(spec_of(), {"d": ROWS})
    pixel = next(plan for plan in plans if plan.cell.arm == "pixel")
    step = pixel.flops / pixel.stages[0].steps
    text = told(spec_of(arms=["pixel", "salt"], budgets=[5.8 * step], teacher_share=0.5))
    assert f"pixel at {5.8 * step:.3g} FLOPs uses {5 / 5.8:.0%} of them" in text
    assert "uses" not in told(spec_of(arms=["pixel"], reference="pixel", budgets=[1000.5 * step]))


def test_a_teacher_that_is_off_its_share_is_told() -> None:
    plans = plan_cells(spec_of(), {"d": ROWS})
    pixel = next(plan for plan in plans if plan.cell.arm == "pixel")
    step = pixel.flops / pixel.stages[0].steps
    off = []
    for number in (2.6, 3.3, 4.0, 1000.0):
        spec = spec_of(arms=["salt"], budgets=[number * step], teacher_share=0.5)
        salt = next(plan for plan in plan_cells(spec, {"d": ROWS}) if plan.cell.arm == "salt")
        off.append(abs(salt.teacher_share - 0.5) > 0.05)
        words = f"spends {salt.teacher_share:.0%} on the teacher, not 50%"
        assert (words in told(spec)) == off[-1]
    assert True in off
    assert not off[-1]


def test_every_reason_of_failures_is_told_once(tmp_path: Path) -> None:
    console = Console(record=True, width=80, file=io.StringIO())
    session = Session(
        spec=spec_of(),
        out=tmp_path,
        text="",
        console=console,
        num_workers=1,
        deadline=None,
        timings=Timings(tmp_path),
        failed={"a": "a: no luck", "b": "b: no luck", "c": "other"},
    )
    _say_failures(session)
    assert console.export_text().splitlines() == [
        "failed: no luck",
        "  in 2 cells: a, b",
        "failed: other",
        "  in 1 cell: c",
    ]
