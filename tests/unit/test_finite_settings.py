"""No setting may be infinite or no number, but for those where that means something.

All config modules are walked, so a setting that is added later is tried, too.
"""

import dataclasses
import importlib
import math
import pkgutil
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import vsalt
from vsalt.data.config import ClipConfig, DataConfig, ReadLimits
from vsalt.errors import ConfigError
from vsalt.targets.cache_config import CacheConfig
from vsalt.training.config import OptimConfig

REQUIRED: dict[str, dict[str, Any]] = {
    "BlocksConfig": {"num_blocks": 2, "spatial_scale": 0.5},
    "ProbeClipConfig": {"clip": ClipConfig(), "augment": "crop"},
}
INFINITE = {
    # No limit.
    ("ReadLimits", "timeout_s"),
    ("ReadLimits", "max_fps"),
    ("ReadLimits", "max_duration_s"),
    # Nothing is clipped, as with None.
    ("OptimConfig", "clip_norm"),
}


def configs() -> Iterator[type]:
    """All settings that can be made; what they derive from leaves the checks to them."""
    for found in pkgutil.walk_packages(vsalt.__path__, "vsalt."):
        if found.name.endswith(("_config", ".config")):
            for cls in vars(importlib.import_module(found.name)).values():
                own = isinstance(cls, type) and cls.__module__ == found.name
                if own and dataclasses.is_dataclass(cls) and not cls.__subclasses__():
                    yield cls


def holds_float(hint: Any) -> bool:
    return hint is float or any(holds_float(option) for option in get_args(hint))


def settings() -> list[tuple[type, str]]:
    return [
        (cls, name)
        for cls in configs()
        for name, hint in get_type_hints(cls).items()
        if holds_float(hint)
    ]


def variants(cls: type, name: str, number: float) -> list[Any]:
    """The number as this setting; of several numbers each once."""
    if get_origin(get_type_hints(cls)[name]) is not tuple:
        return [number]
    usual = getattr(cls(**REQUIRED.get(cls.__name__, {})), name)
    return [(*usual[:place], number, *usual[place + 1 :]) for place in range(len(usual))]


def test_the_settings_are_found() -> None:
    found = {(cls.__name__, name) for cls, name in settings()}
    assert len(found) > 40
    assert found >= {
        *(("OptimConfig", "lr"), ("CacheConfig", "shard_mb"), ("ClipConfig", "fps")),
        *(("TubeConfig", "ratio"), ("VjepaConfig", "momentum"), ("AttentiveConfig", "lr")),
        *INFINITE,
    }


@pytest.mark.parametrize(
    ("cls", "name"), settings(), ids=[f"{cls.__name__}.{name}" for cls, name in settings()]
)
def test_a_setting_is_a_finite_number(cls: type, name: str) -> None:
    for number in (math.inf, -math.inf, math.nan):
        for value in variants(cls, name, number):
            given = {**REQUIRED.get(cls.__name__, {}), name: value}
            if number == math.inf and (cls.__name__, name) in INFINITE:
                assert getattr(cls(**given), name) == math.inf
                continue
            with pytest.raises(ConfigError) as caught:
                cls(**given)
            assert any(name.replace("_", "-") in problem for problem in caught.value.problems)


def test_what_is_wrong_is_told() -> None:
    for cls, given, problem in (
        (CacheConfig, {"shard_mb": math.inf}, "shard-mb is inf; it must be above 0, and finite"),
        (ClipConfig, {"fps": math.inf}, "clip.fps is inf; it must be above 0, and finite"),
        (OptimConfig, {"lr": math.inf}, "optim.lr is inf; it must be above 0, and finite"),
        (
            OptimConfig,
            {"weight_decay": math.inf},
            "optim.weight-decay is inf; it must be 0 or more, and finite",
        ),
        (
            DataConfig,
            {"crop_ratio": (1.0, math.inf)},
            "data.crop-ratio is (1.0, inf); it must be 0 < low <= high, finite",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            cls(**given)
        assert caught.value.problems == [problem]
    assert ReadLimits(timeout_s=math.inf).timeout_s == math.inf
    # A rate that overflows when it is scaled to the run's batch.
    with pytest.raises(ConfigError, match=r"optim\.lr is inf"):
        OptimConfig(lr=1e308, lr_batch_size=1, lr_scaling="linear").resolved(100, 64)
