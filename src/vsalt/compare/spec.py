"""What a comparison is: the settings of `vsalt compare`, read strictly from a TOML file.

Everything is a frozen dataclass of plain values. Tables called settings, which hold settings of
trainings, stay nested dicts here; `vsalt.compare.configs` puts them over the preset, strictly too.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from vsalt.config import from_dict
from vsalt.data.synthetic_config import TEST_EVERY, SynthConfig
from vsalt.data.urls import is_url
from vsalt.errors import ConfigError, report_problems
from vsalt.evaluation.attentive_config import AttentiveConfig
from vsalt.models.config import SizeName
from vsalt.presets.arms import ARMS

RANDOM_INIT = "random-init"
"""The arm that nobody trains."""
NO_GROUPS = "none"
EMPTY = " is empty; give at least one"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
Settings: TypeAlias = Mapping[str, Any]
"""Nested settings, as in the file of --config."""


@dataclass(frozen=True, kw_only=True)
class SynthSet(SynthConfig):
    """A synthetic set that is made for the comparison; options as of `vsalt data synth`."""

    num_clips: int = 640
    """Number of clips."""
    seed: int = 0
    """The same seed gives the same files."""
    size: int = 64
    """Height and width in pixels."""
    num_frames: int = 24
    """Frames per clip."""
    fps: int = 12
    """Frames per second."""
    test_every: int = TEST_EVERY
    """Every n-th scene is of the test split."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """One data set."""

    name: str = ""
    """What it is called in results: letters, digits, _ and -."""
    sources: tuple[str, ...] = ()
    """Folders of videos or manifests, beside the specification or absolute."""
    synth: SynthSet | None = None
    """Or: a synthetic set, made in DIR/data."""
    label_column: str = "label"
    """Column of the class."""
    group_column: str = "group"
    """Column of groups (people, scenes): resampled together, and torn apart by nothing but the
    column of splits or folds. none: every row stands alone."""
    split_column: str = "split"
    """Column that says train or test; not used with `folds`."""
    folds: str | None = None
    """Column of folds: one training per fold, which never sees that fold's clips; the predictions
    of all folds are scored together."""
    trained_on: str | None = None
    """Name of another data set: its encoders are scored here, too, and nothing is trained on this
    one but probes. With `folds` there is a probe per fold."""

    def __post_init__(self) -> None:
        """Check the settings."""
        where = f"data {self.name or '(without name)'}"
        problems = []
        if not NAME.fullmatch(self.name):
            problems.append(f"data.name is {self.name!r}; it must be letters, digits, _ and -")
        if bool(self.sources) == (self.synth is not None):
            problems.append(f"{where}: give either sources or a table synth")
        for url in filter(is_url, self.sources):
            problems.append(
                f"{where}: the source {url} is a URL, and a comparison's manifests lie on this "
                "machine; copy the manifest here, with URLs in its column path"
            )
        report_problems(problems)

    @property
    def trained_name(self) -> str:
        """Name of the data set that encoders are trained on which are scored here."""
        return self.trained_on or self.name

    @property
    def training_group_column(self) -> str:
        """The column of groups as trainings take it; they have no word for none."""
        return "group" if self.group_column == NO_GROUPS else self.group_column


@dataclass(frozen=True, kw_only=True)
class ProbeSpec:
    """The probe that scores every encoder."""

    kind: Literal["linear", "knn", "attentive", "attentive-1"] = "linear"
    """As of `vsalt probe fit`."""
    pooling: Literal["mean", "mean_space"] = "mean"
    """mean: over all tokens. mean_space: over space, with the time steps side by side."""
    segments: int = 1
    """Windows per row, over whose features the mean is taken; for linear and knn."""
    layers: tuple[int, ...] = (-1,)
    """Encoder blocks whose pooled outputs are put side by side; for linear and knn."""
    batch_size: int = 32
    """Clips that are encoded at once."""
    workers: int = 1
    """Processes that decode."""
    floors: bool = True
    """Score raw pixels and frame differences, too; for linear and knn."""
    skip_bad: bool = False
    """Leave out videos that cannot be read."""
    attentive: AttentiveConfig = field(default_factory=AttentiveConfig)
    """For the attentive kinds."""


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """The same small search for every arm, at the smallest budget and the first seed."""

    lr: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Factors of the arm's own learning rates."""
    momentum: tuple[float, ...] = (0.996, 0.9995)
    """Momenta at the start, for arms with a moving average; each with each learning rate."""
    share: float = 0.2
    """Share of the labelled training rows, whole groups, that candidates are compared on. No
    training and no probe of the sweep learns from them."""
    every_fold: bool = False
    """Search anew for every fold. Otherwise the first fold's training rows choose for all."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = [
            f"sweep.{name} is {list(values)}; it must name at least one, each once"
            for name, values in (("lr", self.lr), ("momentum", self.momentum))
            if not values or len(set(values)) < len(values)
        ]
        if not all(factor > 0 for factor in self.lr):
            problems.append(f"sweep.lr is {list(self.lr)}; all factors must be above 0")
        if not 0 < self.share < 1:
            problems.append(f"sweep.share is {self.share}; it must be between 0 and 1")
        report_problems(problems)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One run of the model selection: settings over those of its arm."""

    name: str = ""
    """What it is called."""
    settings: Settings = field(default_factory=dict)
    """Settings of the stage that varies."""


