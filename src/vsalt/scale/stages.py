"""From a preset's name and a few choices to the stages of a plan."""

from dataclasses import dataclass, replace

from vsalt.compute.types import ClipShapes
from vsalt.config import PretrainConfig, StageConfig
from vsalt.errors import ConfigError
from vsalt.masking.config import MultiblockConfig
from vsalt.models.config import Architecture, EncoderConfig, PredictorConfig, SizeName
from vsalt.presets import is_one_stage, salt_preset, stage_preset
from vsalt.scale.networks import Networks
from vsalt.training.build import resolve
from vsalt.training.plan import clip_shapes


@dataclass(frozen=True)
class Stage:
    """One training, as far as its cost goes.

    Attributes:
        title: teacher, assistant, student, or a method's name.
        method: pixel, salt or vjepa.
        size: of the encoder.
        teacher_size: of the frozen teacher, if there is one.
        networks: their numbers.
        shapes: tokens of a clip and its masks.
        steps: optimiser steps.
        batch_size: clips of a step.
        micro_batch_size: clips that are computed at once, at most.
        group_size: clips whose masks are cut alike, if they are.
    """

    title: str
    method: str
    size: str
    teacher_size: str | None
    networks: Networks
    shapes: ClipShapes
    steps: int
    batch_size: int
    micro_batch_size: int
    group_size: int | None


def plan_stages(
    preset: str,
    *,
    size: SizeName | None = None,
    teacher_size: SizeName | None = None,
    batch_size: int | None = None,
    micro_batch_size: int | None = None,
) -> list[Stage]:
    """Return the stages of a preset, and V-JEPA in the student's place for comparison.

    V-JEPA takes the steps of all stages together. A preset of one stage is taken alone.

    Args:
        preset: its name.
        size: of the student, or of the one stage; None: the preset's.
        teacher_size: of the teacher and the assistant; None: the preset's.
        batch_size: clips of a step; None: the preset's.
        micro_batch_size: clips that are computed at once; None: the preset's.

    Raises:
        ConfigError: if there is no such preset, or settings do not fit.
    """
    wrong = [
        f"--{name} is {number}; it must be at least 1"
        for name, number in (("batch-size", batch_size), ("micro-batch-size", micro_batch_size))
        if number is not None and number < 1
    ]
    if wrong:
        raise ConfigError(wrong)
    sizes = (batch_size, micro_batch_size)
    if is_one_stage(preset):
        if teacher_size is not None:
            raise ConfigError([f"preset {preset} has no teacher; leave --teacher-size out"])
        config = _sized(stage_preset(preset), size, *sizes)
        return [_stage(config.stage.method.name, config, None)]
    run = salt_preset(preset)
    found: list[Stage] = []
    before: EncoderConfig | None = None
    for name in run.stages:
        own = size if name == run.stages[-1] else teacher_size
        config = _sized(run.stage(name), own, *sizes)
        found.append(_stage(name, config, before))
        before = config.stage.encoder
    average = _sized(stage_preset(preset.partition(":")[0], "vjepa"), size, *sizes)
    vjepa = _stage("vjepa", average, None)
    return [*found, replace(vjepa, steps=sum(each.steps for each in found))]


def _sized(
    config: PretrainConfig,
    size: SizeName | None,
    batch_size: int | None,
    micro_batch_size: int | None,
) -> PretrainConfig:
    """Return the resolved stage at another size and batch."""
    stage: StageConfig = config.stage
    if size is not None:
        tubelet, positions = stage.encoder.tubelet, stage.encoder.positions
        encoder = EncoderConfig(size=size, tubelet=tubelet, positions=positions)
        stage = replace(stage, encoder=encoder, predictor=PredictorConfig())
    config = resolve(replace(config, stage=stage))
    # After that: another batch changes neither the learning rate nor the masks' numbers of tokens.
    loop = config.stage.loop
    clips = batch_size or loop.batch_size
    micro = micro_batch_size or min(loop.micro_batch_size or clips, clips)
    loop = replace(loop, batch_size=clips, micro_batch_size=micro)
    return replace(config, stage=replace(config.stage, loop=loop))


def _stage(title: str, config: PretrainConfig, frozen: EncoderConfig | None) -> Stage:
    stage, loop, masks = config.stage, config.stage.loop, config.stage.masks
    assert loop.micro_batch_size is not None
    is_average = stage.method.name == "vjepa"
    source = stage.encoder if is_average else frozen if stage.method.needs_teacher else None
    teacher: Architecture | None = None if source is None else source.architecture
    group_size = None
    if isinstance(masks, MultiblockConfig) and masks.policy == "batch_min":
        group_size = masks.group_size
    return Stage(
        title=title,
        method=stage.method.name,
        size=stage.encoder.size,
        teacher_size=source.size if source is not None and not is_average else None,
        networks=Networks(
            encoder=stage.encoder.architecture,
            predictor=stage.predictor.architecture,
            teacher=teacher,
            tubelet=stage.encoder.tubelet,
            is_rotary=stage.encoder.positions in ("vjepa2", "interleaved"),
        ),
        shapes=clip_shapes(config),
        steps=loop.end,
        batch_size=loop.batch_size,
        micro_batch_size=loop.micro_batch_size,
        group_size=group_size,
    )
