"""From a resolved configuration to the networks of its method."""

from dataclasses import replace
from typing import Any

import torch

from vsalt.config import (
    PretrainConfig,
    SaltRunConfig,
    StageConfig,
    group_problems,
    resolve_stage,
)
from vsalt.errors import ConfigError, collect_problems, report_problems
from vsalt.masking.sampler import resolve_masks
from vsalt.models.config import grid_of
from vsalt.models.vit import Encoder
from vsalt.objectives.config import PixelConfig, SaltConfig
from vsalt.objectives.pixel import PixelObjective
from vsalt.objectives.protocol import Objective
from vsalt.objectives.salt import SaltObjective
from vsalt.randomness import keyed_int


def build_objective(config: PretrainConfig, teacher: Encoder | None) -> Objective:
    """Build the method of a resolved configuration, with initial weights keyed by a seed.

    Args:
        config: resolved configuration of the stage.
        teacher: the frozen teacher, for methods that need one.

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
    grid = grid_of(config.clip.num_frames, config.clip.size, stage.encoder.tubelet)
    stage = resolve_stage(stage)
    report_problems(group_problems(stage, flag.removesuffix("masks")))
    return replace(stage, masks=resolve_masks(stage.masks, grid, flag=flag))
