"""Specifications are read strictly, and cells and configurations follow from them."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from vsalt.compare.cells import Choice, compare_cells, selection_cells, sweep_cells
from vsalt.compare.configs import Config, arm_config, base_config, cell_config, check_arms
from vsalt.compare.run import check_cells
from vsalt.compare.spec import CompareSpec, SelectionSpec, read_spec
from vsalt.config import PretrainConfig, SaltRunConfig, from_dict
from vsalt.errors import ConfigError
from vsalt.training.budget import flops_of

BUDGET = 4e10


def values(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "preset": "demo",
        "arms": ["random-init", "pixel", "salt", "vjepa"],
        "budgets": [2 * BUDGET, BUDGET],
        "seeds": [0, 1],
        "data": [{"name": "a", "synth": {"num_clips": 64}}, {"name": "b", "sources": ["b.csv"]}],
    }
    return given | changes


def spec_of(**changes: Any) -> CompareSpec:
    return read_spec(values(**changes), Path("/specs"))


FOLDS = {"a": (None,), "b": ("1", "2", "x/y")}


def test_all_mistakes_are_told_at_once() -> None:
    wrong = values(
        arms=["salt", "slat"],
        budget=[1e12],
        seeds=[0, 0],
        data=[{"name": "a b", "sources": ["x"]}, {"name": "c", "sources": [], "lable_column": "x"}],
        probe={"kind": "linnear"},
        sweep={"lr": []},
    )
    with pytest.raises(ConfigError) as caught:
        read_spec(wrong, Path())
    told = "\n".join(caught.value.problems)
    for part in (
        "budget is not a setting; did you mean budgets?",
        "there is no arm 'slat'",
        "seeds: 0 is given twice",
        "data.name is 'a b'",
        "data c: give either sources or a table synth",
        "data[1].lable_column is not a setting; did you mean data[1].label_column?",
        "probe.kind is 'linnear'; allowed: linear, knn",
        "sweep.lr is []",
    ):
        assert part in told


def test_sources_are_beside_the_file() -> None:
    assert spec_of().data[1].sources == ("/specs/b.csv",)


def test_mistakes_in_settings_are_told_with_their_place() -> None:
    spec = spec_of(
        settings={"optim": {"lrr": 1.0}}, arm={"vjepa": {"settings": {"method": {"momentum": 2.0}}}}
    )
    with pytest.raises(ConfigError, match=r"settings: teacher\.optim\.lrr is not a setting"):
        check_arms(spec)
    spec = dataclasses.replace(spec, settings={})
    with pytest.raises(ConfigError, match=r"arm\.vjepa\.settings: method\.momentum is 2\.0"):
        check_arms(spec)
    spec = spec_of(arm={"pixel": {"teacher_share": 0.5}})
    with pytest.raises(ConfigError, match=r"arm\.pixel\.teacher_share: pixel does not train two"):
        check_arms(spec)


def test_the_matrix_is_whole_and_its_keys_are_distinct() -> None:
    spec = spec_of()
    cells = compare_cells(spec, FOLDS, {})
    # Four places: one of a, three folds of b. Two floors, random-init by 2 seeds, 3 arms x 2 x 2.
    assert len(cells) == 4 * (2 + 2 + 3 * 2 * 2)
    assert len({cell.key for cell in cells}) == len(cells)
    budgets = [cell.budget or 0 for cell in cells]
    assert budgets == sorted(budgets)
    keys = {cell.key for cell in cells}
    assert {"a.raw_pixels", "a.random-init.seed1", "b.fold1.salt.4e10.seed0"} <= keys
    assert all("/" not in key for key in keys)


def test_every_arm_gets_the_same_sweep_and_averages_two_momenta() -> None:
    spec = spec_of(sweep={})
    cells = sweep_cells(spec, FOLDS, ["vjepa"])
    of_arm = {
        arm: [cell for cell in cells if cell.arm == arm and cell.data == "b"] for arm in spec.arms
    }
    assert [len(of_arm[arm]) for arm in spec.arms] == [0, 3, 3, 6]
    assert {(cell.budget, cell.seed, cell.fold) for cell in of_arm["salt"]} == {(BUDGET, 0, "1")}
    assert len({cell.key for cell in cells}) == len(cells)
    every = sweep_cells(spec_of(sweep={"every_fold": True}), FOLDS, ["vjepa"])
    assert len(every) == 2 * len(cells)


@pytest.mark.parametrize(
    "arm", ["pixel", "salt", "vjepa", "videomae", "salt-3stage", "salt-small-teacher"]
)
def test_arms_cost_the_same_and_differ_in_nothing_that_is_shared(arm: str) -> None:
    spec = spec_of(arms=["salt", arm] if arm != "salt" else ["salt"])
    budget = 10 * BUDGET
    cell = next(
        dataclasses.replace(cell, budget=budget)
        for cell in compare_cells(spec, FOLDS, {})
        if cell.arm == arm
    )
    config = cell_config(spec, cell, "rows.csv")
    # No more than the budget; less by less than the dearest step.
    assert budget * 0.97 < flops_of(config) <= budget
    assert config.data.sources == ("rows.csv",)
    assert config.data.flip == 0.0
    assert (config.seed, config.clip) == (0, arm_config(spec, "salt", None, Choice()).clip)


def test_settings_are_put_over_each_other() -> None:
    spec = spec_of(
        settings={"optim": {"lr": 0.5}, "student": {"optim": {"lr": 0.25}}},
        arm={"salt": {"settings": {"teacher": {"optim": {"lr": 0.125}}}}},
    )
    salt = arm_config(spec, "salt", None, Choice(lr=2.0, momentum=0.9))
    assert isinstance(salt, SaltRunConfig)
    assert (salt.teacher.optim.lr, salt.student.optim.lr) == (0.25, 0.5)
    assert [stage.optim.lr for stage in stages(arm_config(spec, "pixel", None, Choice()))] == [0.5]
    vjepa = arm_config(spec, "vjepa", None, Choice(momentum=0.9))
    assert isinstance(vjepa, PretrainConfig)
    assert getattr(vjepa.stage.method, "momentum") == 0.9  # noqa: B009
    sized = arm_config(spec, "salt", "S", Choice())
    assert [stage.encoder.architecture.width for stage in stages(sized)] == [384, 384]


def test_an_arm_of_ones_own_has_another_teacher() -> None:
    """So the matrix has an axis of teachers: as many arms as there are teachers."""
    wide = {"width": 192, "depth": 4, "heads": 4, "mlp_width": 768}
    own = {"base": "salt", "settings": {"teacher": {"encoder": wide}}}
    spec = spec_of(arms=["salt", "salt-wide-teacher"], arm={"salt-wide-teacher": own})
    check_arms(spec)
    salt, other = (arm_config(spec, arm, None, Choice()) for arm in spec.arms)
    assert isinstance(salt, SaltRunConfig)
    assert isinstance(other, SaltRunConfig)
    assert other.teacher.encoder.architecture == (192, 4, 4, 768)
    assert (other.student, other.clip) == (salt.student, salt.clip)
    cell = next(
        dataclasses.replace(cell, budget=10 * BUDGET)
        for cell in compare_cells(spec, FOLDS, {})
        if cell.arm == "salt-wide-teacher"
    )
    assert 0.97 * 10 * BUDGET < flops_of(cell_config(spec, cell, "rows.csv")) <= 10 * BUDGET
    runs = [{"name": name} for name in "abc"]
    chosen = dataclasses.replace(
        spec, selection=from_dict(SelectionSpec, {"runs": runs, "arms": ["salt-wide-teacher"]})
    )
    assert len(selection_cells(chosen, FOLDS, {}, [])) == 3


def test_arms_of_ones_own_are_checked() -> None:
    with pytest.raises(ConfigError) as caught:
        spec_of(
            arms=["salt", "wide", "a/b"],
            arm={"wide": {"base": "slat"}, "a/b": {"base": "salt"}, "pixel": {"base": "salt"}},
        )
    told = "\n".join(caught.value.problems)
    assert "arm.wide.base is 'slat'" in told
    assert "arm.a/b: an arm with a base needs a name of its own" in told
    assert "arm.pixel: an arm with a base needs a name of its own" in told


def test_a_size_that_would_change_nothing_is_refused() -> None:
    """The preset's networks are given by numbers, which a size does not take away."""
    spec = spec_of(arm={"salt": {"settings": {"teacher": {"encoder": {"size": "S"}}}}})
    with pytest.raises(
        ConfigError, match=r"arm\.salt\.settings: teacher\.encoder\.size is 'S', which changes"
    ):
        check_arms(spec)
    numbers = {"width": 24, "depth": 1, "heads": 2, "mlp_width": 48}
    spec = spec_of(students=["Ti", "S"], settings={"encoder": numbers})
    with pytest.raises(ConfigError, match=r'students = \["S"\] would change nothing'):
        check_arms(spec)
    # Together with its numbers, or where a preset has none, a size means something.
    check_arms(spec_of(arm={"salt": {"settings": {"encoder": {"size": "S", **numbers}}}}))
    spec = spec_of(preset="tiny-cpu", settings={"student": {"encoder": {"size": "S"}}})
    assert base_config(spec, None).student.encoder.architecture.width == 384


