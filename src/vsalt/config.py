"""The configuration of a stage and of a whole SALT run, composed of the packages' own configs.

All of it is frozen dataclasses of plain values, checked when built. `to_dict` and `from_dict`
are exact inverses; `from_dict` refuses unknown keys and names the nearest known one.
"""

import dataclasses
import difflib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from vsalt.data.config import ClipConfig, DataConfig, Shape
from vsalt.errors import ConfigError, collect_problems, report_problems
from vsalt.masking.config import MaskConfig, MultiblockConfig
from vsalt.models.config import EncoderConfig, PredictorConfig, grid_of
from vsalt.objectives.config import METHODS, MethodConfig, PixelConfig, SaltConfig
from vsalt.training.config import DeviceConfig, LoopConfig, OptimConfig

T = TypeVar("T")
StageName = Literal["teacher", "assistant", "student"]
STAGES: tuple[StageName, ...] = ("teacher", "assistant", "student")
"""The stages of a SALT run in their order; few runs have an assistant."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What may differ between the stages of a run."""

    method: MethodConfig = field(default_factory=PixelConfig)
    """What is learned, and its own settings."""
    masks: MaskConfig = field(default_factory=MultiblockConfig)
    """Which tokens are seen and which are predicted."""
    image_masks: Annotated[MaskConfig | None, tyro.conf.Suppress] = None
    """The same for images, clips of one time step; in --config only. Unset: as `masks`, with the
    numbers of tokens that this grid allows; None where there are no images."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The network that is kept."""
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    """The network that is thrown away (in pixel stages: the decoder)."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimiser and schedules."""
    still_frames: bool = False
    """Train on single frames: one frame of a clip, drawn at random, in the place of all."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """Length, batch and checkpoints."""

    def masks_of(self, shape: Shape) -> MaskConfig:
        """Return the masks of a shape; those of images must be resolved."""
        if shape == "video":
            return self.masks
        assert self.image_masks is not None, "resolve the masks of images first"
        return self.image_masks


@dataclass(frozen=True, kw_only=True)
class SharedConfig:
    """What all stages of a run have in common."""

    seed: int = 0
    """All randomness of a run is a function of the seed, the step and the place in the batch."""
    clip: ClipConfig = field(default_factory=ClipConfig)
    """What a clip is."""
    data: DataConfig = field(default_factory=DataConfig)
    """Where clips come from."""
    device: DeviceConfig = field(default_factory=DeviceConfig)
    """Where the networks run."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(SharedConfig):
    """One stage."""

    stage: Annotated[StageConfig, tyro.conf.arg(name="")] = field(default_factory=StageConfig)
    """The stage."""
    init_seed: int | None = None
    """Seed of the initial weights alone; unset: `seed`."""

    def __post_init__(self) -> None:
        """Check what the sections say together."""
        report_problems(_clip_problems(self.clip, self.stage.encoder, "encoder"))


@dataclass(frozen=True, kw_only=True)
class SaltRunConfig(SharedConfig):
    """All stages of SALT; from the second on, each learns from the one before it, frozen."""

    teacher: StageConfig = field(default_factory=StageConfig)
    """Stage 1: pixels."""
    assistant: StageConfig | None = None
    """Between the two, if given: learns from the frozen teacher, and is frozen for the student."""
    student: StageConfig = field(default_factory=lambda: StageConfig(method=SaltConfig()))
    """Last stage: the latents of the stage before it, frozen."""

    def __post_init__(self) -> None:
        """Check what the sections say together."""
        problems = []
        tubelet = self.teacher.encoder.tubelet
        for name in self.stages:
            stage: StageConfig = getattr(self, name)
            problems += _clip_problems(self.clip, stage.encoder, f"{name}.encoder")
            if stage.encoder.tubelet != tubelet:
                problems.append(
                    f"teacher.encoder.tubelet is {tubelet}, "
                    f"{name}.encoder.tubelet {stage.encoder.tubelet}; they must agree"
                )
            problems += _method_problems(name, stage.method)
        report_problems(problems)

    @property
    def stages(self) -> tuple[StageName, ...]:
        """Names of the stages, in their order."""
        return tuple(name for name in STAGES if getattr(self, name) is not None)

    def stage(self, name: StageName) -> PretrainConfig:
        """Return one stage as a run of its own.

        An assistant gets initial weights of another seed; by that of the run it would begin as the
        student does, and the student would learn from a network that shares its own start.
        """
        shared = {item.name: getattr(self, item.name) for item in dataclasses.fields(SharedConfig)}
        return PretrainConfig(
            **shared,
            stage=getattr(self, name),
            init_seed=self.seed + 1 if name == "assistant" else None,
        )


