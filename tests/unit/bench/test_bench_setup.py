"""Which stage is measured: a preset's own, but for what is asked for."""

import pytest

from vsalt.bench.setup import bench_data, bench_stage, bench_teacher
from vsalt.errors import ConfigError
from vsalt.masking.config import MultiblockConfig
from vsalt.presets import salt_preset
from vsalt.training.build import resolve_salt
from vsalt.training.plan import clip_shapes


def test_a_preset_of_several_stages_is_measured_as_salt() -> None:
    config = bench_stage("small-gpu")
    assert config.stage.method.name == "salt"
    assert config.stage.loop.batch_size == 256
    assert bench_teacher(config, "small-gpu") == salt_preset("small-gpu").teacher.encoder
    assert bench_stage("vjepa-faithful").stage.method.name == "vjepa"


def test_another_size_changes_encoder_and_predictor_only() -> None:
    config = bench_stage("paper-vitb", "pixel", size="S")
    assert (config.stage.encoder.width, config.stage.encoder.depth) == (384, 12)
    assert (config.stage.predictor.width, config.stage.predictor.depth) == (256, 6)
    small = bench_stage("demo", size="Ti")
    own = salt_preset("demo").student.encoder
    assert small.stage.encoder.width == 192
    assert small.stage.encoder.tubelet == own.tubelet


def test_another_batch_changes_neither_masks_nor_operations() -> None:
    own = resolve_salt(salt_preset("paper-vitl")).stage("student")
    config = bench_stage("paper-vitl", batch_size=2)
    assert (config.stage.loop.batch_size, config.stage.loop.micro_batch_size) == (2, 2)
    assert clip_shapes(config) == clip_shapes(own)
    assert config.stage.optim == own.stage.optim


def test_data_is_read_in_whole_groups() -> None:
    masks = bench_data("paper-vitl", 2).stage.masks
    assert isinstance(masks, MultiblockConfig)
    assert (masks.policy, masks.group_size) == ("batch_min", 2)


def test_the_teacher_is_the_first_stage_or_of_the_size_asked_for() -> None:
    config = bench_stage("paper-vitG-3stage")
    teacher = bench_teacher(config, "paper-vitG-3stage")
    assert teacher is not None
    assert teacher.size == "L"
    other = bench_teacher(config, "paper-vitG-3stage", "Ti")
    assert other is not None
    assert other.architecture.width == 192
    assert bench_teacher(bench_stage("demo", "pixel"), "demo") is None


def test_mistakes_are_refused() -> None:
    with pytest.raises(ConfigError, match="preset 'smal-gpu' does not exist; did you mean small"):
        bench_stage("smal-gpu")
    with pytest.raises(ConfigError, match="is of method vjepa, not salt"):
        bench_stage("vjepa-faithful", "salt")
    with pytest.raises(ConfigError, match="batch size is 0; it must be at least 1"):
        bench_stage("demo", batch_size=0)
    with pytest.raises(ConfigError, match="pixel has no frozen teacher"):
        bench_teacher(bench_stage("demo", "pixel"), "demo", "S")
