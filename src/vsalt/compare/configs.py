"""From a cell to the configuration of its training: preset, settings, arm, choice, data, budget."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from vsalt.compare.cells import Cell, Choice
from vsalt.compare.spec import CompareSpec, Settings
from vsalt.config import PretrainConfig, SaltRunConfig, StageConfig, from_dict
from vsalt.errors import ConfigError, report_problems
from vsalt.presets import salt_preset
from vsalt.presets.arms import ARMS
from vsalt.training.budget import flops_of, with_flops
from vsalt.training.build import resolve, resolve_salt

Config: TypeAlias = SaltRunConfig | PretrainConfig
ENCODER_NUMBERS = ("width", "depth", "heads", "mlp_width")
"""Settings that override an encoder's size; predictors have them, too."""
STAGE_SETTINGS = ("method", "masks", "image_masks", "encoder", "predictor", "optim", "loop")


def base_config(spec: CompareSpec, student: str | None) -> SaltRunConfig:
    """Return the preset with the settings of all arms, and encoders of a size.

    Raises:
        ConfigError: for settings that there are not, or that are not allowed.
    """
    config = salt_preset(spec.preset)
    if student is not None:
        config = _of_size(config, student)
    changed = with_settings(config, spec.settings, "settings")
    assert isinstance(changed, SaltRunConfig)
    encoder = changed.student.encoder
    if student is not None and all(getattr(encoder, part) for part in ENCODER_NUMBERS):
        report_problems(
            [
                f"settings give the encoder's {', '.join(ENCODER_NUMBERS)}, so that students = "
                f'["{student}"] would change nothing; leave one of the two out'
            ]
        )
    return changed


def _of_size(config: SaltRunConfig, size: str) -> SaltRunConfig:
    """Give every stage an encoder of a size, with the predictor that goes with it."""
    numbers: dict[str, Any] = dict.fromkeys(ENCODER_NUMBERS)
    stages: dict[str, Any] = {}
    for name in config.stages:
        stage: StageConfig = getattr(config, name)
        encoder = replace(stage.encoder, size=size, **numbers)  # type: ignore[arg-type]
        predictor = replace(stage.predictor, **numbers)
        stages[name] = replace(stage, encoder=encoder, predictor=predictor)
    return replace(config, **stages)


def with_settings(config: Config, settings: Settings, where: str) -> Config:
    """Put settings over a configuration; those of a stage, without its name, are of all stages.

    Args:
        config: of a run or a stage.
        settings: as in the file of --config.
        where: how messages call them.

    Raises:
        ConfigError: with every mistake.
    """
    given = {name.replace("-", "_"): value for name, value in settings.items()}
    shared = {name: given.pop(name) for name in STAGE_SETTINGS if name in given}
    stages = config.stages if isinstance(config, SaltRunConfig) else ("stage",)
    tree: dict[str, Any] = dict(given)
    for name in stages:
        if shared:
            tree[name] = _merged(shared, given.get(name, {}))
    try:
        changed = from_dict(type(config), tree, base=config)
        report_problems(
            [problem for name in stages for problem in _idle_size(tree, name, config, changed)]
        )
    except ConfigError as error:
        raise ConfigError([f"{where}: {problem}" for problem in error.problems]) from error
    return changed


def _idle_size(tree: Settings, name: str, before: Config, after: Config) -> list[str]:
    """Tell of another size of an encoder that is given and plays no role.

    Presets of small networks have numbers in its place, and a run that keeps them would be taken
    for one of another size.
    """
    encoder = tree.get(name, {}).get("encoder", {})
    old, new = getattr(before, name).encoder, getattr(after, name).encoder
    numbers = {part: getattr(new, part) for part in ENCODER_NUMBERS}
    if old.size == new.size or None in numbers.values() or encoder.keys() & numbers.keys():
        return []
    given = ", ".join(f"{part} = {value}" for part, value in numbers.items())
    return [
        f"{name}.encoder.size is {new.size!r}, which changes nothing, since these are set: "
        f"{given}; give them in its place"
    ]


def _merged(under: Mapping[str, Any], over: Any) -> dict[str, Any]:
    """Return nested tables put over others."""
    result = dict(under)
    for name, value in over.items():
        inner = result.get(name)
        both = isinstance(inner, dict) and isinstance(value, dict)
        result[name] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return result


def arm_config(spec: CompareSpec, arm: str, student: str | None, choice: Choice) -> Config:
    """Return an arm's configuration before it has a budget, a seed and data.

    Raises:
        ConfigError: for settings that there are not, or that are not allowed.
    """
    config: Config = ARMS[spec.base_of(arm)](base_config(spec, student))
    own = spec.arm.get(arm)
    if own is not None:
        config = with_settings(config, own.settings, f"arm.{arm}.settings")
    return with_choice(config, choice)


def with_choice(config: Config, choice: Choice) -> Config:
    """Multiply all learning rates by the choice's factor, and set the momentum of an average."""
    if isinstance(config, PretrainConfig):
        return replace(config, stage=_chosen(config.stage, choice))
    stages: dict[str, Any] = {
        name: _chosen(getattr(config, name), choice) for name in config.stages
    }
    return replace(config, **stages)


