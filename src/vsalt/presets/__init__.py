"""Presets: functions that return a complete configuration, by name."""

from collections.abc import Callable

from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.errors import ConfigError
from vsalt.presets.demo import demo
from vsalt.presets.paper import paper
from vsalt.presets.small_gpu import small_gpu
from vsalt.presets.tiny_cpu import tiny_cpu

PRESETS: dict[str, Callable[[], SaltRunConfig]] = {
    "demo": demo,
    "tiny-cpu": tiny_cpu,
    "small-gpu": small_gpu,
    "paper-vitb": lambda: paper("B"),
    "paper-vitl": lambda: paper("L"),
    "paper-vith": lambda: paper("H"),
    "paper-vitg": lambda: paper("g"),
    "paper-vitG": lambda: paper("G"),
}


def salt_preset(name: str) -> SaltRunConfig:
    """Return a preset's configuration of both stages.

    Raises:
        ConfigError: if there is no preset of that name.
    """
    if name not in PRESETS:
        raise ConfigError([f"preset {name!r} does not exist; there are {', '.join(PRESETS)}"])
    return PRESETS[name]()


def stage_preset(name: str, method: str) -> PretrainConfig:
    """Return a preset's configuration of the stage that uses this method.

    Raises:
        ConfigError: if the preset or the method does not exist.
    """
    config = salt_preset(name)
    if method == config.teacher.method.name:
        return config.stage("teacher")
    if method == config.student.method.name:
        return config.stage("student")
    names = f"{config.teacher.method.name}, {config.student.method.name}"
    raise ConfigError([f"method {method!r} does not exist; there are {names}"])