@dataclass(frozen=True, kw_only=True)
class SelectionSpec:
    """Does the loss tell which run is best? Runs of equal steps that differ in their settings."""

    budget: float | None = None
    """FLOPs of the run without changes, whose numbers of steps all runs have; unset: the smallest
    budget."""
    data: str | None = None
    """Name of the data set; unset: the first. Of folds, the first one is used."""
    arms: tuple[str, ...] = ("salt", "vjepa")
    """The arm whose students are compared, and others as contrast."""
    runs: tuple[Variant, ...] = ()
    """Changes of the last stage; all stages before it are the same."""
    teachers: tuple[Variant, ...] = ()
    """Changes of the first stage, with a student that stays as it is; for arms with a teacher."""


@dataclass(frozen=True, kw_only=True)
class ArmSpec:
    """What one arm has for itself."""

    base: str | None = None
    """For an arm of a name of one's own, such as a teacher of another size: the arm that it is,
    before these settings."""
    teacher_share: float | None = None
    """Of two stages, the first one's share of the FLOPs."""
    settings: Settings = field(default_factory=dict)
    """Settings over those of the arm."""


@dataclass(frozen=True, kw_only=True)
class CompareSpec:
    """A comparison of arms at matched FLOPs."""

    preset: str = "tiny-cpu"
    """Where the settings of all arms come from."""
    arms: tuple[str, ...] = (RANDOM_INIT, "pixel", "salt")
    """What is compared."""
    reference: str = "salt"
    """The arm that all others are subtracted from."""
    budgets: tuple[float, ...] = ()
    """Exact FLOPs of a cell: all stages, the teacher's forward passes included."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of trainings."""
    students: tuple[SizeName, ...] = ()
    """Sizes of the encoders; unset: the preset's."""
    teacher_share: float | None = None
    """Of arms with two stages, the first one's share of the FLOPs, as nearly as whole steps allow;
    unset: the preset's."""
    data: tuple[DataSpec, ...] = ()
    """Data sets."""
    probe: ProbeSpec = field(default_factory=ProbeSpec)
    """How encoders are scored."""
    sweep: SweepSpec | None = None
    """The search before the comparison; none without this table."""
    selection: SelectionSpec | None = None
    """The check of model selection by the loss; none without this table."""
    settings: Settings = field(default_factory=dict)
    """Settings over the preset, of all arms; those of a stage alone are of all stages."""
    arm: Mapping[str, ArmSpec] = field(default_factory=dict)
    """What single arms have for themselves."""

    def __post_init__(self) -> None:
        """Check the settings."""
        report_problems([*_list_problems(self), *_reference_problems(self)])

    @property
    def trained_arms(self) -> tuple[str, ...]:
        """The arms that are trained."""
        return tuple(arm for arm in self.arms if arm != RANDOM_INIT)

    @property
    def trained_data(self) -> tuple[DataSpec, ...]:
        """The data sets that encoders are trained on."""
        return tuple(data for data in self.data if data.trained_on is None)

    def base_of(self, arm: str) -> str:
        """Return the arm that an arm's settings are put over; itself, unless it has a base."""
        own = self.arm.get(arm)
        return own.base if own is not None and own.base is not None else arm

    def share_of(self, arm: str) -> float | None:
        """Return what share of the FLOPs an arm's first stage is to have; None: as its preset."""
        own = self.arm[arm].teacher_share if arm in self.arm else None
        return self.teacher_share if own is None else own

    def data_set(self, name: str) -> DataSpec:
        """Return the data set of a name."""
        return next(data for data in self.data if data.name == name)


