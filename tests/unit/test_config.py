"""Configurations to plain values and back, TOML files, and mistakes reported together."""

import dataclasses
import json
import re
from dataclasses import FrozenInstanceError, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from vsalt.cli.parse import read_toml
from vsalt.config import (
    PretrainConfig,
    SaltRunConfig,
    StageConfig,
    from_dict,
    resolve_stage,
    to_dict,
)
from vsalt.data.config import ClipConfig
from vsalt.errors import ConfigError
from vsalt.models.config import EncoderConfig
from vsalt.objectives.config import METHODS, PixelConfig, SaltConfig
from vsalt.presets import PRESETS, salt_preset, stage_preset
from vsalt.training.build import resolve_salt
from vsalt.training.config import LoopConfig


def problems_of(values: dict[str, Any], cls: type = PretrainConfig, base: Any = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_dict(cls, values, base=base)
    assert str(caught.value).splitlines()[1:] == [f"  - {each}" for each in caught.value.problems]
    return caught.value.problems


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_survive_json(preset: str) -> None:
    config = salt_preset(preset)
    values = json.loads(json.dumps(to_dict(config)))
    assert from_dict(SaltRunConfig, values) == config
    for name in config.stages:
        stage = config.stage(name)
        assert from_dict(PretrainConfig, json.loads(json.dumps(to_dict(stage)))) == stage


def test_resolved_configs_survive_json() -> None:
    config = resolve_salt(salt_preset("tiny-cpu"))
    assert from_dict(SaltRunConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_plain_values_are_complete_and_plain() -> None:
    values = to_dict(salt_preset("tiny-cpu"))

    def check(cls: Any, given: dict[str, Any]) -> None:
        assert set(given) == {item.name for item in dataclasses.fields(cls)}

    check(SaltRunConfig, values)
    check(StageConfig, values["teacher"])
    check(SaltConfig, values["student"]["method"])
    check(EncoderConfig, values["student"]["encoder"])
    assert values["student"]["encoder"]["tubelet"] == [2, 16, 16]
    assert values["teacher"]["optim"]["warmup_steps"] is None


def test_stages_and_presets_fit_each_other() -> None:
    salt = salt_preset("tiny-cpu")
    assert stage_preset("tiny-cpu", "pixel") == salt.stage("teacher")
    assert stage_preset("tiny-cpu", "salt") == salt.stage("student")
    assert salt.stage("student").seed == salt.seed
    with pytest.raises(ConfigError, match=r"preset 'tiny' does not exist; did you mean tiny-cpu\?"):
        salt_preset("tiny")
    with pytest.raises(ConfigError, match="method 'sal' does not exist; there are pixel, salt"):
        stage_preset("tiny-cpu", "sal")
    assert {name: cls().name for name, cls in METHODS.items()} == {
        name: name for name in ("pixel", "salt", "vjepa")
    }


def test_the_papers_preset_is_the_papers() -> None:
    """SALT's table of hyper-parameters; its teachers are ViT-L, and ViT-B for the ViT-B student."""
    for preset, sizes, steps in (
        ("paper-vitb", "BB", (80_000, 160_000)),
        ("paper-vitl", "LL", (80_000, 160_000)),
        ("paper-vitG", "LG", (80_000, 160_000)),
        ("paper-vitg-40k", "Lg", (40_000, 200_000)),
        ("paper-vitl-3stage", "LLL", (80_000, 80_000, 80_000)),
        ("paper-vitl-3stage-40k", "LLL", (40_000, 80_000, 120_000)),
        ("paper-vith-3stage-40k", "LLH", (40_000, 80_000, 120_000)),
    ):
        config = salt_preset(preset)
        stages = [getattr(config, name) for name in config.stages]
        assert [stage.encoder.size for stage in stages] == list(sizes)
        assert tuple(stage.loop.steps for stage in stages) == steps
        names = [stage.method.name for stage in stages]
        assert names == ["pixel", *["salt"] * (len(steps) - 1)]
        clip = config.clip
        assert (clip.num_frames, clip.frame_step, clip.size) == (16, 4, (224, 224))
        for stage in stages:
            assert stage.loop.batch_size == 3072
            optim = stage.optim.resolved(stage.loop.steps, 3072)
            assert (optim.lr, optim.lr_start, optim.lr_final) == (6.25e-4, 2e-4, 1e-6)
            assert (optim.warmup_steps, optim.betas, optim.eps) == (10_000, (0.9, 0.95), 1e-8)
            assert (optim.weight_decay, optim.weight_decay_final) == (0.04, 0.4)
            assert optim.clip_norm == 0.02
            masks = stage.masks
            assert masks.aspect_ratio == (0.75, 1.5)
            assert (masks.short.num_blocks, masks.short.spatial_scale) == (8, 0.15)
            assert (masks.long.num_blocks, masks.long.spatial_scale) == (2, 0.7)
            assert masks.short.temporal_scale == masks.long.temporal_scale == 1.0


def test_configs_are_frozen() -> None:
    config = salt_preset("tiny-cpu")
    for part in (config, config.clip, config.teacher, config.teacher.method, config.data):
        name = dataclasses.fields(part)[0].name
        with pytest.raises(FrozenInstanceError):
            setattr(part, name, getattr(part, name))
    assert hash(config.teacher.masks.short) == hash(replace(config.teacher.masks.short))


def test_an_unknown_key_names_the_nearest() -> None:
    values = {"stage": {"encoder": {"detph": 3}, "zzz": 1}, "sede": 4}
    first, second, third = problems_of(values)
    assert first == "stage.encoder.detph is not a setting; did you mean stage.encoder.depth?"
    known = ", ".join(item.name for item in dataclasses.fields(StageConfig))
    assert second == f"stage.zzz is not a setting; known: {known}"
    assert third == "sede is not a setting; did you mean seed?"


def test_dashes_are_as_good_as_underscores() -> None:
    config = from_dict(PretrainConfig, {"stage": {"loop": {"batch-size": 12, "save_every": 7}}})
    assert (config.stage.loop.batch_size, config.stage.loop.save_every) == (12, 7)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"seed": "3"}, "seed is '3'; it must be of type int"),
        ({"seed": 3.5}, "seed is 3.5; it must be of type int"),
        ({"seed": True}, "seed is True; it must be of type int"),
        ({"seed": None}, "seed is None; it must be of type int"),
        (
            {"stage": {"optim": {"lr": "1e-3"}}},
            "stage.optim.lr is '1e-3'; it must be of type float",
        ),
        ({"stage": {"optim": {"lr": True}}}, "stage.optim.lr is True; it must be of type float"),
        (
            {"stage": {"optim": {"lr_scaling": "cubic"}}},
            "stage.optim.lr_scaling is 'cubic'; allowed: sqrt, linear, none",
        ),
        ({"stage": {"encoder": {"size": "XL"}}}, "stage.encoder.size is 'XL'; allowed: Ti, S, B,"),
        ({"stage": {"encoder": {"tubelet": 2}}}, "stage.encoder.tubelet is 2; it must be a list"),
        (
            {"stage": {"encoder": {"tubelet": [2, 16]}}},
            "stage.encoder.tubelet has 2 entries; it must have 3",
        ),
        (
            {"stage": {"encoder": {"tubelet": [2, "16", 16]}}},
            "stage.encoder.tubelet[1] is '16'; it must be of type int",
        ),
        ({"stage": 5}, "stage must be a table of settings, not 5"),
        (
            {"stage": {"method": {"name": "slat"}}},
            "stage.method.name is 'slat'; allowed: pixel, salt",
        ),
        ({"stage": {"method": {}}}, "stage.method.name is None; allowed: pixel, salt"),
        ({"stage": {"method": "salt"}}, "stage.method.name is None; allowed: pixel, salt"),
        (
            {"stage": {"method": {"name": "salt", "normalise": "none"}}},
            "stage.method.normalise is not a setting; known: name, loss, target_norm",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values: dict[str, Any], problem: str) -> None:
    (given,) = problems_of(values)
    assert given.startswith(problem)


