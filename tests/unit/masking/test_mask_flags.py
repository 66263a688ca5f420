"""The family of masks on the command line and in files, and what is checked as a whole."""

from dataclasses import replace
from pathlib import Path

import pytest

from support.command_lines import read_lines
from vsalt.config import (
    PretrainConfig,
    SaltRunConfig,
    StageConfig,
    from_dict,
    group_problems,
    to_dict,
)
from vsalt.data.config import ClipConfig
from vsalt.errors import ConfigError
from vsalt.masking.config import (
    MASKS,
    BlocksConfig,
    CausalConfig,
    MaskConfig,
    MultiblockConfig,
    RandomConfig,
    TubeConfig,
)
from vsalt.presets import stage_preset
from vsalt.training.build import resolve, resolve_salt
from vsalt.training.config import LoopConfig
from vsalt.training.plan import clip_shapes

PRETRAIN = ["pretrain", "--out", "x", "--method", "pixel"]
SALT = ["salt", "--out", "x"]


def pretrain_masks(*lines: list[str]) -> list[object]:
    """The masks of several command lines of `vsalt pretrain`."""
    answers = read_lines(*([*PRETRAIN, *words] for words in lines))
    return [from_dict(PretrainConfig, answer["config"]).stage.masks for answer in answers]


def test_the_flag_chooses_the_family() -> None:
    assert pretrain_masks(
        [],
        *(["--masks", name] for name in MASKS),
        *([f"--masks={name}"] for name in MASKS),
        ["--masks", "None"],
        ["--masks.ratio", "0.8", "--masks", "tube"],
        ["--masks.policy", "batch_min", "--masks.group-size", "8"],
    ) == [
        MultiblockConfig(),
        *(family() for family in MASKS.values()),
        *(family() for family in MASKS.values()),
        MultiblockConfig(),
        TubeConfig(ratio=0.8),
        MultiblockConfig(policy="batch_min", group_size=8),
    ]


def test_each_stage_has_its_family() -> None:
    answers = read_lines(
        [
            *(*SALT, "--teacher.masks", "causal", "--teacher.masks.num-masks", "2"),
            *("--student.masks.long.num-context", "20"),
        ],
        [*SALT, "--student.masks=random"],
    )
    one, two = (from_dict(SaltRunConfig, answer["config"]) for answer in answers)
    assert one.teacher.masks == CausalConfig(num_masks=2)
    assert one.student.masks.long.num_context == 20
    assert two.teacher.masks == MultiblockConfig()
    assert two.student.masks == RandomConfig()


def test_an_unknown_family_is_refused() -> None:
    lines = {
        "--masks": [*PRETRAIN, "--masks", "tub"],
        "--teacher.masks": [*SALT, "--teacher.masks=tub"],
        "--student.masks": [*SALT, "--student.masks", "tub"],
    }
    for flag, answer in zip(lines, read_lines(*lines.values()), strict=True):
        known = "multiblock, tube, random, causal"
        assert answer == {"problems": [f"{flag} is 'tub'; there are {known}"]}


def test_help_shows_the_familys_own_flags() -> None:
    tube, blocks = read_lines([*PRETRAIN, "--masks", "tube", "--help"], [*PRETRAIN, "--help"])
    for text, shown, not_shown in (
        (tube["printed"], "--masks.ratio", "--masks.policy"),
        (blocks["printed"], "--masks.policy", "--masks.ratio"),
    ):
        assert shown in text
        assert not_shown not in text


def test_a_file_chooses_the_family_and_flags_go_over_it(tmp_path: Path) -> None:
    def file(name: str, text: str) -> list[str]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return ["--config", str(tmp_path / name)]

    tube = file("tube.toml", '[stage.masks]\nname = "tube"\nratio = 0.75\n')
    assert pretrain_masks(
        tube,
        [*tube, "--masks.num-masks", "2"],
        [*tube, "--masks", "tube"],
        [*tube, "--masks", "random"],
    ) == [
        TubeConfig(ratio=0.75),
        TubeConfig(ratio=0.75, num_masks=2),
        TubeConfig(ratio=0.75),
        RandomConfig(),
    ]
    causal = file("causal.toml", '[teacher.masks]\nname = "causal"\n')
    unnamed = file("unnamed.toml", "[stage.masks]\nratio = 0.5\n")
    unknown = file("unknown.toml", '[stage.masks]\nname = "tub"\n')
    both, no_setting, no_family = read_lines(
        [*SALT, *causal], [*PRETRAIN, *unnamed], [*PRETRAIN, *unknown]
    )
    assert from_dict(SaltRunConfig, both["config"]).teacher.masks == CausalConfig()
    assert no_setting["problems"][0].startswith("stage.masks.ratio is not a setting")
    assert no_family["problems"][0].startswith("stage.masks.name is 'tub'; allowed: multiblock, tu")


