"""Schedules against torch's own schedulers and against closed forms at key steps."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from vsalt.training.config import OptimConfig
from vsalt.training.schedule import learning_rate, weight_decay

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
