"""Settings of optimiser and loop: what is refused, and all of it at once."""

from typing import Any

import pytest

from vsalt.errors import ConfigError
from vsalt.training.config import DeviceConfig, LoopConfig, OptimConfig


def test_wrong_optimiser_settings_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        OptimConfig(
            lr=0.0,
            lr_start=-1.0,
            eps=0.0,
            lr_batch_size=0,
            weight_decay=-0.1,
            warmup_steps=-1,
            clip_norm=0.0,
            betas=(0.9, 1.0),
        )
    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 8
    for flag in ("lr", "lr-start", "eps", "lr-batch-size", "weight-decay", "warmup-steps"):
        assert f"optim.{flag} is " in problems
    assert "optim.clip-norm is 0.0; it must be above 0, or None" in problems
    assert "optim.betas are (0.9, 1.0); both must be in [0, 1)" in problems
    assert OptimConfig(clip_norm=None, lr_start=0.0, warmup_steps=0).clip_norm is None


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"optim\.lr is nan"):
        OptimConfig(lr=float("nan"))
    with pytest.raises(ConfigError, match=r"optim\.weight-decay is nan"):
        OptimConfig(weight_decay=float("nan"))


def test_wrong_loop_settings_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        LoopConfig(steps=-1, batch_size=6, micro_batch_size=4, keep_last=0, val_every=0)
    assert caught.value.problems == [
        "loop.keep-last is 0; it must be at least 1",
        "loop.steps is -1; it must be 0 or more",
        "loop.val-every is 0; it must be at least 1",
        "loop.micro-batch-size is 4; it must divide loop.batch-size (6)",
    ]


def test_every_checkpoint_has_a_val_loss() -> None:
    with pytest.raises(ConfigError, match=r"save-every \(100\) must be a multiple of .*\(30\)"):
        LoopConfig(save_every=100, val_every=30)
    assert LoopConfig(save_every=90, val_every=30).resolved().val_every == 30
    assert LoopConfig(save_every=90).resolved().val_every == 90
    assert LoopConfig(batch_size=6).resolved().micro_batch_size == 6
    assert LoopConfig(batch_size=6, micro_batch_size=2).resolved().micro_batch_size == 2


def test_a_stage_stops_within_its_steps() -> None:
    for stop_at, steps in ((0, 5), (6, 5), (1, 0)):
        with pytest.raises(ConfigError, match=rf"stop-at is {stop_at}; .* loop.steps \({steps}\)"):
            LoopConfig(steps=steps, stop_at=stop_at)
    assert LoopConfig(steps=5).end == 5
    assert LoopConfig(steps=0).end == 0
    loop = LoopConfig(steps=200, stop_at=50)
    assert loop.end == 50
    longer = loop.with_steps(1000)
    assert (longer.steps, longer.stop_at) == (1000, 250)
    assert loop.with_steps(1).stop_at == 1
    assert LoopConfig(steps=200).with_steps(7).end == 7
    assert loop.with_steps(0) == LoopConfig(steps=0)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"schedule_stretch": 0.9}, "schedule-stretch is 0.9; it must be at least 1"),
        ({"schedule_stretch": float("inf")}, "schedule-stretch is inf"),
        ({"cooldown_steps": -1}, "cooldown-steps is -1"),
        ({"cooldown_steps": 5}, "half a cosine has none"),
        (
            {"cooldown_steps": 5, "schedule": "constant", "schedule_stretch": 1.25},
            "would end before it has cooled down",
        ),
    ],
)
def test_wrong_schedules_are_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OptimConfig(**given)
    assert len(caught.value.problems) == 1
    assert problem in caught.value.problems[0]


def test_warm_up_and_cool_down_must_fit_into_the_run() -> None:
    config = OptimConfig(schedule="constant", warmup_steps=6, cooldown_steps=5)
    assert config.resolved(11, 32).cooldown_steps == 5
    with pytest.raises(ConfigError, match=r"cooldown-steps is 5, but after warm-up .* 4 steps"):
        config.resolved(10, 32)
    with pytest.raises(ConfigError, match="warmup-steps is 6, but the run has 6 steps"):
        config.resolved(6, 32)
    # A warm-up that is not given takes 8 % all the same.
    usual = OptimConfig(schedule="constant", cooldown_steps=92)
    assert usual.resolved(100, 32).warmup_steps == 8
    with pytest.raises(ConfigError, match=r"cooldown-steps is 92, but after warm-up .* 91 steps"):
        usual.resolved(99, 32)
    # Nothing is scheduled where nothing is trained.
    assert config.resolved(0, 32).warmup_steps == 6
    assert OptimConfig().resolved(0, 32).warmup_steps == 0


def test_threads_must_be_positive() -> None:
    with pytest.raises(ConfigError, match=r"device\.threads is 0"):
        DeviceConfig(threads=0)


@pytest.mark.parametrize(
    ("log_every", "health_every", "expected"),
    [(10, 100, 100), (30, 100, 120), (7, 1, 7), (1, 3, 3)],
)
def test_health_is_measured_at_steps_that_are_logged(
    log_every: int, health_every: int, expected: int
) -> None:
    config = LoopConfig(log_every=log_every, health_every=health_every).resolved()
    assert config.health_every == expected
    assert config.resolved() == config
    with pytest.raises(ConfigError, match=r"loop.health-every is 0; it must be at least 1"):
        LoopConfig(health_every=0)
