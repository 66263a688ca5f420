"""What a run will cost, computed before it starts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from vsalt.compute import paper
from vsalt.compute.types import PAPER_CONTEXT_SHARE, ClipFlops, ClipShapes
from vsalt.config import PretrainConfig, SaltRunConfig, clip_grid
from vsalt.data.config import Shape
from vsalt.data.shapes_by_step import StepShapes
from vsalt.masking.config import MaskConfig, MultiblockConfig
from vsalt.masking.sampler import build_mask_sampler
from vsalt.models.config import ENCODERS, Architecture
from vsalt.objectives.config import SaltConfig
from vsalt.objectives.masked_prediction import count_params
from vsalt.targets.cached import CachedTeacher
from vsalt.targets.outside import OutsideTeacher
from vsalt.training.build import build_objective
from vsalt.training.checkpoint import OPTIMISER_WORDS
from vsalt.training.device import choose_device, choose_precision
from vsalt.training.step_flops import flops_until
from vsalt.training.teachers import TeacherShape, network_of

BYTES_PER_WEIGHT = 4
BYTES_PER_VALUE = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class StagePlan:
    """The cost of one stage.

    Attributes:
        title: what the stage trains.
        steps: optimiser steps.
        image_steps: those of them whose clips are images.
        clips: training clips over the whole stage.
        masks: settings of its masks.
        shapes: for videos and images, whichever there are, tokens of a clip, and how many of them
            each kind of mask shows and asks for.
        flops: operations over the whole stage.
        published_flops: the same as SALT's tables count them, if the clip and all networks are
            theirs.
        encoder_params: parameters of the encoder that is kept.
        other_params: parameters of the predictor.
        frozen_params: parameters of the encoder that gives the targets and is not trained.
        averaged_params: those of them that follow the trained encoder, as a moving average.
        precision: of the activations, "fp32" or "bf16".
        memory_bytes: estimate of weights, gradients, optimiser state and activations; the program
            itself takes about 0.4 GB more.
        disk_bytes: all checkpoints that lie on disk at one time.
    """

    title: str
    steps: int
    image_steps: int
    clips: int
    masks: MaskConfig
    shapes: Mapping[Shape, ClipShapes]
    flops: ClipFlops
    published_flops: float | None
    encoder_params: int
    other_params: int
    frozen_params: int
    averaged_params: int
    precision: str
    memory_bytes: int
    disk_bytes: int


VIDEOS = StepShapes()


def plan_salt(config: SaltRunConfig, step_shapes: StepShapes = VIDEOS) -> list[StagePlan]:
    """Compute the cost of every stage of a resolved run, in their order."""
    plans: list[StagePlan] = []
    teacher: TeacherShape | None = None
    for name in config.stages:
        stage = config.stage(name)
        plans.append(plan_stage(stage, teacher, name, step_shapes))
        teacher = stage.stage.encoder
    return plans


def plan_stage(
    config: PretrainConfig,
    teacher: TeacherShape | None,
    title: str,
    step_shapes: StepShapes = VIDEOS,
) -> StagePlan:
    """Compute the cost of a resolved stage; networks are built without memory.

    Args:
        config: resolved configuration.
        teacher: what the frozen teacher's cost follows from, if the method has one.
        title: name of the stage.
        step_shapes: the shape of every step.
    """
    stage, loop = config.stage, config.stage.loop
    with torch.device("meta"):
        objective = build_objective(config, network_of(teacher))
    shapes = {shape: clip_shapes(config, shape) for shape in step_shapes.shapes}
    clip_flops = {shape: objective.flops(counts) for shape, counts in shapes.items()}
    encoder_params = count_params(objective.encoder)
    trained = count_params(objective.trainable)
    held = count_params(objective.target) if objective.target is not None else 0
    carried = sum(tensor.numel() for tensor in objective.carried_state().values())
    checkpoint = BYTES_PER_WEIGHT * (trained * (1 + OPTIMISER_WORDS) + carried)
    weights = BYTES_PER_WEIGHT * (trained * (2 + OPTIMISER_WORDS) + held)
    assert loop.micro_batch_size is not None
    precision = choose_precision(config.device, choose_device(config.device.device))
    activations = BYTES_PER_VALUE[precision] * loop.micro_batch_size
    activations *= max(
        _activations(counts, stage.encoder.architecture, stage.predictor.architecture)
        for counts in shapes.values()
    )
    kept = held - carried
    if isinstance(teacher, OutsideTeacher | CachedTeacher):
        kept = teacher.num_params
    # One more for the checkpoint being written and one for the best.
    on_disk = min(loop.keep_last + 2, math.ceil(loop.end / loop.save_every) + 1)
    return StagePlan(
        title=title,
        steps=loop.end,
        image_steps=step_shapes.before(loop.end, "image"),
        clips=loop.end * loop.batch_size,
        masks=stage.masks,
        shapes=shapes,
        flops=flops_until(loop.end, loop.batch_size, step_shapes, clip_flops),
        published_flops=_published_flops(config, teacher, shapes),
        encoder_params=encoder_params,
        other_params=trained - encoder_params,
        frozen_params=held,
        averaged_params=min(held, carried),
        precision=precision,
        memory_bytes=weights + activations,
        disk_bytes=checkpoint * on_disk + BYTES_PER_WEIGHT * kept,
    )


def clip_shapes(config: PretrainConfig, shape: Shape = "video") -> ClipShapes:
    """Return the token counts of a resolved configuration for clips of a shape."""
    grid = clip_grid(config.clip, config.stage, shape)
    given = config.stage.masks_of(shape)
    masks = build_mask_sampler(given, grid, config.seed)
    share = PAPER_CONTEXT_SHARE if given.name == "multiblock" else 1 - given.ratio
    return ClipShapes(
        grid=grid, masks=masks.counts, context_share=share, target_share=given.target_share
    )


def _published_flops(
    config: PretrainConfig,
    teacher: TeacherShape | None,
    shapes: Mapping[Shape, ClipShapes],
) -> float | None:
    """Return a stage's operations as SALT's tables count them, or None if it is none of theirs."""
    stage = config.stage
    if "image" in shapes or isinstance(teacher, OutsideTeacher | CachedTeacher):
        return None
    encoders = [stage.encoder, teacher] if teacher else [stage.encoder]
    video = shapes["video"]
    is_published = (
        stage.method.name in ("pixel", "salt")
        and not (isinstance(stage.method, SaltConfig) and stage.method.teacher_layer != -1)
        and (video.grid, len(video.masks)) == (paper.CLIP_GRID, paper.NUM_MASKS)
        and math.isclose(video.context_share, PAPER_CONTEXT_SHARE)
        and video.target_share == 1
        and stage.predictor.architecture == paper.PREDICTOR_SHAPE
        and all(
            encoder.size in paper.ENCODER_PARAMS and encoder.architecture == ENCODERS[encoder.size]
            for encoder in encoders
        )
    )
    if not is_published:
        return None
    clips = stage.loop.end * stage.loop.batch_size
    if teacher is None:
        return paper.teacher_stage_flops(stage.encoder.size, clips)
    return paper.student_stage_flops(stage.encoder.size, teacher.size, clips)


def _activations(shapes: ClipShapes, encoder: Architecture, predictor: Architecture) -> int:
    """Values that a clip's blocks keep for the backward pass: per token about 13 d + 2 m."""
    values = 0
    for num_context, num_targets in shapes.masks:
        for tokens, part in ((num_context, encoder), (num_context + num_targets, predictor)):
            values += tokens * part.depth * (13 * part.width + 2 * part.mlp_width)
    return values


