"""Presets: functions that return a complete configuration, by name."""

import difflib
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.errors import ConfigError
from vsalt.objectives.config import METHODS
from vsalt.presets.demo import demo, demo_long
from vsalt.presets.paper import SIZES, SPLITS, paper
from vsalt.presets.small_gpu import small_gpu
from vsalt.presets.tiny_cpu import tiny_cpu

PRESETS: dict[str, Callable[[], SaltRunConfig]] = {
    "demo": demo,
    "tiny-cpu": tiny_cpu,
    "small-gpu": small_gpu,
    "demo-long": demo_long,
    **{
        f"paper-vit{letter}{end}": partial(paper, size, steps)
        for end, steps in SPLITS.items()
        for letter, size in SIZES.items()
    },
}
PRESET_NAMES = (
    ", ".join(name for name in PRESETS if not name.startswith("paper-"))
    + f"; and paper-vitX, where X is one of {', '.join(SIZES)}, alone or followed by one of "
    + ", ".join(end for end in SPLITS if end)
)
"""All names, for people."""


def salt_preset(name: str) -> SaltRunConfig:
    """Return a preset's configuration of all stages.

    Raises:
        ConfigError: if there is no preset of that name.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]}? There" if near else "there"
        raise ConfigError([f"preset {name!r} does not exist; {hint} are {PRESET_NAMES}"])
    return PRESETS[name]()


def stage_preset(name: str, method: str) -> PretrainConfig:
    """Return a preset's configuration of one stage with this method.

    A method that the preset's teacher stage does not use gets the settings of its student stage.

    Raises:
        ConfigError: if the preset or the method does not exist.
    """
    config = salt_preset(name)
    if method not in METHODS:
        raise ConfigError([f"method {method!r} does not exist; there are {', '.join(METHODS)}"])
    if method == config.teacher.method.name:
        return config.stage("teacher")
    student = config.stage("student")
    if method == student.stage.method.name:
        return student
    return replace(student, stage=replace(student.stage, method=METHODS[method]()))