def test_runs_of_a_selection_have_equal_steps() -> None:
    runs = [{"name": name} for name in ("a", "b")]
    runs.append({"name": "long", "settings": {"loop": {"steps": 100_000}}})
    spec = spec_of(selection={"runs": runs, "arms": ["salt"]})
    cell = selection_cells(spec, FOLDS, {}, [])[-1]
    with pytest.raises(ConfigError, match=r"selection\.runs long: student\.loop would make it"):
        cell_config(spec, cell, "rows.csv")


def test_candidates_of_the_sweep_are_checked_before_anything_is_made() -> None:
    with pytest.raises(ConfigError, match=r"sweep\.b\.vjepa\S*: method\.momentum is 2\.0"):
        check_cells(spec_of(sweep={"momentum": [0.99, 2.0]}))


def test_a_share_of_the_flops_goes_to_the_teacher() -> None:
    spec = spec_of(teacher_share=0.75)
    cell = next(
        dataclasses.replace(cell, budget=4e11)
        for cell in compare_cells(spec, FOLDS, {})
        if cell.arm == "salt"
    )
    config = cell_config(spec, cell, "rows.csv")
    assert isinstance(config, SaltRunConfig)
    assert flops_of(config.stage("teacher")) / flops_of(config) == pytest.approx(0.75, abs=0.02)


