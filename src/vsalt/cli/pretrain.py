"""`vsalt salt`, `vsalt pretrain` and `vsalt resume`."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from vsalt.cli.budget_args import budget_of, flags_in
from vsalt.cli.outside import read_outside
from vsalt.cli.parse import Count, incomplete, load_toml, option, parse, read_toml
from vsalt.config import PretrainConfig, SaltRunConfig, StageConfig, from_dict, to_dict
from vsalt.data.urls import is_url
from vsalt.errors import ConfigError, ignore_problems
from vsalt.masking.config import MASKS, MaskConfig, MaskName
from vsalt.presets import PRESET_NAMES, is_one_stage, salt_preset, stage_preset

DEFAULT_PRESET = "tiny-cpu"
_PRESET_HELP = f"Where the defaults of all settings come from: {PRESET_NAMES}."

_GET_ASSISTANT = (
    "take a preset that has one, such as paper-vitl-3stage, or give a table [assistant] in --config"
)

C = TypeVar("C", PretrainConfig, SaltRunConfig)
Flat = tyro.conf.arg(name="")


@dataclass(frozen=True, kw_only=True)
class SaltArgs:
    """Train a teacher on pixels, freeze it, train the student on its latents; resumable."""

    out: Path
    """The run folder; it must not hold a run yet."""
    preset: Annotated[str, tyro.conf.arg(help=_PRESET_HELP)] = DEFAULT_PRESET
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """A TOML file with settings over those of the preset; flags go over both."""
    steps: str | None = None
    """Steps of each stage: N for all, or T:S; with an assistant T:A:S."""
    budget_flops: float | None = None
    """In the place of --steps: exact operations of all stages, a teacher's
    forward passes included."""
    clips: Count | None = None
    """In the place of --steps: training clips of all stages."""
    hours: float | None = None
    """In the place of --steps: hours of training of all stages, at --flops-per-second."""
    flops_per_second: float | None = None
    """Exact operations per second of the device, for the plan and --hours. Unset: --hours measures
    it by a few steps on random clips."""
    batch_size: int | None = None
    """Clips per step of all stages."""
    save_every: str | None = None
    """Steps between checkpoints: N for all stages, or T:S; with an assistant T:A:S."""
    teacher_masks: Annotated[MaskName | None, tyro.conf.arg(name="teacher.masks")] = None
    """Family of the teacher's masks; its own settings begin with --teacher.masks."""
    assistant_masks: Annotated[MaskName | None, tyro.conf.arg(name="assistant.masks")] = None
    """Family of the assistant's masks, likewise."""
    student_masks: Annotated[MaskName | None, tyro.conf.arg(name="student.masks")] = None
    """Family of the student's masks, likewise."""
    track: Literal["none", "tensorboard", "wandb"] = "none"
    """Show the records there, too: tensorboard in OUT/tensorboard, wandb by its own settings
    (WANDB_MODE=offline needs no account). Needs `pip install 'vsalt[tensorboard]'` or
    `'vsalt[track]'`."""
    dry_run: bool = False
    """Print what the run would do and cost, and stop."""
    config: Annotated[SaltRunConfig, Flat]


@dataclass(frozen=True, kw_only=True)
class PretrainArgs:
    """Train one stage with one method; resumable."""

    out: Path
    """The run folder; it must not hold a run yet."""
    method: str
    """pixel, vjepa, or salt, which needs --teacher. A preset of one stage has its own."""
    teacher: str | None = None
    """For method salt: a run, a checkpoint, or what `vsalt import` wrote, whose encoder is frozen
    and predicted; or hf:PATH, a folder of transformers or a name on its hub: VideoMAE, V-JEPA 2, or
    an image encoder (DINOv2, DINOv3, ViT-MAE, ViT, I-JEPA, CLIP, SigLIP)."""
    targets: Path | None = None
    """In the place of --teacher: what `vsalt cache-targets` wrote. The teacher is not run."""
    preset: Annotated[str, tyro.conf.arg(help=_PRESET_HELP)] = DEFAULT_PRESET
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """A TOML file with settings over those of the preset; flags go over both."""
    steps: int | None = None
    """Optimiser steps."""
    budget_flops: float | None = None
    """In the place of --steps: exact operations of the stage, a teacher's
    forward passes included."""
    clips: Count | None = None
    """In the place of --steps: training clips of the stage."""
    hours: float | None = None
    """In the place of --steps: hours of training of the stage, at --flops-per-second."""
    flops_per_second: float | None = None
    """Exact operations per second of the device, for the plan and --hours. Unset: --hours measures
    it by a few steps on random clips."""
    batch_size: int | None = None
    """Clips per step."""
    save_every: int | None = None
    """Steps between checkpoints."""
    masks: MaskName | None = None
    """Family of the masks; its own settings begin with --masks."""
    track: Literal["none", "tensorboard", "wandb"] = "none"
    """Show the records there, too: tensorboard in OUT/tensorboard, wandb by its own settings
    (WANDB_MODE=offline needs no account). Needs `pip install 'vsalt[tensorboard]'` or
    `'vsalt[track]'`."""
    dry_run: bool = False
    """Print what the run would do and cost, and stop."""
    config: Annotated[PretrainConfig, Flat]


