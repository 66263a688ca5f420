"""A training step of both methods under every family of masks, and its operations."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from support.tiny import PREDICTOR, TUBELET, make_clips, make_encoder
from vsalt.compute.types import ClipShapes
from vsalt.data.dataset import HOLDOUT_STEP, stack_masks
from vsalt.data.types import Batch
from vsalt.errors import ConfigError
from vsalt.masking.config import (
    BlocksConfig,
    CausalConfig,
    MaskConfig,
    MultiblockConfig,
    RandomConfig,
    TubeConfig,
)
from vsalt.masking.sampler import MaskSampler, build_mask_sampler, resolve_masks
from vsalt.models.config import grid_of
from vsalt.objectives.config import PixelConfig, SaltConfig
from vsalt.objectives.pixel import PixelObjective
from vsalt.objectives.salt import SaltObjective

NUM_CLIPS, NUM_FRAMES, SIZE = 3, 8, (32, 40)
GRID = grid_of(NUM_FRAMES, SIZE, TUBELET)
SHORT = {"num_blocks": 2, "spatial_scale": 0.2}
LONG = {"num_blocks": 1, "spatial_scale": 0.5}
FAMILIES = {
    "budget": MultiblockConfig(
        short=BlocksConfig(**SHORT, num_context=40, num_targets=16),
        long=BlocksConfig(**LONG, num_context=30, num_targets=30),
    ),
    "batch_min": MultiblockConfig(
        policy="batch_min",
        group_size=NUM_CLIPS,
        short=BlocksConfig(**SHORT),
        long=BlocksConfig(**LONG, max_temporal_keep=0.75),
    ),
    "tube": TubeConfig(ratio=0.8),
    "tube x2": TubeConfig(num_masks=2),
    "random": RandomConfig(ratio=0.75),
    "causal x2": CausalConfig(ratio=0.6, num_masks=2),
}


@pytest.fixture
def counter() -> Iterator[FlopCounterMode]:
    """Counts every matrix product; the math path of attention is products and nothing else."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as mode:
        yield mode


def make_batch(draw: MaskSampler, step: int, first: int, num_clips: int = NUM_CLIPS) -> Batch:
    """A micro-batch as the loader makes it."""
    clips = make_clips(num_clips, NUM_FRAMES, SIZE)
    masks = stack_masks([draw(step, first + index, clip) for index, clip in enumerate(clips)])
    return Batch(clips=clips, masks=masks, rows=tuple(range(num_clips)))


def make_objective(method: str, names: tuple[str, ...]) -> PixelObjective | SaltObjective:
    if method == "pixel":
        return PixelObjective(PixelConfig(), make_encoder(), PREDICTOR, names)
    return SaltObjective(SaltConfig(), make_encoder(), make_encoder(9), PREDICTOR, names)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["pixel", "salt"])
def test_a_step_costs_what_the_counts_say(
    method: str, family: str, counter: FlopCounterMode
) -> None:
    """Under batch_min the counts are expected values, so its batch is counted as it is."""
    config: MaskConfig = resolve_masks(FAMILIES[family], GRID)
    draw = build_mask_sampler(config, GRID, 0)
    batch = make_batch(draw, step=2, first=NUM_CLIPS)
    counts = draw.counts
    if family == "batch_min":
        counts = tuple((mask.context.shape[1], mask.targets.shape[1]) for mask in batch.masks)
    objective = make_objective(method, config.kind_names)
    output = objective.loss(batch)
    output.loss_sum.backward()
    shapes = ClipShapes(grid=GRID, masks=counts)
    assert counter.get_total_flops() == NUM_CLIPS * objective.flops(shapes).exact
    assert list(output.metrics) == [f"loss_{name}" for name in config.kind_names]
    mean = sum(output.metrics.values()) / len(output.metrics)
    torch.testing.assert_close(output.loss_sum.detach(), mean)
    assert all(param.grad is not None for param in objective.encoder.parameters())


def test_held_out_batches_of_groups_may_end_with_a_part_of_one() -> None:
    config = FAMILIES["batch_min"]
    draw = build_mask_sampler(config, GRID, 0)
    whole = make_batch(draw, HOLDOUT_STEP, first=NUM_CLIPS)
    part = make_batch(draw, HOLDOUT_STEP, first=NUM_CLIPS, num_clips=2)
    for one, two in zip(whole.masks, part.masks, strict=True):
        assert torch.equal(one.context[:2], two.context)
        assert torch.equal(one.targets[:2], two.targets)
    assert torch.isfinite(make_objective("pixel", config.kind_names).loss(part).loss_sum)


def test_two_groups_do_not_fit_one_micro_batch() -> None:
    """The reason why a micro-batch is one group."""
    draw = build_mask_sampler(FAMILIES["batch_min"], GRID, 0)
    step = next(
        step
        for step in range(8)
        if len(draw(step, 0)[0].context) != len(draw(step, NUM_CLIPS)[0].context)
    )
    with pytest.raises(ValueError, match="same shape"):
        make_batch(draw, step, first=0, num_clips=2 * NUM_CLIPS)


def test_a_family_that_the_grid_does_not_allow_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"masks\.ratio is 0\.97, which leaves no context of 20"):
        resolve_masks(TubeConfig(ratio=0.97), GRID)
    assert math.prod(GRID[1:]) == 20
