"""Work of the parts: operations against torch's counter, bytes against tensors that are there."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from support.tiny import make_batch
from support.trainers import make_pixel, make_salt, make_vjepa
from vsalt.bench.floors import Work, networks, part_flops, part_work
from vsalt.compute.types import ClipShapes
from vsalt.objectives.masked_prediction import MaskedPrediction
from vsalt.training.config import OptimConfig

SHAPES = ClipShapes(grid=(2, 2, 3), masks=((5, 4), (3, 7)))
CLIPS = 3
OPTIM = OptimConfig()
MAKERS = pytest.mark.parametrize("make", [make_pixel, make_salt, make_vjepa])


def counted(work: Callable[[], Any]) -> int:
    """Operations of matrix products, by torch; the math path of attention is products only."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@MAKERS
def test_operations_are_those_that_torch_counts(make: Callable[[], MaskedPrediction]) -> None:
    objective = make()
    encoder, predictor = networks(objective)
    batch = make_batch(CLIPS)
    target: Any = objective.target

    def forward(part: str) -> None:
        for mask in batch.masks:
            context = encoder(batch.clips, mask.context)
            if part == "predictor":
                predictor(context, mask.context, mask.targets, SHAPES.grid)

    found = part_flops(objective, SHAPES)
    seen = counted(lambda: forward("encoder"))
    guessed = counted(lambda: forward("predictor")) - seen
    teacher = counted(lambda: target.open(batch.clips)(batch.masks[0].targets))
    all_of_it = counted(lambda: objective.loss(batch).loss_sum.backward())
    assert found["encoder"] * CLIPS == seen
    assert found["predictor"] * CLIPS == guessed
    assert found["target"] * CLIPS == teacher
    assert found["backward"] * CLIPS == all_of_it - seen - guessed - teacher
    assert sum(found.values()) == objective.flops(SHAPES).exact


@MAKERS
def test_bytes_are_those_of_the_tensors(make: Callable[[], MaskedPrediction]) -> None:
    objective = make()
    work = part_work(objective, SHAPES, CLIPS, OPTIM)
    encoder, predictor = networks(objective)

    def size(*tensors: torch.Tensor) -> int:
        return sum(tensor.numel() * 4 for tensor in tensors)

    output = objective.loss(make_batch(CLIPS))
    (output.loss_sum / CLIPS).backward()
    frozen = size(*objective.target.parameters()) if objective.target else 0
    guesses = size(*output.predictions.values())
    assert work["target"].num_bytes == frozen + size(*output.targets.values())
    assert work["encoder"].num_bytes == size(*encoder.parameters(), *output.context.values())
    assert work["predictor"].num_bytes == size(*predictor.parameters()) + guesses
    weights = [*objective.trainable.parameters()]
    grads = [weight.grad for weight in weights if weight.grad is not None]
    assert work["backward"].num_bytes == size(*weights, *grads)
    # AdamW reads weights, gradients and two moments, writes all but the gradients; the norms read
    # the gradients, clipping reads and writes them.
    average = 3 * size(*encoder.parameters()) if make is make_vjepa else 0
    assert work["optimiser"].num_bytes == 10 * size(*grads) + average
    unclipped = part_work(objective, SHAPES, CLIPS, replace(OPTIM, clip_norm=None))
    assert unclipped["optimiser"].num_bytes == 8 * size(*grads) + average
    assert work["optimiser"].flops == 0
    assert {*work} == {"target", "encoder", "predictor", "backward", "optimiser"}


def test_a_floor_is_the_slower_of_counting_and_moving() -> None:
    assert Work(100, 8).floor_s(50.0, 4.0) == 2
    assert Work(100, 12).floor_s(50.0, 4.0) == 3
