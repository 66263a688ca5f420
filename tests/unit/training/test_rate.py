"""Rates by a clock that the test turns, and batches that the networks take."""

from collections.abc import Iterator
from itertools import count

import pytest

from vsalt.presets import salt_preset, stage_preset
from vsalt.training import rate
from vsalt.training.build import resolve
from vsalt.training.plan import clip_shapes
from vsalt.training.rate import measure_rates, random_batch
from vsalt.training.stage_cost import stage_costs


def test_operations_of_the_timed_steps_by_their_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves by a second whenever it is read, once after every step."""
    monkeypatch.setattr(rate, "MIN_SECONDS", 0.0)
    ticks: Iterator[int] = count()
    rates = measure_rates(salt_preset("demo"), clock=lambda: float(next(ticks)))
    per_step = [cost.flops(1) for cost in stage_costs(salt_preset("demo"))]
    # The clock is read before the timed steps, once for MIN_SECONDS, and at the end.
    assert rates == [rate.NUM_STEPS * flops / 2 for flops in per_step]


def test_a_random_batch_has_the_masks_and_pixels_of_the_run() -> None:
    config = resolve(stage_preset("tiny-cpu", "pixel"))
    batch = random_batch(config)
    assert batch.clips.shape == (16, 3, 16, 64, 64)
    counts = [(mask.context.shape[1], mask.targets.shape[1]) for mask in batch.masks]
    assert tuple(counts) == clip_shapes(config).masks
    for mask in batch.masks:
        for context, targets in zip(mask.context.tolist(), mask.targets.tolist(), strict=True):
            assert len({*context, *targets}) == len(context) + len(targets)
            assert max(*context, *targets) < 128
            assert context == sorted(context)
            assert targets == sorted(targets)