def test_selection_varies_one_stage_at_equal_steps() -> None:
    runs = [{"name": f"r{lr}", "settings": {"optim": {"lr": 10.0**-lr}}} for lr in (2, 3, 4)]
    teachers = [{"name": "short", "settings": {"loop": {"steps": 3}}}]
    spec = spec_of(selection={"runs": runs, "teachers": teachers, "arms": ["salt", "vjepa"]})
    cells = selection_cells(spec, FOLDS, {}, ["salt"])
    assert [(cell.arm, cell.variant) for cell in cells] == [
        *(("salt", name) for name in ("r2", "r3", "r4", "short")),
        *(("vjepa", name) for name in ("r2", "r3", "r4")),
    ]
    configs = [cell_config(spec, cell, "rows.csv") for cell in cells]
    first, second, short = configs[0], configs[1], configs[3]
    assert isinstance(first, SaltRunConfig)
    assert isinstance(second, SaltRunConfig)
    assert isinstance(short, SaltRunConfig)
    assert first.teacher == second.teacher
    assert first.student.optim.lr == pytest.approx(10 * second.student.optim.lr)
    assert first.student.loop.steps == short.student.loop.steps
    assert short.teacher.loop.steps == 3
    assert short.teacher != first.teacher


def stages(config: Config) -> list[Any]:
    if isinstance(config, PretrainConfig):
        return [config.stage]
    return [getattr(config, name) for name in config.stages]


def test_a_list_of_another_kind_is_told_once() -> None:
    with pytest.raises(ConfigError) as caught:
        spec_of(budgets=2e10, data={"name": "a", "sources": ["b.csv"]})
    assert caught.value.problems == [
        "budgets is 20000000000.0; it must be a list",
        "data is a table; begin it with [[data]]",
    ]


def test_two_columns_cannot_both_divide_a_set() -> None:
    data = [{"name": "a", "sources": ["a.csv"], "folds": "fold", "split_column": "split"}]
    with pytest.raises(ConfigError, match="data a: folds and split_column are both given"):
        spec_of(data=data)