def print_plans(
    plans: list[StagePlan],
    console: Console,
    *,
    preset: str | None = None,
    flops_per_second: Sequence[float] = (),
) -> None:
    """Print a table with one column per stage, and one for their sum if there are several.

    Args:
        plans: of all stages.
        console: where to.
        preset: name of the preset that the settings began with.
        flops_per_second: exact operations per second of every stage; empty if unknown.
    """
    title = "what this run will do" + (f" (preset {preset})" if preset else "")
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for plan in plans:
        table.add_column(plan.title, justify="right")
    if len(plans) > 1:
        table.add_column("both" if len(plans) == 2 else "all", justify="right", style="bold")
    numbers = _numbers(plans)
    if flops_per_second:
        numbers["hours, at that rate"] = [
            plan.flops.exact / rate / 3600
            for plan, rate in zip(plans, flops_per_second, strict=True)
        ]
    for name in ("steps", "steps of images", "clips"):
        if name in numbers:
            _add_numbers(table, name, numbers.pop(name))
    for name, words in _mask_words(plans).items():
        table.add_row(name, *words)
    for name, values in numbers.items():
        _add_numbers(table, name, values)
    console.print(table)


def _numbers(plans: list[StagePlan]) -> dict[str, Sequence[int | float]]:
    """Return the rows of the table that are numbers, by name."""
    published = [plan.published_flops for plan in plans if plan.published_flops is not None]
    # All stages of a run have one precision.
    precision = plans[0].precision
    images = [plan.image_steps for plan in plans]
    return {
        "steps": [plan.steps for plan in plans],
        **({"steps of images": images} if "image" in plans[0].shapes else {}),
        "clips": [plan.clips for plan in plans],
        "FLOPs, exact": [plan.flops.exact for plan in plans],
        "FLOPs, 6ND": [plan.flops.six_nd for plan in plans],
        **({"FLOPs, as published": published} if len(published) == len(plans) else {}),
        "parameters, encoder": [plan.encoder_params for plan in plans],
        "parameters, predictor": [plan.other_params for plan in plans],
        **_target_params(plans),
        f"memory, about ({precision})": [plan.memory_bytes for plan in plans],
        "disk": [plan.disk_bytes for plan in plans],
    }


