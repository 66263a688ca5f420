"""What any number of steps of a stage costs; networks are built without memory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from vsalt.compute.types import ClipFlops
from vsalt.config import PretrainConfig, SaltRunConfig, StageConfig
from vsalt.data.config import Shape
from vsalt.data.shapes_by_step import StepShapes
from vsalt.errors import ConfigError
from vsalt.training.build import build_objective, resolve, resolve_salt, with_image_masks
from vsalt.training.plan import VIDEOS, clip_shapes
from vsalt.training.step_flops import flops_until
from vsalt.training.teachers import TeacherShape, network_of

C = TypeVar("C", PretrainConfig, SaltRunConfig)


@dataclass(frozen=True)
class StageCost:
    """The price of a stage, whatever its length.

    Attributes:
        batch_size: clips per step.
        step_shapes: the shape of every step.
        clip_flops: operations of one training clip of each shape, a frozen teacher's included.
    """

    batch_size: int
    step_shapes: StepShapes
    clip_flops: Mapping[Shape, ClipFlops]

    def flops(self, steps: int) -> int:
        """Return the exact operations of the first `steps` steps."""
        return flops_until(steps, self.batch_size, self.step_shapes, self.clip_flops).exact

    def six_nd(self, steps: int) -> float:
        """Return the same by SALT's convention."""
        return flops_until(steps, self.batch_size, self.step_shapes, self.clip_flops).six_nd


def stage_costs(
    config: PretrainConfig | SaltRunConfig,
    step_shapes: StepShapes = VIDEOS,
    teacher: TeacherShape | None = None,
) -> list[StageCost]:
    """Return the price of every stage, in their order.

    Args:
        config: resolved or not; the lengths in it do not matter.
        step_shapes: the shape of every step, as the sources decide it.
        teacher: the frozen teacher of a stage of its own, if its method needs one.

    Raises:
        ConfigError: if settings are wrong, or a teacher is missing.
    """
    if isinstance(config, PretrainConfig):
        return [_stage_cost(resolve_any_length(config, step_shapes), step_shapes, teacher)]
    resolved = resolve_any_length(config, step_shapes)
    costs = []
    before: TeacherShape | None = None
    for name in resolved.stages:
        stage = resolved.stage(name)
        costs.append(_stage_cost(stage, step_shapes, before))
        before = stage.stage.encoder
    return costs


def resolve_any_length(config: C, step_shapes: StepShapes = VIDEOS) -> C:
    """Resolve a configuration of which the length is still to be chosen, and what follows from it.

    Raises:
        ConfigError: if anything else is wrong.
    """
    if isinstance(config, PretrainConfig):
        resolved = resolve(replace(config, stage=_without_lengths(config.stage)))
    else:
        stages: dict[str, Any] = {
            name: _without_lengths(getattr(config, name)) for name in config.stages
        }
        resolved = resolve_salt(replace(config, **stages))
    return with_image_masks(resolved) if "image" in step_shapes.shapes else resolved


def _without_lengths(stage: StageConfig) -> StageConfig:
    return replace(stage, optim=replace(stage.optim, warmup_steps=None, cooldown_steps=0))


def _stage_cost(
    config: PretrainConfig, step_shapes: StepShapes, teacher: TeacherShape | None
) -> StageCost:
    method = config.stage.method
    if method.needs_teacher and teacher is None:
        raise ConfigError(
            [f"what method {method.name} costs depends on its teacher; name the teacher's encoder"]
        )
    with torch.device("meta"):
        frozen = network_of(teacher) if method.needs_teacher else None
        objective = build_objective(config, frozen)
    return StageCost(
        batch_size=config.stage.loop.batch_size,
        step_shapes=step_shapes,
        clip_flops={
            shape: objective.flops(clip_shapes(config, shape)) for shape in step_shapes.shapes
        },
    )