@dataclass(frozen=True, kw_only=True)
class ResumeArgs:
    """Go on with a run that was stopped or killed; nothing about what it computes may change."""

    run: tyro.conf.Positional[Path]
    """The run folder of `vsalt salt` or `vsalt pretrain`."""
    track: Literal["none", "tensorboard", "wandb"] | None = None
    """Show the records there, too, from now on; unset: as before."""
    sharding: Literal["replicate", "shard"] | None = None
    """Of several processes: each holds the networks that are trained, or a part of them, this time;
    unset: as the run began."""


def salt(words: Sequence[str], prog: str) -> int:
    """Run the verb `salt`."""
    config = _defaults(_with_assistant(salt_preset(_preset(words)), words), words)
    _refuse_flags_of_no_assistant(config, words)
    _refuse_flags_of_one_stage(config, words)
    with ignore_problems():
        config = with_steps(
            config,
            option(words, "--steps"),
            _number(option(words, "--batch-size")),
            option(words, "--save-every"),
        )
        stages: dict[str, Any] = {
            name: _with_masks(getattr(config, name), words, f"--{name}.masks")
            for name in config.stages
        }
        config = replace(config, **stages)
    args = parse(SaltArgs, words, prog, incomplete(SaltArgs, config=config))
    config = from_dict(SaltRunConfig, to_dict(args.config))
    from vsalt.training.start import start_salt

    start_salt(
        args.out,
        with_absolute_sources(config),
        preset=args.preset,
        budget=budget_of(args, words, config.stages),
        track=args.track,
        dry_run=args.dry_run,
    )
    return 0


def pretrain(words: Sequence[str], prog: str) -> int:
    """Run the verb `pretrain`."""
    config = stage_defaults(words)
    with ignore_problems():
        stage = _with_lengths(
            config.stage,
            _number(option(words, "--steps")),
            _number(option(words, "--batch-size")),
            _number(option(words, "--save-every")),
        )
        config = replace(config, stage=_with_masks(stage, words, "--masks"))
    method = config.stage.method.name
    given = {"method": method} if is_one_stage(_preset(words)) else {}
    args = parse(PretrainArgs, words, prog, incomplete(PretrainArgs, config=config, **given))
    config = from_dict(PretrainConfig, to_dict(args.config))
    from vsalt.training.start import start_stage

    start_stage(
        args.out,
        with_absolute_sources(config),
        teacher=args.teacher,
        preset=args.preset,
        budget=budget_of(args, words),
        track=args.track,
        dry_run=args.dry_run,
        read_outside=read_outside,
        targets=args.targets,
    )
    return 0


def resume(words: Sequence[str], prog: str) -> int:
    """Run the verb `resume`."""
    args = parse(ResumeArgs, words, prog)
    from vsalt.training.start import resume_run

    resume_run(args.run, track=args.track, read_outside=read_outside, sharding=args.sharding)
    return 0


def _preset(words: Sequence[str]) -> str:
    return option(words, "--preset") or DEFAULT_PRESET


def stage_defaults(words: Sequence[str]) -> PretrainConfig:
    """Return a stage's settings as preset and --config give them.

    Raises:
        ConfigError: if the file is about another method.
    """
    config = _preset_of_stage(words)
    method = config.stage.method.name
    config = _defaults(config, words)
    if config.stage.method.name != method:
        raise ConfigError(
            [f"--method is {method}, but --config says {config.stage.method.name}; make them agree"]
        )
    return config


def _preset_of_stage(words: Sequence[str]) -> PretrainConfig:
    """Return the preset's stage; where a method is needed and missing, the parser asks for it."""
    name, method = _preset(words), option(words, "--method")
    return stage_preset(name, method if is_one_stage(name) else method or "pixel")


def _defaults(config: C, words: Sequence[str]) -> C:
    """Put the TOML file over the preset; sources on the command line replace those of the file."""
    path = option(words, "--config")
    if path is not None:
        config = read_toml(Path(path), config)
    if option(words, "--data") is not None or option(words, "--data.sources") is not None:
        config = replace(config, data=replace(config.data, sources=()))
    return config


def _with_assistant(config: SaltRunConfig, words: Sequence[str]) -> SaltRunConfig:
    """Add an assistant like the student where the TOML file has one and the preset has none."""
    path = option(words, "--config")
    if path is None or config.assistant or "assistant" not in load_toml(Path(path)):
        return config
    return replace(config, assistant=config.student)