def resolve_stage(stage: StageConfig) -> StageConfig:
    """Return a stage with every number written out, mask budgets excepted (they need the grid)."""
    return replace(
        stage,
        encoder=stage.encoder.resolved(),
        predictor=stage.predictor.resolved(stage.encoder.size, stage.encoder.positions),
        optim=stage.optim.resolved(stage.loop.steps, stage.loop.batch_size),
        loop=stage.loop.resolved(),
    )


def clip_grid(clip: ClipConfig, stage: StageConfig, shape: Shape) -> tuple[int, int, int]:
    """Return the size of a clip in tokens; a clip of an image has one time step."""
    times, height, width = grid_of(clip.num_frames, clip.size, stage.encoder.tubelet)
    return (times if shape == "video" else 1, height, width)


def group_problems(stage: StageConfig, prefix: str = "") -> list[str]:
    """What is wrong with a resolved stage whose clips are masked in groups (`batch_min`).

    The numbers of tokens differ from group to group, so a micro-batch must be one group.
    """
    masks, micro = stage.masks, stage.loop.micro_batch_size
    if masks.name != "multiblock" or masks.policy != "batch_min" or micro == masks.group_size:
        return []
    size = masks.group_size
    multiple = -(-stage.loop.batch_size // size) * size
    problem = (
        f"{prefix}masks.group-size is {size}, {prefix}loop.micro-batch-size {micro}; with "
        f"--{prefix}masks.policy batch_min they must agree: give "
        f"--{prefix}loop.micro-batch-size {size}"
    )
    if multiple != stage.loop.batch_size:
        problem += f" and a --batch-size that is a multiple of it, such as {multiple}"
    return [f"{problem}, or another --{prefix}masks.group-size"]


def repeat_problems(stage: StageConfig, repeats: int, prefix: str = "") -> list[str]:
    """What is wrong with a resolved stage whose decoded clips are used several times.

    A worker decodes a micro-batch, so all views of a clip must lie in the same one.
    """
    micro = stage.loop.micro_batch_size
    assert micro is not None, "resolve the stage first"
    if micro % repeats == 0:
        return []
    higher = -(-micro // repeats) * repeats
    setting = f"--{prefix}loop.micro-batch-size"
    if micro == stage.loop.batch_size:
        setting = "--batch-size"
    return [
        f"data.repeats is {repeats}, {prefix}loop.micro-batch-size {micro}; all views of a decoded "
        f"clip are in one micro-batch, so it must be a multiple of {repeats}: give {setting} "
        f"{higher}, or another --data.repeats"
    ]


def _clip_problems(clip: ClipConfig, encoder: EncoderConfig, name: str) -> list[str]:
    try:
        grid_of(clip.num_frames, clip.size, encoder.tubelet, flag=f"--{name}.tubelet")
    except ConfigError as error:
        return error.problems
    return []


def _method_problems(name: StageName, method: MethodConfig) -> list[str]:
    """The first stage has no teacher to learn from, and all others must have one."""
    first = name == STAGES[0]
    if method.name in METHODS and method.needs_teacher != first:
        return []
    allowed = " or ".join(key for key, kind in METHODS.items() if kind.needs_teacher != first)
    if first and method.needs_teacher:
        return [f"{name}.method is {method.name}, which needs a teacher itself; use {allowed}"]
    return [f"{name}.method is {method.name}; it must be {allowed}"]


def to_dict(config: object) -> dict[str, Any]:
    """Return a config as nested dicts, lists, strings, numbers, booleans and None."""
    return {
        item.name: _plain(getattr(config, item.name))
        for item in dataclasses.fields(config)  # type: ignore[arg-type]
    }


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def from_dict(cls: type[T], values: dict[str, Any], *, base: T | None = None) -> T:
    """Build a config from nested dicts; with `base`, keys that are not given keep its values.

    Raises:
        ConfigError: for unknown keys, values of the wrong type and settings that are not allowed,
            all in one.
    """
    problems: list[str] = []
    with collect_problems():
        config = _build(cls, values, base, "", problems)
        report_problems(problems)
    assert isinstance(config, cls)
    return config


def _build(cls: type, values: object, base: object, path: str, problems: list[str]) -> object:
    if not isinstance(values, dict):
        problems.append(f"{path.rstrip('.')} must be a table of settings, not {values!r}")
        return base if base is not None else cls()
    hints = get_type_hints(cls)
    known = [item.name for item in dataclasses.fields(cls)]
    arguments: dict[str, object] = {}
    if base is not None:
        arguments = {name: getattr(base, name) for name in known}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {path}{near[0]}?" if near else f"known: {', '.join(known)}"
            problems.append(f"{path}{key} is not a setting; {hint}")
            continue
        converted = _convert(hints[name], value, arguments.get(name), f"{path}{name}", problems)
        if converted is not _WRONG:
            arguments[name] = converted
    try:
        return cls(**arguments)
    except TypeError as error:
        problems.append(f"{path.rstrip('.') or 'the config'}: {error}")
        return base


_WRONG = object()


def _convert(hint: Any, value: object, base: object, path: str, problems: list[str]) -> object:
    """Return the value as the annotated type, or note the problem and return `_WRONG`."""
    origin, options = get_origin(hint), get_args(hint)
    if origin is Union or origin is types.UnionType:
        return _convert_union(options, value, base, path, problems)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, base, f"{path}.", problems)
    if origin is Literal:
        if value in options:
            return value
        problems.append(f"{path} is {value!r}; allowed: {', '.join(map(str, options))}")
        return _WRONG
    if origin is tuple:
        return _convert_tuple(options, value, path, problems)
    if origin is Mapping:
        return _convert_table(options[1], value, path, problems)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    problems.append(f"{path} is {value!r}; it must be of type {hint.__name__}")
    return _WRONG


def _convert_union(
    options: tuple[Any, ...], value: object, base: object, path: str, problems: list[str]
) -> object:
    if value is None and type(None) in options:
        return None
    rest = [option for option in options if option is not type(None)]
    if len(rest) == 1:
        return _convert(rest[0], value, base, path, problems)
    by_name = {option.__dataclass_fields__["name"].default: option for option in rest}
    name = value.get("name", getattr(base, "name", None)) if isinstance(value, dict) else None
    if name not in by_name:
        problems.append(f"{path}.name is {name!r}; allowed: {', '.join(by_name)}")
        return _WRONG
    same = base if isinstance(base, by_name[name]) else None
    return _build(by_name[name], value, same, f"{path}.", problems)


def _convert_table(hint: Any, value: object, path: str, problems: list[str]) -> object:
    """Return a table whose keys may be any; of `Any` the values are taken as they are."""
    if not isinstance(value, dict):
        problems.append(f"{path} is {value!r}; it must be a table")
        return _WRONG
    if hint is Any:
        return value
    items = {
        key: _convert(hint, item, None, f"{path}.{key}", problems) for key, item in value.items()
    }
    return _WRONG if _WRONG in items.values() else items


def _convert_tuple(
    options: tuple[Any, ...], value: object, path: str, problems: list[str]
) -> object:
    if not isinstance(value, list | tuple):
        table = isinstance(value, dict) and dataclasses.is_dataclass(options[0])
        given = f"a table; begin it with [[{path}]]" if table else f"{value!r}; it must be a list"
        problems.append(f"{path} is {given}")
        return _WRONG
    if options[-1] is Ellipsis:
        options = (options[0],) * len(value)
    if len(options) != len(value):
        problems.append(f"{path} has {len(value)} entries; it must have {len(options)}")
        return _WRONG
    items = [
        _convert(option, item, None, f"{path}[{index}]", problems)
        for index, (option, item) in enumerate(zip(options, value, strict=True))
    ]
    return _WRONG if _WRONG in items else tuple(items)


__all__ = [
    "STAGES",
    "ConfigError",
    "PretrainConfig",
    "SaltRunConfig",
    "SharedConfig",
    "StageConfig",
    "StageName",
    "clip_grid",
    "from_dict",
    "group_problems",
    "repeat_problems",
    "resolve_stage",
    "to_dict",
]
