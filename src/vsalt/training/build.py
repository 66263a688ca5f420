"""From a resolved configuration to the networks of its method."""

from dataclasses import replace
from typing import Any, TypeVar

import torch

from vsalt.config import (
    PretrainConfig,
    SaltRunConfig,
    StageConfig,
    clip_grid,
    group_problems,
    repeat_problems,
    resolve_stage,
)
from vsalt.errors import ConfigError, collect_problems, report_problems
from vsalt.masking.config import MaskConfig, MultiblockConfig
from vsalt.masking.sampler import resolve_masks
from vsalt.models.vit import Encoder
from vsalt.objectives.config import METHODS, PixelConfig, SaltConfig, VjepaConfig
from vsalt.objectives.pixel import PixelObjective
from vsalt.objectives.protocol import Objective
from vsalt.objectives.salt import SaltObjective
from vsalt.objectives.vjepa import VjepaObjective
from vsalt.randomness import keyed_int
from vsalt.targets.cached import CachedTeacher
from vsalt.targets.outside import OutsideTeacher

C = TypeVar("C", PretrainConfig, SaltRunConfig)


def build_objective(
    config: PretrainConfig, teacher: Encoder | OutsideTeacher | CachedTeacher | None
) -> Objective:
    """Build the method of a resolved configuration, with initial weights keyed by a seed.

    Args:
        config: resolved configuration of the stage.
        teacher: the frozen teacher, for methods that need one, or what is left of it when its
            latents are cached.

    Raises:
        ConfigError: if the method needs a teacher and there is none.
    """
    stage = config.stage
    names = stage.masks.kind_names
    method = stage.method
    with torch.random.fork_rng(devices=[]):
        seed = config.seed if config.init_seed is None else config.init_seed
        torch.manual_seed(keyed_int("init", seed, method.name))
        encoder = Encoder(stage.encoder)
        if isinstance(method, PixelConfig):
            return PixelObjective(method, encoder, stage.predictor, names)
        if isinstance(method, VjepaConfig):
            num_steps = stage.optim.schedule_stretch * stage.loop.steps
            return VjepaObjective(method, encoder, stage.predictor, names, num_steps)
        if isinstance(method, SaltConfig):
            if teacher is None:
                raise ConfigError(
                    ["method salt needs a frozen teacher; give --teacher RUN, or use `vsalt salt`"]
                )
            return SaltObjective(method, encoder, teacher, stage.predictor, names)
    raise AssertionError(f"method {method.name} is not built here")


def resolve(config: PretrainConfig) -> PretrainConfig:
    """Return a stage's configuration with every number written out.

    Raises:
        ConfigError: if masks cannot reach their budgets, or parts do not fit.
    """
    method = config.stage.method.name
    if method not in METHODS:
        problem = f"method is {method}, which trains nothing; there are {', '.join(METHODS)}"
        raise ConfigError([problem])
    return replace(config, stage=_resolve(config, config.stage, "masks"))


def resolve_salt(config: SaltRunConfig) -> SaltRunConfig:
    """Return a run's configuration with every number of all stages written out."""
    with collect_problems():
        stages: dict[str, Any] = {}
        for name in config.stages:
            try:
                stages[name] = _resolve(config, getattr(config, name), f"{name}.masks")
            except ConfigError as error:
                report_problems(error.problems)
                stages[name] = getattr(config, name)
    return replace(config, **stages)


def _resolve(config: PretrainConfig | SaltRunConfig, stage: StageConfig, flag: str) -> StageConfig:
    grid = clip_grid(config.clip, stage, "video")
    stage = resolve_stage(stage)
    prefix = flag.removesuffix("masks")
    repeats = config.data.repeats
    report_problems(group_problems(stage, prefix) + repeat_problems(stage, repeats, prefix))
    return replace(stage, masks=resolve_masks(stage.masks, grid, flag=flag))


def with_image_masks(config: C) -> C:
    """Return a resolved configuration with masks for images in every stage.

    Raises:
        ConfigError: if the grid of an image does not allow them.
    """
    if isinstance(config, PretrainConfig):
        masks = _image_masks(config, config.stage, "masks")
        return replace(config, stage=replace(config.stage, image_masks=masks))
    stages: dict[str, Any] = {}
    with collect_problems():
        for name in config.stages:
            stage: StageConfig = getattr(config, name)
            try:
                masks = _image_masks(config, stage, f"{name}.masks")
                stages[name] = replace(stage, image_masks=masks)
            except ConfigError as error:
                report_problems(error.problems)
    return replace(config, **stages)


def _image_masks(
    config: PretrainConfig | SaltRunConfig, stage: StageConfig, flag: str
) -> MaskConfig:
    """Resolve what is given for images, or else the masks of videos, for the grid of an image."""
    masks = stage.image_masks
    if masks is None:
        masks = stage.masks
        if isinstance(masks, MultiblockConfig):
            masks = masks.without_counts()
    elif _layout(masks) != _layout(stage.masks):
        setting = flag.replace("masks", "image_masks")
        raise ConfigError(
            [
                f"{setting} are {_layout(masks)}, {flag} {_layout(stage.masks)}; family, number of "
                f"masks, policy and group must agree: change {setting} in the file of --config"
            ]
        )
    try:
        return resolve_masks(masks, clip_grid(config.clip, stage, "image"), flag=flag)
    except ConfigError as error:
        raise ConfigError([f"on images, {problem}" for problem in error.problems]) from error


def _layout(masks: MaskConfig) -> str:
    """Say all that decides which mask kinds a batch has."""
    words = [*masks.kind_names]
    if isinstance(masks, MultiblockConfig):
        words.append(masks.policy)
        if masks.policy == "batch_min":
            words.append(str(masks.group_size))
    return " ".join(words)