def _target_params(plans: Sequence[StagePlan]) -> dict[str, Sequence[int]]:
    """Return the rows of what gives the targets: what never changes, and what follows training."""
    frozen = [plan.frozen_params - plan.averaged_params for plan in plans]
    averaged = [plan.averaged_params for plan in plans]
    rows: dict[str, Sequence[int]] = {}
    if any(frozen) or not any(averaged):
        rows["parameters, frozen"] = frozen
    if any(averaged):
        rows["parameters, moving average"] = averaged
    return rows


def _mask_words(plans: list[StagePlan]) -> dict[str, list[str]]:
    """Return the rows that say what is hidden; short words, so that 80 columns are enough."""
    families: list[str] = []
    policies: list[str] = []
    for plan in plans:
        given = plan.masks
        if isinstance(given, MultiblockConfig):
            times = given.num_pairs
            policies.append(given.policy)
        else:
            times = given.num_masks
            policies.append("-")
        families.append(given.name + (f" x {times}" if times > 1 else ""))
    words = {"masks": families}
    if set(policies) != {"-"}:
        words["masks, policy"] = policies
    # All stages of a run have the same sources, and so the same shapes.
    for shape in plans[0].shapes:
        words |= _token_words([plan.shapes[shape] for plan in plans], shape)
    return words


def _token_words(stages: Sequence[ClipShapes], shape: Shape) -> dict[str, list[str]]:
    """Return the rows that say how many tokens clips of a shape have."""
    of, suffix = ("a clip", "") if shape == "video" else ("an image", ", image")
    counts = [tuple(zip(*stage.masks, strict=True)) for stage in stages]
    return {
        f"tokens of {of}": [f"{stage.num_tokens:,}" for stage in stages],
        f"tokens seen{suffix}": [_join_counts(context) for context, _ in counts],
        f"tokens predicted{suffix}": [_join_counts(targets) for _, targets in counts],
    }


def _join_counts(counts: Sequence[int]) -> str:
    """Write the tokens of every mask as 39 + 27, or as 2 x 16 where all are alike."""
    if len(counts) > 1 and len(set(counts)) == 1:
        return f"{len(counts)} x {counts[0]}"
    return " + ".join(str(count) for count in counts)


def _add_numbers(table: Table, name: str, values: Sequence[int | float]) -> None:
    adds_up = len(values) > 1 and not name.startswith(("parameters", "memory"))
    total = [sum(values)] if adds_up else []
    table.add_row(name, *(_format(name, value) for value in [*values, *total]))


def _format(name: str, value: int | float) -> str:
    if name.startswith("FLOPs"):
        return f"{value:.2e}"
    if name.startswith("hours"):
        return f"{value:,.2f}" if value >= 0.1 else f"{value:.2g}"
    if name.startswith("parameters"):
        return f"{value / 1e6:.2f} M" if value else "-"
    if name.startswith("memory"):
        return f"{value / 1e9:.1f} GB" if value >= 1e8 else f"{value / 1e6:.0f} MB"
    return f"{value / 1e6:,.0f} MB" if name == "disk" else f"{value:,}"
