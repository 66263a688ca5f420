"""Schedules against torch's own schedulers and against closed forms at key steps."""

import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from vsalt.training.config import OptimConfig
from vsalt.training.schedule import clips_gradients, learning_rate, weight_decay

VJEPA = json.loads(
    (Path(__file__).parents[2] / "golden" / "vjepa_schedules.json").read_text(encoding="utf-8")
)
"""Of V-JEPA's own classes, whose counter is one ahead of ours: see make_vjepa_schedules.py."""
PAPER = OptimConfig(warmup_steps=10_000).resolved(80_000, 3072)


def test_learning_rates_are_those_of_torchs_schedulers() -> None:
    config = OptimConfig(lr=0.5, lr_start=0.1, lr_final=0.01, warmup_steps=7, lr_scaling="none")
    num_steps = 40
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.lr)
    scheduler = SequentialLR(
        optimiser,
        [
            LinearLR(optimiser, config.lr_start / config.lr, total_iters=7),
            CosineAnnealingLR(optimiser, T_max=num_steps - 7, eta_min=config.lr_final),
        ],
        milestones=[7],
    )
    for step in range(num_steps):
        assert learning_rate(step, num_steps, config) == pytest.approx(
            optimiser.param_groups[0]["lr"], rel=1e-12
        )
        optimiser.step()
        scheduler.step()


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 2e-4),
        (5_000, (2e-4 + 6.25e-4) / 2),
        (10_000, 6.25e-4),
        (45_000, (6.25e-4 + 1e-6) / 2),
        # A third of the way down half a cosine, three quarters are left.
        (10_000 + 70_000 // 3, 1e-6 + (6.25e-4 - 1e-6) * 0.75),
        (79_999, 1e-6),
    ],
)
def test_learning_rates_of_the_paper(step: int, expected: float) -> None:
    assert learning_rate(step, 80_000, PAPER) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.04), (20_000, 0.04 + 0.36 * (1 - math.sqrt(0.5)) / 2), (40_000, 0.22)],
)
def test_weight_decay_rises_along_half_a_cosine(step: int, expected: float) -> None:
    assert weight_decay(step, 80_000, PAPER) == pytest.approx(expected, rel=1e-12)
    assert weight_decay(80_000 - step, 80_000, PAPER) == pytest.approx(0.44 - expected, rel=1e-9)


def test_a_run_that_is_all_warm_up_or_has_none() -> None:
    config = OptimConfig(lr=1.0, lr_start=0.0, lr_final=0.5, warmup_steps=4, lr_scaling="none")
    assert [learning_rate(step, 4, config) for step in range(4)] == [0, 0.25, 0.5, 0.75]
    config = OptimConfig(lr=1.0, lr_start=0.0, lr_final=0.5, warmup_steps=0, lr_scaling="none")
    assert learning_rate(0, 1, config) == 1.0


@pytest.mark.parametrize(("scaling", "factor"), [("sqrt", 0.25), ("linear", 0.0625), ("none", 1.0)])
def test_learning_rates_scale_with_the_batch(scaling: str, factor: float) -> None:
    config = OptimConfig(lr_scaling=scaling).resolved(1000, 192)  # 192 is 3072 / 16
    assert config.lr == pytest.approx(6.25e-4 * factor)
    assert config.lr_start == pytest.approx(2e-4 * factor)
    assert config.lr_final == pytest.approx(1e-6 * factor)
    assert config.weight_decay == 0.04
    assert config.warmup_steps == 80
    assert config.resolved(1000, 192) == config


def test_warm_up_is_a_share_of_the_run_unless_given() -> None:
    assert OptimConfig().resolved(240, 3072).warmup_steps == 19  # 8 % of 240 is 19.2
    assert OptimConfig(warmup_steps=5).resolved(240, 3072).warmup_steps == 5


def jepa(**given: object) -> OptimConfig:
    """The settings of make_vjepa_schedules.py."""
    return OptimConfig(warmup_steps=6, **given).resolved(40, 3072)


@pytest.mark.parametrize("stretch", [1.0, 1.25])
def test_stretched_schedules_are_vjepas(stretch: float) -> None:
    config, theirs = jepa(schedule_stretch=stretch), VJEPA[f"stretch {stretch}"]
    rates = [learning_rate(step, 40, config) for step in range(1, 41)]
    assert rates == pytest.approx(theirs["lr"], rel=1e-12)
    decays = [weight_decay(step, 40, config) for step in range(1, 41)]
    assert decays == pytest.approx(theirs["weight_decay"], rel=1e-12)


@pytest.mark.parametrize("cooldown", [0, 10])
def test_constant_schedules_are_vjepa_2s(cooldown: int) -> None:
    config = jepa(schedule="constant", cooldown_steps=cooldown)
    rates = [learning_rate(step, 40, config) for step in range(1, 41)]
    assert rates == pytest.approx(VJEPA[f"cooldown {cooldown}"]["lr"], rel=1e-12)


def test_a_constant_rate_in_words() -> None:
    """Up in 6 steps, level, down over the last 10: the step after the last would have lr_final."""
    config = jepa(schedule="constant", cooldown_steps=10)
    rates = [learning_rate(step, 40, config) for step in range(41)]
    assert rates[0] == 2e-4
    assert rates[6:31] == [6.25e-4] * 25
    falls = {round(one - two, 12) for one, two in itertools.pairwise(rates[30:])}
    assert falls == {round((6.25e-4 - 1e-6) / 10, 12)}
    assert rates[40] == pytest.approx(1e-6)
    assert learning_rate(39, 40, jepa(schedule="constant")) == 6.25e-4


def test_a_stretch_changes_nothing_but_the_length() -> None:
    """A run of 40 steps, stretched by 1.25, does the first 40 of 50."""
    stretched = jepa(schedule_stretch=1.25)
    for step in range(40):
        assert learning_rate(step, 40, stretched) == learning_rate(step, 50, jepa())
        assert weight_decay(step, 40, stretched) == weight_decay(step, 50, jepa())


def test_clipping_may_wait_for_the_end_of_warm_up() -> None:
    waits, never = jepa(clip_after_warmup=True), jepa(clip_norm=None, clip_after_warmup=True)
    assert [clips_gradients(step, waits) for step in (0, 5, 6, 39)] == [False, False, True, True]
    assert clips_gradients(0, jepa())
    assert not clips_gradients(39, never)