def _list_problems(spec: CompareSpec) -> list[str]:
    """What is wrong with the lists that make the matrix."""
    problems = []
    for name in ("arms", "budgets", "seeds", "data"):
        if not getattr(spec, name):
            problems.append(f"{name}{EMPTY}")
    labels: dict[str, Iterable[object]] = {
        "arms": spec.arms,
        # As they stand in the names of cells.
        "budgets": [f"{budget:.6g}" for budget in spec.budgets],
        "seeds": spec.seeds,
        "students": spec.students,
        "names of data": [data.name for data in spec.data],
    }
    for name, values in labels.items():
        twice = [str(value) for value, times in Counter(values).items() if times > 1]
        if twice:
            problems.append(f"{name}: {', '.join(twice)} is given twice")
    known = (RANDOM_INIT, *ARMS, *_own_arms(spec))
    for arm in dict.fromkeys((*spec.arms, *spec.arm)):
        if arm not in known:
            problems.append(
                f"there is no arm {arm!r}; there are {', '.join(known)}, and those that a table "
                f"[arm.{arm}] with a base makes"
            )
    problems += _base_problems(spec)
    if not all(budget >= 1 for budget in spec.budgets):
        problems.append(f"budgets are {list(spec.budgets)}; all must be at least 1 FLOP")
    shares = {"teacher_share": spec.teacher_share}
    shares |= {f"arm.{name}.teacher_share": arm.teacher_share for name, arm in spec.arm.items()}
    problems += [
        f"{name} is {share}; it must be between 0 and 1"
        for name, share in shares.items()
        if share is not None and not 0 < share < 1
    ]
    return problems


def _own_arms(spec: CompareSpec) -> list[str]:
    """Names of the arms that the specification makes."""
    return [name for name, own in spec.arm.items() if own.base is not None]


def _base_problems(spec: CompareSpec) -> list[str]:
    """What is wrong with arms that the specification makes."""
    problems = []
    for name in _own_arms(spec):
        base = spec.arm[name].base
        if base not in ARMS:
            problems.append(f"arm.{name}.base is {base!r}; there are {', '.join(ARMS)}")
        if name in (RANDOM_INIT, *ARMS) or not NAME.fullmatch(name):
            problems.append(
                f"arm.{name}: an arm with a base needs a name of its own, of letters, digits, _ "
                "and -, that no other arm has"
            )
    return problems


def _reference_problems(spec: CompareSpec) -> list[str]:
    """What is named elsewhere in the specification, and is not there."""
    problems = _transfer_problems(spec)
    if spec.arms and spec.reference not in spec.arms:
        problems.append(f"reference is {spec.reference}; the arms are {', '.join(spec.arms)}")
    selection = spec.selection
    if selection is None:
        return problems
    names = [data.name for data in spec.data if data.trained_on is None]
    if selection.data is not None and selection.data not in names:
        problems.append(f"selection.data is {selection.data!r}; there are {', '.join(names)}")
    trained = (*ARMS, *_own_arms(spec))
    problems += [
        f"selection.arms: there is no arm {arm!r} to train; there are {', '.join(trained)}"
        for arm in selection.arms
        if arm not in trained
    ]
    for what, variants in (("runs", selection.runs), ("teachers", selection.teachers)):
        given = [variant.name for variant in variants]
        if not all(map(NAME.fullmatch, given)) or len(set(given)) < len(given):
            problems.append(
                f"selection.{what}: each needs a name of its own, of letters and digits"
            )
    if len(selection.runs) < 3:
        problems.append(
            f"selection.runs has {len(selection.runs)} entries; a correlation needs at least 3, "
            "and says little below 8"
        )
    return problems


def _transfer_problems(spec: CompareSpec) -> list[str]:
    """What is wrong with data sets that are only scored."""
    trained = [data.name for data in spec.data if data.trained_on is None and data.folds is None]
    problems = [
        f"data {data.name}: trained_on is {data.trained_on!r}; it must be a data set that is "
        f"trained on, without folds: {', '.join(trained) or 'there is none'}"
        for data in spec.data
        if data.trained_on is not None and data.trained_on not in trained
    ]
    if spec.data and all(data.trained_on is not None for data in spec.data):
        problems.append("every data set has trained_on; one must be trained on")
    return problems


def read_spec(values: dict[str, Any], folder: Path) -> CompareSpec:
    """Return the comparison that a TOML file says.

    Args:
        values: of the file.
        folder: of the file, which relative sources are relative to.

    Raises:
        ConfigError: with every mistake.
    """
    report_problems(_both_divisions(values))
    try:
        spec = from_dict(CompareSpec, values)
    except ConfigError as error:
        raise ConfigError(_without_echoes(error.problems)) from error
    data = tuple(
        replace(one, sources=tuple(str((folder / source).absolute()) for source in one.sources))
        for one in spec.data
    )
    return replace(spec, data=data)


def _both_divisions(values: dict[str, Any]) -> list[str]:
    """What of the data sets is divided by two columns, of which one would play no role."""
    tables = values.get("data")
    return [
        f"data {table.get('name')}: folds and split_column are both given; give one of them"
        for table in (tables if isinstance(tables, list) else ())
        if isinstance(table, dict) and {"folds", "split_column"} <= table.keys()
    ]


def _without_echoes(problems: list[str]) -> list[str]:
    """Leave out that a list is empty where its value was of another kind."""
    wrong = {text.partition(" is ")[0] for text in problems if not text.endswith(EMPTY)}
    return [text for text in problems if not (text.endswith(EMPTY) and text.split()[0] in wrong)]
