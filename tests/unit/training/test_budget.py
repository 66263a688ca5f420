"""Steps that a budget pays: exact totals, ratios, shares, lengths that follow, what is refused."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.data.shapes_by_step import StepShapes
from vsalt.errors import ConfigError
from vsalt.presets import salt_preset, stage_preset
from vsalt.training.budget import flops_of, with_clips, with_flops, with_hours
from vsalt.training.build import resolve_salt, with_image_masks
from vsalt.training.fit_steps import fit_ratio, fit_shares
from vsalt.training.lengths import with_length
from vsalt.training.plan import plan_salt
from vsalt.training.stage_cost import StageCost, stage_costs

MIXED = StepShapes(Fraction(2, 5))


@pytest.fixture(scope="module")
def demo() -> SaltRunConfig:
    return salt_preset("demo")


@pytest.fixture(scope="module")
def costs(demo: SaltRunConfig) -> list[StageCost]:
    return stage_costs(demo)


def steps_of(config: SaltRunConfig) -> list[int]:
    return [getattr(config, name).loop.steps for name in config.stages]


def test_flops_are_those_of_the_plan() -> None:
    """The plan adds up the same formulas for every step of a resolved run."""
    config = with_image_masks(resolve_salt(salt_preset("tiny-cpu")))
    for shapes in (StepShapes(), MIXED):
        planned = sum(plan.flops.exact for plan in plan_salt(config, shapes))
        assert flops_of(config, step_shapes=shapes) == planned
        assert flops_of(salt_preset("tiny-cpu"), step_shapes=shapes) == planned


@pytest.mark.parametrize("shapes", [StepShapes(), MIXED])
@pytest.mark.parametrize("share", [0.0031, 0.37, 1.0, 2.9])
def test_not_one_more_step_fits(share: float, shapes: StepShapes) -> None:
    config = salt_preset("tiny-cpu")
    budget = share * flops_of(config, step_shapes=shapes)
    found = with_flops(config, budget, step_shapes=shapes)
    assert flops_of(found, step_shapes=shapes) <= budget
    for name in ("teacher", "student"):
        stage = getattr(found, name)
        more = with_length(stage, stage.loop.steps + 1)
        assert flops_of(replace(found, **{name: more}), step_shapes=shapes) > budget
    teacher, student = steps_of(found)
    assert abs(2 * teacher - student) <= 3  # 500 : 1000 of the preset, rounded and filled up


@pytest.mark.parametrize("name", ["demo", "paper-vitl-3stage-40k"])
def test_a_presets_own_budget_gives_the_preset_back(name: str) -> None:
    config = salt_preset(name)
    assert with_flops(config, flops_of(config)) == config


def test_shares_are_shares_of_the_operations(demo: SaltRunConfig, costs: list[StageCost]) -> None:
    budget = 3e12
    found = with_flops(demo, budget, shares=[1, 3])
    first, last = (cost.flops(steps) for cost, steps in zip(costs, steps_of(found), strict=True))
    assert first / budget == pytest.approx(0.25, rel=0.01)
    assert first + last <= budget < first + last + max(cost.flops(1) for cost in costs)
    for wrong in ([1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("inf")]):
        with pytest.raises(ConfigError, match="one per stage"):
            with_flops(demo, budget, shares=wrong)


def test_clips_and_hours(demo: SaltRunConfig, costs: list[StageCost]) -> None:
    assert steps_of(with_clips(demo, 32 * 7)) == [3, 4]
    assert steps_of(with_clips(demo, 32 * 7 + 31)) == [3, 4]
    rates = [2e9, 5e9]
    found = steps_of(with_hours(demo, 0.25, rates))
    seconds = [
        cost.flops(steps) / rate for cost, steps, rate in zip(costs, found, rates, strict=True)
    ]
    assert 900 - 0.5 < sum(seconds) <= 900
    with pytest.raises(ConfigError, match=r"each stage takes 64 clips, more than 63 clips"):
        with_clips(demo, 63)


@pytest.mark.parametrize("flops", [0.0, -1.0, float("nan"), float("inf")])
def test_budgets_that_are_none(demo: SaltRunConfig, flops: float) -> None:
    with pytest.raises(ConfigError, match=r"--budget-flops is .*; it must be above 0, and finite"):
        with_flops(demo, flops)


def test_a_budget_below_one_step_of_each_stage(demo: SaltRunConfig, costs: list[StageCost]) -> None:
    one_each = sum(cost.flops(1) for cost in costs)
    assert steps_of(with_flops(demo, one_each)) == [1, 1]
    with pytest.raises(ConfigError, match="one step of each stage takes"):
        with_flops(demo, one_each - 1)


def test_one_stage(demo: SaltRunConfig, costs: list[StageCost]) -> None:
    pixel, salt = stage_preset("demo", "pixel"), stage_preset("demo", "salt")
    assert flops_of(pixel) == costs[0].flops(1200)
    with pytest.raises(ConfigError, match="depends on its teacher"):
        flops_of(salt)
    teacher = demo.teacher.encoder
    assert flops_of(salt, teacher=teacher) == costs[1].flops(1600)
    found = with_flops(salt, costs[1].flops(77), teacher=teacher, fixed={"loop.save_every"})
    assert isinstance(found, PretrainConfig)
    assert (found.stage.loop.steps, found.stage.loop.save_every) == (77, 266)


def test_lengths_follow() -> None:
    stage = salt_preset("paper-vitl").student  # 160,000 steps
    short = with_length(stage, 1600)
    assert (short.loop.save_every, short.loop.log_every, short.loop.health_every) == (20, 1, 1)
    assert short.optim.warmup_steps == 100
    long = with_length(stage, 480_000)
    assert (long.loop.save_every, long.loop.log_every, long.loop.health_every) == (6000, 20, 100)
    assert long.optim.warmup_steps == 30_000
    pairs = replace(stage, loop=replace(stage.loop, val_every=500))
    pairs = with_length(pairs, 1000)
    assert (pairs.loop.val_every, pairs.loop.save_every) == (3, 12)
    one = with_length(stage, 1)
    assert (one.loop.save_every, one.optim.warmup_steps) == (1, 0)
    fixed = with_length(stage, 1600, {"loop.save_every", "optim.warmup_steps", "loop.log_every"})
    assert (fixed.loop.save_every, fixed.optim.warmup_steps) == (2000, 10_000)
    assert (fixed.loop.log_every, fixed.loop.health_every) == (20, 1)


def test_cool_down_follows_and_fits() -> None:
    """Ends of the schedule keep their share, and never overlap, however short the stage becomes."""
    stage = stage_preset("vjepa2-faithful").stage
    optim = replace(stage.optim, warmup_steps=12_000, cooldown_steps=228_000)
    stage = replace(stage, optim=optim)
    for length in (1, 2, 3, 7, 50, 999, 480_000):
        short = with_length(stage, length)
        assert short.optim.cooldown_steps == pytest.approx(0.95 * length, abs=1)
        usual = with_length(replace(stage, optim=replace(optim, warmup_steps=None)), length)
        for each in (short, usual):
            assert each.optim.resolved(length, 32).cooldown_steps == each.optim.cooldown_steps
    assert with_length(stage, 999, {"optim.cooldown_steps"}).optim.cooldown_steps == 228_000


def test_a_budget_for_a_run_with_a_cool_down() -> None:
    config = stage_preset("tiny-cpu:vjepa")  # 1,500 steps of 16 clips
    optim = replace(config.stage.optim, schedule="constant", schedule_stretch=1.0)
    optim = replace(optim, cooldown_steps=300)
    found = with_flops(
        replace(config, stage=replace(config.stage, optim=optim)), flops_of(config) / 10
    )
    assert (found.stage.loop.steps, found.stage.optim.cooldown_steps) == (150, 30)


def test_a_stage_that_stops_keeps_its_part_of_the_schedule() -> None:
    stage = salt_preset("tiny-cpu:salt-early-teacher").teacher  # 125 of 500 steps
    loop = with_length(stage, 50).loop
    assert (loop.stop_at, loop.steps, loop.end) == (50, 200, 50)
    whole = replace(stage, loop=replace(stage.loop, stop_at=500))
    for length in (50, 5000):  # it stops where it ends, whatever its length is
        assert with_length(whole, length).loop.end == length


def test_a_budget_needs_a_stage_with_steps() -> None:
    config = stage_preset("demo", "pixel")
    untrained = replace(config.stage, loop=replace(config.stage.loop, steps=0))
    with pytest.raises(ConfigError, match=r"no stage has steps.* give each loop\.steps above 0"):
        with_flops(replace(config, stage=untrained), 1e12)


def linear(price: int) -> Callable[[int], int]:
    return lambda steps: price * steps


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=3),
    st.lists(st.integers(1, 9), min_size=3, max_size=3),
    st.integers(1, 2000),
)
def test_against_trying_all_numbers(prices: list[int], ratio: list[int], budget: int) -> None:
    """One by one: the most steps of the last stage with the others in their ratio."""
    lengths = ratio[: len(prices)]
    found = fit_ratio([linear(price) for price in prices], lengths, budget)
    if sum(prices) > budget:
        assert found is None
        return
    assert found is not None

    def follow(number: int) -> list[int]:
        return [max(1, (2 * x * number + lengths[-1]) // (2 * lengths[-1])) for x in lengths]

    def spent(steps: list[int]) -> int:
        return sum(price * number for price, number in zip(prices, steps, strict=True))

    fitting = [number for number in range(1, budget + 1) if spent(follow(number)) <= budget]
    least = follow(max(fitting)) if fitting else [1] * len(prices)
    assert all(ours >= theirs for ours, theirs in zip(found, least, strict=True))
    assert budget - min(prices) < spent(found) <= budget


def test_stages_without_steps_stay_without() -> None:
    assert fit_ratio([linear(5), linear(7)], [0, 3], 50) == [0, 7]
    assert fit_ratio([linear(5), linear(7)], [3, 0], 50) == [10, 0]
    assert fit_ratio([linear(5)], [0], 50) is None
    assert fit_shares([linear(5), linear(7)], [Fraction(0), Fraction(1)], 50) == [0, 7]