def test_whole_numbers_do_for_floats_and_none_where_unset_is_allowed() -> None:
    config = from_dict(
        PretrainConfig,
        {"stage": {"optim": {"lr": 1, "warmup_steps": None}, "loop": {"val_every": None}}},
    )
    assert isinstance(config.stage.optim.lr, float)
    assert config.stage.optim.warmup_steps is None


def test_all_mistakes_are_reported_together() -> None:
    """Of types, of names, of single settings, and of settings that do not fit each other."""
    values = {
        "seed": "x",
        "clip": {"num_frames": 15},
        "stage": {
            "encoder": {"size": "Ti", "heads": 7},
            "loop": {"steps": -1, "batch_sise": 3},
            "optim": {"lr": -1.0},
        },
    }
    problems = problems_of(values)
    for pattern in (
        r"seed is 'x'; it must be of type int",
        r"15 frames of 224x224 pixels does not divide into tubelets .*--encoder\.tubelet",
        r"encoder\.width 192 cannot be divided among 7 heads",
        r"loop\.steps is -1; it must be 0 or more",
        r"stage\.loop\.batch_sise is not a setting; did you mean stage\.loop\.batch_size\?",
        r"optim\.lr is -1\.0; it must be above 0",
    ):
        assert [problem for problem in problems if re.search(pattern, problem)], pattern
    assert len(problems) == 6


