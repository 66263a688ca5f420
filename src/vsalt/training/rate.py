"""How many operations per second a device does when it trains, measured before a run begins."""

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.data.shapes_by_step import StepShapes
from vsalt.data.types import Batch
from vsalt.masking.types import MaskBatch
from vsalt.targets.cached import CachedTeacher
from vsalt.training.accumulate import accumulate
from vsalt.training.build import build_objective
from vsalt.training.device import choose_device, choose_precision, set_up
from vsalt.training.distributed import ALONE
from vsalt.training.optim import build_optimiser
from vsalt.training.place import place
from vsalt.training.plan import VIDEOS, clip_shapes
from vsalt.training.stage_cost import resolve_any_length
from vsalt.training.teachers import TeacherShape, network_of

NUM_STEPS = 3
"""Timed steps per stage at least, after one that is not timed."""
MIN_SECONDS = 2.0
"""Time them until so much has passed."""

Clock = Callable[[], float]


def measure_rates(
    config: PretrainConfig | SaltRunConfig,
    step_shapes: StepShapes = VIDEOS,
    teacher: TeacherShape | None = None,
    clock: Clock = time.perf_counter,
) -> list[float]:
    """Return the exact operations per second of every stage on the device at hand.

    A step is one micro-batch of random pixels, forward and backward, and the optimiser's step;
    reading clips, val_loss and checkpoints are not in it. With images beside videos, videos are
    measured. The networks are the real ones, with random weights; they are dropped again.

    Args:
        config: resolved or not; its length does not matter.
        step_shapes: the shape of every step.
        teacher: the frozen teacher of a stage of its own, if its method needs one.
        clock: seconds.
    """
    if isinstance(config, PretrainConfig):
        return [_rate(resolve_any_length(config, step_shapes), step_shapes, teacher, clock)]
    resolved = resolve_any_length(config, step_shapes)
    rates = []
    before: TeacherShape | None = None
    for name in resolved.stages:
        stage = resolved.stage(name)
        rates.append(_rate(stage, step_shapes, before, clock))
        before = stage.stage.encoder
    return rates


def _rate(
    config: PretrainConfig, step_shapes: StepShapes, teacher: TeacherShape | None, clock: Clock
) -> float:
    """Time a stage's steps."""
    device = choose_device(config.device.device)
    set_up(config.device, device)
    precision = choose_precision(config.device, device)
    frozen = network_of(teacher) if config.stage.method.needs_teacher else None
    objective = build_objective(config, frozen)
    place(objective, config.device, "replicate", ALONE, device, num_parts=1)
    optimiser = build_optimiser(objective.param_groups(), config.stage.optim)
    shapes = clip_shapes(config, step_shapes.measured)
    batch = random_batch(config, step_shapes)
    if isinstance(frozen, CachedTeacher):
        batch = replace(batch, latents=frozen.blank(len(batch.rows)))
    num_clips = len(batch.rows)
    started, steps = 0.0, -1
    while steps < NUM_STEPS or clock() - started < MIN_SECONDS:
        optimiser.zero_grad(set_to_none=True)
        accumulate(objective, [batch], num_clips, device, precision)
        optimiser.step()
        objective.after_step(max(0, steps))
        if device == "cuda":
            torch.cuda.synchronize()
        steps += 1
        if steps == 0:
            started = clock()
    return steps * num_clips * objective.flops(shapes).exact / (clock() - started)


def random_batch(config: PretrainConfig, step_shapes: StepShapes = VIDEOS) -> Batch:
    """Return a micro-batch of random pixels under masks with the right numbers of tokens."""
    stage = config.stage
    num_clips = stage.loop.micro_batch_size
    assert num_clips is not None, "resolve the config first"
    shape = step_shapes.measured
    counts = clip_shapes(config, shape)
    frames = config.clip.num_frames if shape == "video" else stage.encoder.tubelet[0]
    generator = torch.Generator().manual_seed(0)
    masks = []
    for num_context, num_targets in counts.masks:
        noise = torch.rand(num_clips, counts.num_tokens, generator=generator)
        ids = noise.argsort(dim=1)
        context = ids[:, :num_context].sort(dim=1).values
        targets = ids[:, num_context : num_context + num_targets].sort(dim=1).values
        masks.append(MaskBatch(context, targets))
    pixels = (num_clips, 3, frames, *config.clip.size)
    return Batch(
        clips=torch.randint(256, pixels, dtype=torch.uint8, generator=generator),
        masks=tuple(masks),
        rows=tuple(range(num_clips)),
    )