def _chosen(stage: StageConfig, choice: Choice) -> StageConfig:
    optim = stage.optim
    rates = {name: getattr(optim, name) * choice.lr for name in ("lr", "lr_start", "lr_final")}
    stage = replace(stage, optim=replace(optim, **rates))
    if choice.momentum is not None and has_momentum(stage):
        momentum: Any = {"momentum": choice.momentum}
        stage = replace(stage, method=replace(stage.method, **momentum))
    return stage


def has_momentum(stage: StageConfig) -> bool:
    """Whether a stage's method has a moving average."""
    return hasattr(stage.method, "momentum")


def last_stage(config: Config) -> StageConfig:
    """Return the stage whose encoder is kept."""
    return config.stage if isinstance(config, PretrainConfig) else config.student


def cell_config(spec: CompareSpec, cell: Cell, source: str) -> Config:
    """Return the resolved configuration of a cell's training.

    Args:
        spec: the comparison.
        cell: one that is trained.
        source: the manifest that it is trained on.

    Raises:
        ConfigError: if settings are wrong, or the budget is too small.
    """
    assert cell.budget is not None
    assert cell.seed is not None
    config = arm_config(spec, cell.arm, cell.student, cell.choice)
    data = replace(config.data, sources=(source,), **_columns(spec, cell))
    config = replace(config, seed=cell.seed, data=data)
    shares = _shares(spec, cell.arm, config)
    if isinstance(config, SaltRunConfig):
        config = with_flops(config, cell.budget, shares=shares)
    else:
        config = with_flops(config, cell.budget)
    if cell.variant is not None:
        config = _varied(spec, cell, config)
    config = _lean(config)
    return resolve(config) if isinstance(config, PretrainConfig) else resolve_salt(config)


def _columns(spec: CompareSpec, cell: Cell) -> dict[str, Any]:
    """Return how the columns of the cell's manifest are called, and no flips where they matter."""
    data = spec.data_set(cell.data)
    # Left and right are classes of synthetic sets.
    flips = {"flip": 0.0} if data.synth is not None else {}
    return {
        "label_column": data.label_column,
        "group_column": data.training_group_column,
        "split_column": "split",
        "use_test": False,
        **flips,
    }


def _shares(spec: CompareSpec, arm: str, config: Config) -> tuple[float, ...] | None:
    """Return every stage's share of the FLOPs; None: as the preset has them.

    Raises:
        ConfigError: if an arm has a share of its own and does not train two stages.
    """
    own = spec.arm[arm].teacher_share if arm in spec.arm else None
    two = (
        isinstance(config, SaltRunConfig)
        and len(config.stages) == 2
        and config.teacher.loop.steps > 0
    )
    if own is not None and not two:
        report_problems([f"arm.{arm}.teacher_share: {arm} does not train two stages"])
    share = spec.share_of(arm)
    return None if share is None or not two else (share, 1 - share)


def _varied(spec: CompareSpec, cell: Cell, config: Config) -> Config:
    """Put a variant of the model selection over the stage that it changes."""
    assert spec.selection is not None
    assert cell.stage is not None
    variants = {variant.name: variant for variant in getattr(spec.selection, cell.stage)}
    assert cell.variant is not None
    settings = variants[cell.variant].settings
    where = f"selection.{cell.stage} {cell.variant}"
    name = "stage"
    if isinstance(config, SaltRunConfig):
        name = config.stages[0] if cell.stage == "teachers" else config.stages[-1]
    varied = with_settings(config, {name: settings}, where)
    steps = last_stage(config).loop.end
    if last_stage(varied).loop.end != steps:
        report_problems(
            [
                f"{where}: {name}.loop would make it another number of steps than {steps}; runs of "
                "a selection have equal steps, or their losses cannot be compared"
            ]
        )
    return varied


def _lean(config: Config) -> Config:
    """Keep one checkpoint beside the best: there are many trainings."""

    def lean(stage: StageConfig) -> StageConfig:
        return replace(stage, loop=replace(stage.loop, keep_last=1))

    if isinstance(config, PretrainConfig):
        return replace(config, stage=lean(config.stage))
    stages: dict[str, Any] = {name: lean(getattr(config, name)) for name in config.stages}
    return replace(config, **stages)


def check_arms(spec: CompareSpec) -> None:
    """Put every arm together once, and check its shares, so that mistakes are told before anything.

    Raises:
        ConfigError: with the mistakes of all arms.
    """
    problems: list[str] = []
    trained = dict.fromkeys((*spec.trained_arms, *(spec.selection.arms if spec.selection else ())))
    for arm in trained:
        for student in spec.students or (None,):
            try:
                _shares(spec, arm, arm_config(spec, arm, student, Choice()))
            except ConfigError as error:
                problems += [text for text in error.problems if text not in problems]
    for arm in spec.arm:
        if arm not in trained:
            problems.append(f"arm.{arm}: {arm} is not among the arms that are trained")
    report_problems(problems)


__all__ = [
    "Config",
    "arm_config",
    "base_config",
    "cell_config",
    "check_arms",
    "flops_of",
    "has_momentum",
    "last_stage",
    "with_choice",
    "with_settings",
]
