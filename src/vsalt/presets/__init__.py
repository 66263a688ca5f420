"""Presets: functions that return a complete configuration, by name."""

import difflib
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.errors import ConfigError
from vsalt.objectives.config import METHODS
from vsalt.presets.arms import ARMS
from vsalt.presets.demo import demo, demo_long
from vsalt.presets.faithful import FAITHFUL
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
    + f". Each may be followed by a colon and an arm, one of {', '.join(ARMS)}. Of one stage are "
    + ", ".join(FAITHFUL)
)
"""All names, for people."""


def salt_preset(name: str) -> SaltRunConfig:
    """Return a preset's configuration of all stages.

    Args:
        name: of a preset, or of a preset and an arm of several stages, as BASE:ARM.

    Raises:
        ConfigError: if there is no preset of that name, or it has one stage only.
    """
    config = _preset(name)
    if isinstance(config, PretrainConfig):
        raise ConfigError(
            [
                f"preset {name!r} has one stage, of method {config.stage.method.name}; take "
                f"`vsalt pretrain --preset {name}`"
            ]
        )
    return config


def stage_preset(name: str, method: str | None = None) -> PretrainConfig:
    """Return a preset's configuration of one stage.

    Args:
        name: of a preset, or of a preset and an arm of one stage, as BASE:ARM.
        method: of the stage; needed where the preset has several. One that the preset's teacher
            does not use gets the settings of its student.

    Raises:
        ConfigError: if the preset or the method does not exist, or they do not fit.
    """
    config = _preset(name)
    if method is not None and method not in METHODS:
        raise ConfigError([f"method {method!r} does not exist; there are {', '.join(METHODS)}"])
    if isinstance(config, PretrainConfig):
        own = config.stage.method.name
        if method not in (None, own):
            raise ConfigError(
                [f"preset {name!r} is of method {own}, not {method}; leave --method out"]
            )
        return config
    if ":" in name:
        raise ConfigError(
            [f"preset {name!r} has several stages; take `vsalt salt --preset {name}`"]
        )
    if method is None:
        raise ConfigError(
            [
                f"preset {name!r} has several stages; say which method to train: --method "
                f"{' or '.join(METHODS)}"
            ]
        )
    return _stage_of(config, method)


def is_one_stage(name: str) -> bool:
    """Whether a preset is of one stage, so that it has a method of its own.

    Raises:
        ConfigError: if there is no preset of that name.
    """
    return isinstance(_preset(name), PretrainConfig)


def stage_title(name: str, method: str) -> str:
    """Return the name of a run of one stage: of its arm, its one-stage preset, or its method.

    Args:
        name: of the preset.
        method: what the stage trains.

    Example:
        >>> [stage_title(name, "pixel") for name in ("demo", "demo:videomae", "videomae-faithful")]
        ['pixel', 'videomae', 'videomae-faithful']
    """
    base, _, arm = name.partition(":")
    return arm or (base if base in FAITHFUL else method)


def baseline_of(name: str, method: str) -> str | None:
    """Return the arm with a method's own settings, where a preset knows nothing of the method.

    Args:
        name: of the preset.
        method: what the stage trains.

    Example:
        >>> baseline_of("tiny-cpu", "vjepa"), baseline_of("tiny-cpu", "pixel")
        ('tiny-cpu:vjepa', None)
    """
    if name not in PRESETS or method not in ARMS:
        return None
    config = PRESETS[name]()
    own = {getattr(config, stage).method.name for stage in config.stages}
    return None if method in own else f"{name}:{method}"


def _stage_of(config: SaltRunConfig, method: str) -> PretrainConfig:
    if method == config.teacher.method.name:
        return config.stage("teacher")
    student = config.stage("student")
    if method == student.stage.method.name:
        return student
    return replace(student, stage=replace(student.stage, method=METHODS[method]()))


def _preset(name: str) -> SaltRunConfig | PretrainConfig:
    """Return what a name means: BASE, or BASE:ARM."""
    base, colon, arm = name.partition(":")
    if base in FAITHFUL:
        if colon:
            raise ConfigError(
                [f"preset {base!r} has one stage and no arms; leave {colon + arm} out"]
            )
        return FAITHFUL[base]()
    if base not in PRESETS:
        known = [*PRESETS, *FAITHFUL]
        near = difflib.get_close_matches(base, known, n=1)
        hint = f"did you mean {near[0]}? There" if near else "there"
        raise ConfigError([f"preset {base!r} does not exist; {hint} are {PRESET_NAMES}"])
    config = PRESETS[base]()
    if not colon:
        return config
    if arm not in ARMS:
        near = difflib.get_close_matches(arm, ARMS, n=1)
        hint = f"did you mean {near[0]}? There" if near else "there"
        raise ConfigError([f"arm {arm!r} does not exist; {hint} are {', '.join(ARMS)}"])
    return ARMS[arm](config)