def _refuse_flags_of_no_assistant(config: SaltRunConfig, words: Sequence[str]) -> None:
    flag = next((word.partition("=")[0] for word in words if word.startswith("--assistant")), None)
    if flag is not None and config.assistant is None:
        raise ConfigError([f"{flag}: this run has no assistant; {_GET_ASSISTANT}"])


def _refuse_flags_of_one_stage(config: SaltRunConfig, words: Sequence[str]) -> None:
    teacher = option(words, "--teacher")
    if teacher is not None:
        raise ConfigError(
            [
                "--teacher belongs to vsalt pretrain, since vsalt salt trains its own; give "
                f"vsalt pretrain --method salt --teacher {shlex.quote(teacher)}"
            ]
        )
    for flag in _flags(words, "--masks"):
        family = option(words, flag) if flag == "--masks" else None
        given = [
            f"--{stage}.{flag.removeprefix('--')}{f' {family}' if family else ''}"
            for stage in config.stages
        ]
        raise ConfigError([f"{flag} belongs to vsalt pretrain; give {' and '.join(given)}"])


def with_steps(
    config: SaltRunConfig,
    steps: str | None,
    batch_size: int | None = None,
    save_every: str | None = None,
) -> SaltRunConfig:
    """Return a config with other lengths, each given as N for all stages, or as T:S or T:A:S."""
    all_steps = _per_stage("--steps", steps, len(config.stages))
    all_saves = _per_stage("--save-every", save_every, len(config.stages))
    stages: dict[str, Any] = {
        name: _with_lengths(getattr(config, name), number, batch_size, save)
        for name, number, save in zip(config.stages, all_steps, all_saves, strict=True)
    }
    return replace(config, **stages)


def _per_stage(flag: str, text: str | None, num_stages: int) -> list[int | None]:
    """Read N, or one number for each stage."""
    if text is None:
        return [None] * num_stages
    parts = text.split(":")
    if len(parts) not in (1, num_stages) or not all(part.isdecimal() for part in parts):
        several = "two as T:S" if num_stages == 2 else "three as T:A:S"
        problem = f"{flag} is {text!r}; it must be a number of steps, or {several}"
        if num_stages == 2 and len(parts) == 3:
            problem += f". Three need an assistant: {_GET_ASSISTANT}"
        raise ConfigError([problem])
    return [int(part) for part in (parts * num_stages if len(parts) == 1 else parts)]


def _number(text: str | None) -> int | None:
    """Read a number; what is none is left to the parser, which says so."""
    return int(text) if text is not None and text.isdecimal() else None


def _with_lengths(
    stage: StageConfig, steps: int | None, batch_size: int | None, save_every: int | None
) -> StageConfig:
    loop = stage.loop if steps is None else stage.loop.with_steps(steps)
    if batch_size is not None:
        loop = replace(loop, batch_size=batch_size)
    if save_every is not None:
        loop = replace(loop, save_every=save_every)
    return replace(stage, loop=loop)


def _with_masks(stage: StageConfig, words: Sequence[str], flag: str) -> StageConfig:
    """Put the named family of masks, with its defaults, in the place of another family."""
    name = option(words, flag)
    if name not in (None, "None", stage.masks.name):
        if name not in MASKS:
            raise ConfigError([f"{flag} is {name!r}; there are {', '.join(MASKS)}"])
        stage = replace(stage, masks=MASKS[name]())
    _refuse_flags_of_other_masks(stage.masks, words, flag)
    return stage


def _refuse_flags_of_other_masks(masks: MaskConfig, words: Sequence[str], prefix: str) -> None:
    """Answer a setting of another family, which the parser knows nothing about."""
    problems = []
    for flag in _flags(words, f"{prefix}."):
        setting = flag.removeprefix(f"{prefix}.").partition(".")[0]
        name = setting.replace("-", "_")
        families = [
            family for family, kind in MASKS.items() if name in {item.name for item in fields(kind)}
        ]
        if families and masks.name not in families:
            problems.append(
                f"{flag}: {setting} is a setting of {', '.join(families)}, and the masks are "
                f"{masks.name}; give {prefix} {families[0]} as well"
            )
    if problems:
        raise ConfigError(problems)


def _flags(words: Sequence[str], prefix: str) -> list[str]:
    """Return the flags that begin with a prefix, without values."""
    return [flag for flag in flags_in(words) if flag.startswith(prefix)]


def with_absolute_sources(config: C) -> C:
    """Write sources as absolute paths, so that the run can be resumed from anywhere."""
    sources = tuple(
        source if is_url(source) else str(Path(source).absolute()) for source in config.data.sources
    )
    return replace(config, data=replace(config.data, sources=sources))