@pytest.mark.parametrize("family", MASKS.values())
def test_another_name_drops_the_settings_of_the_base(family: type[MaskConfig]) -> None:
    """Also of a family that has settings of the same names."""
    bases = [
        TubeConfig(ratio=0.5, num_masks=3),
        MultiblockConfig(group_size=2, short=BlocksConfig(num_blocks=1, spatial_scale=0.1)),
    ]
    for base in bases:
        values = {"masks": {"name": family().name}}
        stage = from_dict(StageConfig, values, base=StageConfig(masks=base))
        assert stage.masks == (base if isinstance(base, family) else family())


@pytest.mark.parametrize(
    "masks",
    [
        TubeConfig(ratio=0.8, num_masks=2),
        RandomConfig(),
        CausalConfig(num_masks=2),
        MultiblockConfig(policy="batch_min", group_size=4),
    ],
)
def test_a_resolved_config_is_read_back_as_it_is(masks: MaskConfig) -> None:
    stage = replace(
        stage_preset("tiny-cpu", "pixel").stage,
        masks=masks,
        loop=LoopConfig(batch_size=8, micro_batch_size=4),
    )
    config = resolve(PretrainConfig(clip=ClipConfig(size=(64, 64)), stage=stage))
    assert from_dict(PretrainConfig, to_dict(config)) == config == resolve(config)
    shapes = clip_shapes(config)
    assert len(shapes.masks) == len(config.stage.masks.kind_names)
    assert all(0 < context < 128 and 0 < targets < 128 for context, targets in shapes.masks)


def test_a_config_of_an_older_run_is_read() -> None:
    values = to_dict(StageConfig())
    for name in ("policy", "group_size"):
        del values["masks"][name]
    del values["masks"]["long"]["max_temporal_keep"]
    assert from_dict(StageConfig, values) == StageConfig()


def with_groups(batch_size: int, micro: int | None, group_size: int) -> StageConfig:
    return StageConfig(
        masks=MultiblockConfig(policy="batch_min", group_size=group_size),
        loop=LoopConfig(batch_size=batch_size, micro_batch_size=micro).resolved(),
    )


@pytest.mark.parametrize(("batch_size", "micro"), [(24, None), (72, 24), (24, 24)])
def test_a_micro_batch_may_be_one_group(batch_size: int, micro: int | None) -> None:
    assert group_problems(with_groups(batch_size, micro, 24)) == []


@pytest.mark.parametrize(
    ("batch_size", "micro", "multiple"), [(48, 48, None), (48, None, None), (32, 16, 48)]
)
def test_other_micro_batches_are_refused(
    batch_size: int, micro: int | None, multiple: int | None
) -> None:
    """Two groups in one micro-batch have lists of different lengths."""
    (problem,) = group_problems(with_groups(batch_size, micro, 24), "student.")
    assert problem.startswith(
        f"student.masks.group-size is 24, student.loop.micro-batch-size {micro or batch_size}; "
    )
    assert "give --student.loop.micro-batch-size 24" in problem
    assert "or another --student.masks.group-size" in problem
    assert (f"--batch-size that is a multiple of it, such as {multiple}" in problem) == bool(
        multiple
    )
    assert not group_problems(replace(with_groups(batch_size, micro, 24), masks=TubeConfig()))
    budget = MultiblockConfig(group_size=24)
    assert not group_problems(replace(with_groups(batch_size, micro, 24), masks=budget))


def test_groups_are_checked_when_a_run_is_resolved() -> None:
    stage = with_groups(48, 12, 24)
    with pytest.raises(ConfigError, match=r"^1 setting is wrong:\n  - masks\.group-size is 24"):
        resolve(PretrainConfig(stage=stage))
    salt = SaltRunConfig(teacher=stage)
    salt = replace(salt, student=replace(salt.student, masks=TubeConfig(ratio=0.999)))
    with pytest.raises(ConfigError) as caught:
        resolve_salt(salt)
    first, second = caught.value.problems
    assert first.startswith("teacher.masks.group-size is 24, teacher.loop.micro-batch-size 12")
    assert second.startswith("student.masks.ratio is 0.999, which leaves no context")