def test_stages_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        SaltRunConfig(
            clip=ClipConfig(num_frames=16, size=(64, 62)),
            teacher=StageConfig(method=SaltConfig()),
            student=StageConfig(method=PixelConfig(), encoder=EncoderConfig(tubelet=(2, 8, 4))),
        )
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 5
    assert "change --clip.num-frames, --clip.size or --teacher.encoder.tubelet" in text
    assert "--student.encoder.tubelet" in text
    assert "teacher.encoder.tubelet is (2, 16, 16), student.encoder.tubelet (2, 8, 4)" in text
    assert "teacher.method is salt, which needs a teacher itself; use pixel" in text
    assert "student.method is pixel; it must be salt" in text


def test_an_assistant_stands_between_teacher_and_student() -> None:
    two = salt_preset("tiny-cpu")
    assert two.stages == ("teacher", "student")
    three = replace(two, assistant=two.student)
    assert three.stages == ("teacher", "assistant", "student")
    assert from_dict(SaltRunConfig, json.loads(json.dumps(to_dict(three)))) == three
    assert three.stage("assistant").stage == two.student
    # The other stages are what they are without an assistant.
    assert three.stage("teacher") == two.stage("teacher")
    assert three.stage("student") == two.stage("student")
    # A run folder of before there were assistants can be read.
    old = to_dict(two)
    del old["assistant"]
    assert from_dict(SaltRunConfig, old) == two
    with pytest.raises(ConfigError) as caught:
        replace(two, assistant=StageConfig(encoder=EncoderConfig(tubelet=(2, 8, 16))))
    assert caught.value.problems == [
        "teacher.encoder.tubelet is (2, 16, 16), assistant.encoder.tubelet (2, 8, 16); "
        "they must agree",
        "assistant.method is pixel; it must be salt",
    ]


def test_keys_that_are_not_given_keep_the_bases_values() -> None:
    base = salt_preset("small-gpu").stage("student")
    base = replace(base, stage=replace(base.stage, method=SaltConfig(target_norm="none")))
    changed = from_dict(
        PretrainConfig, {"stage": {"method": {"loss": "mse"}, "loop": {"steps": 7}}}, base=base
    )
    loop = replace(base.stage.loop, steps=7)
    method = SaltConfig(target_norm="none", loss="mse")
    assert changed == replace(base, stage=replace(base.stage, loop=loop, method=method))
    # Another method starts from its own defaults, not from the base's.
    other = from_dict(PretrainConfig, {"stage": {"method": {"name": "pixel"}}}, base=base)
    assert other.stage.method == PixelConfig()


@dataclass(frozen=True, kw_only=True)
class One:
    name: Literal["one"] = "one"
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Two:
    name: Literal["two"] = "two"
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Holder:
    needed: str
    part: One | Two | None = None
    deep: tuple[tuple[float, float], ...] = ()
    more: One = field(default_factory=One)


def test_unions_are_told_apart_by_name_and_lists_by_length() -> None:
    holder = Holder(needed="x", part=Two(sizes=(1, 2, 3)), deep=((0.5, 1.0), (2.0, 3.0)))
    assert from_dict(Holder, to_dict(holder)) == holder
    assert from_dict(Holder, {"needed": "x", "part": None}).part is None
    assert from_dict(Holder, {"needed": "x", "part": {"name": "one", "size": 5}}).part == One(
        size=5
    )
    assert problems_of({"needed": "x", "deep": [[1, 2], [3]]}, Holder) == [
        "deep[1] has 1 entries; it must have 2"
    ]
    (missing,) = problems_of({"part": {"name": "one"}}, Holder)
    assert "needed" in missing


TOML = """
seed = 9
[stage.loop]
steps = 12
batch-size = 6
[stage.method]
name = "pixel"
normalise = "joint"
[stage.encoder]
tubelet = [2, 8, 8]
"""


def test_a_toml_file_lies_over_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(TOML)
    base = stage_preset("tiny-cpu", "pixel")
    config = read_toml(path, base)
    expected = replace(
        base,
        seed=9,
        stage=replace(
            base.stage,
            loop=replace(base.stage.loop, steps=12, batch_size=6),
            method=PixelConfig(normalise="joint"),
            encoder=replace(base.stage.encoder, tubelet=(2, 8, 8)),
        ),
    )
    assert config == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"seed = ", r"run\.toml is not TOML: "),
        (b"\xff\xfe", r"run\.toml is not TOML: "),
        (b"sede = 1", r"sede is not a setting; did you mean seed\?"),
        (b"[stage.loop]\nsteps = -1", r"loop\.steps is -1; it must be 0 or more"),
        (None, r"--config .*run\.toml: No such file"),
    ],
)
def test_a_toml_file_that_cannot_be_used_is_refused(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        read_toml(path, stage_preset("tiny-cpu", "pixel"))


def test_resolving_a_stage_keeps_what_is_given() -> None:
    stage = StageConfig(loop=LoopConfig(steps=100, batch_size=768))
    resolved = resolve_stage(stage)
    assert resolved.optim.lr == pytest.approx(6.25e-4 / 2)
    assert resolved.optim.warmup_steps == 8
    assert resolved.masks == stage.masks
    assert resolve_stage(resolved) == resolved
