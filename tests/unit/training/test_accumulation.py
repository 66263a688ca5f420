"""Gradients do not depend on how a step is cut into micro-batches."""

from collections.abc import Callable

import pytest
import torch

from support.tiny import cut, make_batch
from support.trainers import make_pixel, make_salt
from vsalt.data.types import Batch
from vsalt.objectives.masked_prediction import MaskedPrediction
from vsalt.training.accumulate import accumulate
from vsalt.training.validation import validate

TOLERANCE = 1e-6
Make = Callable[[], MaskedPrediction]


def gradients(objective: MaskedPrediction) -> dict[str, torch.Tensor]:
    return {name: param.grad.double() for name, param in objective.trainable.named_parameters()}


def accumulated(make: Make, batches: list[Batch]) -> tuple[dict, dict]:
    objective = make()
    num_clips = sum(len(batch.clips) for batch in batches)
    values = accumulate(objective, batches, num_clips, "cpu", "fp32")
    return gradients(objective), {name: value.item() for name, value in values.items()}


def one_by_one(make: Make, batches: list[Batch]) -> tuple[dict, float]:
    """The mean over clips of the loss and the gradient of each clip alone, added in float64."""
    clips = [cut(batch, i, i + 1) for batch in batches for i in range(len(batch.clips))]
    total, loss = None, 0.0
    for clip in clips:
        objective = make()
        output = objective.loss(clip)
        output.loss_sum.backward()
        grads = gradients(objective)
        total = grads if total is None else {name: total[name] + grads[name] for name in total}
        loss += output.loss_sum.item()
    assert total is not None
    return {name: grad / len(clips) for name, grad in total.items()}, loss / len(clips)


def assert_same(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Each parameter's gradient within 1e-6 of its norm."""
    assert ours.keys() == expected.keys()
    for name, grad in expected.items():
        assert grad.norm() > 0, name
        assert (ours[name] - grad).norm() <= TOLERANCE * grad.norm(), name


@pytest.mark.parametrize("make", [make_pixel, make_salt])
@pytest.mark.parametrize("micro", [4, 2, 1])
def test_one_two_and_four_micro_batches_give_one_gradient(make: Make, micro: int) -> None:
    batch = make_batch(4)
    parts = [cut(batch, i, i + micro) for i in range(0, 4, micro)]
    ours, values = accumulated(make, parts)
    expected, loss = one_by_one(make, [batch])
    assert_same(ours, expected)
    assert values["loss"] == pytest.approx(loss, rel=1e-6)
    assert values["loss"] == pytest.approx((values["loss_short"] + values["loss_long"]) / 2)


@pytest.mark.parametrize("make", [make_pixel, make_salt])
def test_micro_batches_of_unequal_clips_and_targets(make: Make) -> None:
    """A mean over all targets would weigh the clips of the second micro-batch more."""
    batches = [
        make_batch(1, ((5, 1), (9, 2)), seed=1),
        make_batch(2, ((3, 9), (2, 8)), seed=2),
        make_batch(1, ((4, 8), (6, 1)), seed=3),
    ]
    ours, values = accumulated(make, batches)
    expected, loss = one_by_one(make, batches)
    assert_same(ours, expected)
    assert values["loss"] == pytest.approx(loss, rel=1e-6)

    wrong = make()
    for batch in batches:
        (wrong.loss(batch).loss_sum / len(batch.clips) / len(batches)).backward()
    off = [(gradients(wrong)[name] - grad).norm() / grad.norm() for name, grad in expected.items()]
    assert min(off) > 1e-3


def test_validation_is_the_mean_over_clips() -> None:
    objective = make_pixel()
    batches = [make_batch(3, seed=1), make_batch(1, ((2, 5), (6, 6)), seed=2)]
    _, expected = one_by_one(make_pixel, batches)
    found = validate(objective, {"video": batches}, "cpu", "fp32")
    assert found["val_loss"] == pytest.approx(expected, rel=1e-6)
    assert all(param.grad is None for param in objective.trainable.parameters())


def test_bf16_losses_are_those_of_fp32_but_for_rounding() -> None:
    batch = make_batch(4)
    exact, plain = accumulated(make_salt, [batch])
    objective = make_salt()
    values = accumulate(objective, [batch], 4, "cpu", "bf16")
    assert values["loss"].dtype == torch.float32
    assert values["loss"].item() == pytest.approx(plain["loss"], rel=0.02)
    assert values["loss"].item() != plain["loss"]
    for param in objective.trainable.parameters():
        assert param.dtype == param.grad.dtype == torch.float32
    assert exact.keys() == gradients(objective).keys()
