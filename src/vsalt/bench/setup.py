"""From a preset's name and a few choices to the stage whose step is measured."""

from dataclasses import replace

from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.errors import ConfigError
from vsalt.masking.config import MultiblockConfig
from vsalt.models.config import EncoderConfig, PredictorConfig, SizeName
from vsalt.presets import is_one_stage, salt_preset, stage_preset
from vsalt.training.build import resolve
from vsalt.training.config import DeviceConfig

DEFAULT_METHOD = "salt"
"""Of a preset with several stages."""


def bench_stage(
    preset: str,
    method: str | None = None,
    *,
    size: SizeName | None = None,
    batch_size: int | None = None,
    device: DeviceConfig | None = None,
) -> PretrainConfig:
    """Return the resolved configuration of a stage whose step is one micro-batch.

    Args:
        preset: its name.
        method: of the stage; None: the preset's own if it has one stage, else salt.
        size: of the encoder and its predictor in the place of the preset's own.
        batch_size: clips of a step; None: the preset's micro-batch.
        device: where the networks run; None: as the preset says.

    Raises:
        ConfigError: if there is no such preset, or settings do not fit.
    """
    if batch_size is not None and batch_size < 1:
        raise ConfigError([f"the batch size is {batch_size}; it must be at least 1"])
    config = stage_preset(preset, method or (None if is_one_stage(preset) else DEFAULT_METHOD))
    stage = config.stage
    if size is not None:
        encoder = with_size(stage.encoder, size)
        stage = replace(stage, encoder=encoder, predictor=PredictorConfig())
    config = resolve(replace(config, stage=stage, device=device or config.device))
    # After that: another batch changes neither the learning rate nor the masks' numbers of tokens.
    clips = batch_size or config.stage.loop.micro_batch_size
    assert clips is not None
    loop = replace(config.stage.loop, batch_size=clips, micro_batch_size=clips)
    return replace(config, stage=replace(config.stage, loop=loop))


def bench_data(preset: str, batch_size: int | None = None) -> PretrainConfig:
    """Return the same for what is read and masked: a batch is one group, where masks have groups.

    The method is a preset's own, or any, since neither clips nor masks depend on it.

    Raises:
        ConfigError: if there is no such preset, or settings do not fit.
    """
    config = bench_stage(preset, batch_size=batch_size)
    masks = config.stage.masks
    if isinstance(masks, MultiblockConfig):
        masks = replace(masks, group_size=config.stage.loop.batch_size)
    return replace(config, stage=replace(config.stage, masks=masks))


def bench_teacher(
    config: PretrainConfig, preset: str, size: SizeName | None = None
) -> EncoderConfig | None:
    """Return the frozen teacher that a stage needs; None if its method needs none.

    Args:
        config: the stage, as `bench_stage` gives it.
        preset: whose first stage trains the teacher.
        size: of the teacher in the place of the preset's own.

    Raises:
        ConfigError: if a size is given for a teacher that is not needed.
    """
    method = config.stage.method
    if not method.needs_teacher:
        if size is not None:
            raise ConfigError(
                [f"method {method.name} has no frozen teacher; leave the teacher's size out"]
            )
        return None
    run: SaltRunConfig = salt_preset(preset.partition(":")[0])
    teacher = run.teacher.encoder
    return teacher if size is None else with_size(teacher, size)


def with_size(encoder: EncoderConfig, size: SizeName) -> EncoderConfig:
    """Return an encoder of a size, with no number of its own but the tubelet and the positions."""
    return EncoderConfig(size=size, tubelet=encoder.tubelet, positions=encoder.positions)
