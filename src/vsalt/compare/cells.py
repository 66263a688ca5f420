"""The matrix as plain data: which trainings and probes a comparison is made of.

A cell is one arm with one student size, budget, seed, data set and fold. Encoders that nobody
trains stand once per seed, floors once per data set. Cells of the sweep and of the model selection
have the same form and a purpose of their own.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from vsalt.compare.spec import RANDOM_INIT, CompareSpec, DataSpec

FloorName = Literal["raw_pixels", "frame_difference"]
Purpose = Literal["compare", "sweep", "selection"]
FLOORS: tuple[FloorName, ...] = ("raw_pixels", "frame_difference")
"""Floors are arms without seed, size and budget."""
Folds = Mapping[str, Sequence[str | None]]
"""Of each data set its folds; [None] without folds."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the sweep has chosen for an arm.

    Attributes:
        lr: factor of all learning rates.
        momentum: of a moving average at the start; None where there is none, or it stays.
    """

    lr: float = 1.0
    momentum: float | None = None

    def __str__(self) -> str:
        """Return it in a few letters, as it stands in names of cells."""
        end = "" if self.momentum is None else f"-momentum{self.momentum:g}"
        return f"lr{self.lr:g}{end}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One result.

    Attributes:
        data: name of the data set.
        fold: that is tested; None without folds.
        arm: what is trained, `random-init`, or a floor.
        student: size of the encoder; None: the preset's.
        budget: FLOPs of all stages; None where nothing is trained.
        seed: of the training, or of the random weights; None of floors.
        purpose: compare, or a part of the sweep or of the model selection.
        choice: learning rates and momentum; of the comparison those that the sweep found.
        stage: of the model selection, the stage that its variant changes: runs or teachers.
        variant: name of that change.
    """

    data: str
    fold: str | None = None
    arm: str
    student: str | None = None
    budget: float | None = None
    seed: int | None = None
    purpose: Purpose = "compare"
    choice: Choice = Choice()
    stage: Literal["runs", "teachers"] | None = None
    variant: str | None = None

    @property
    def key(self) -> str:
        """Return a name that no other cell of a comparison has; it is that of its folder.

        What the sweep finds is no part of the names of the cells that follow from it.
        """
        parts = [
            None if self.purpose == "compare" else self.purpose,
            self.data,
            None if self.fold is None else f"fold{_word(self.fold)}",
            self.arm,
            self.student,
            None if self.budget is None else f"{self.budget:.6g}".replace("+", ""),
            None if self.seed is None else f"seed{self.seed}",
            str(self.choice) if self.purpose == "sweep" else None,
            self.stage,
            self.variant,
        ]
        return ".".join(part for part in parts if part is not None)

    @property
    def is_trained(self) -> bool:
        """Whether there is anything to train."""
        return self.budget is not None


def _word(fold: str) -> str:
    """Return a fold's name as a part of a file's name; others' characters become their codes."""
    return re.sub(r"[^A-Za-z0-9_-]", lambda match: f"%{ord(match[0]):x}", fold)


def compare_cells(spec: CompareSpec, folds: Folds, choices: Mapping[str, Choice]) -> list[Cell]:
    """Return the cells of the comparison, the cheap ones first.

    Args:
        spec: the comparison.
        folds: of each data set.
        choices: of the sweep, by `choice_key`; empty without one.
    """
    cells: list[Cell] = []
    places = [(data, fold) for data in spec.data for fold in folds[data.name]]
    if spec.probe.floors and spec.probe.kind in ("linear", "knn"):
        cells += [
            Cell(data=data.name, fold=fold, arm=floor) for data, fold in places for floor in FLOORS
        ]
    sizes: Sequence[str | None] = spec.students or (None,)
    if RANDOM_INIT in spec.arms:
        cells += [
            Cell(data=data.name, fold=fold, arm=RANDOM_INIT, student=size, seed=seed)
            for (data, fold), size, seed in product(places, sizes, spec.seeds)
        ]
    trained = product(sorted(spec.budgets), spec.seeds, places, sizes, spec.trained_arms)
    for budget, seed, (data, fold), size, arm in trained:
        key = choice_key(spec, data, fold, arm)
        cells.append(
            Cell(
                data=data.name,
                fold=fold,
                arm=arm,
                student=size,
                budget=budget,
                seed=seed,
                choice=choices.get(key, Choice()),
            )
        )
    return cells


def trained_cell(spec: CompareSpec, cell: Cell) -> Cell:
    """Return the cell whose training a cell's encoder comes from: itself, unless it transfers."""
    return replace(cell, data=spec.data_set(cell.data).trained_name)


def choice_key(spec: CompareSpec, data: DataSpec, fold: str | None, arm: str) -> str:
    """Return for what a choice of the sweep holds: an arm on a data set, or on one fold of it."""
    every_fold = spec.sweep is not None and spec.sweep.every_fold
    name = data.trained_name
    return f"{name} {fold} {arm}" if every_fold else f"{name} {arm}"


def sweep_cells(spec: CompareSpec, folds: Folds, averaging: Sequence[str]) -> list[Cell]:
    """Return the cells of the sweep.

    Args:
        spec: the comparison.
        folds: of each data set.
        averaging: arms with a moving average, whose momentum is searched, too.
    """
    if spec.sweep is None:
        return []
    size = spec.students[0] if spec.students else None
    first = Cell(
        data="",
        arm="",
        student=size,
        budget=min(spec.budgets),
        seed=spec.seeds[0],
        purpose="sweep",
    )
    cells = []
    for data, arm in product(spec.trained_data, spec.trained_arms):
        own = folds[data.name] if spec.sweep.every_fold else folds[data.name][:1]
        momenta = spec.sweep.momentum if arm in averaging else (None,)
        cells += [
            replace(
                first, data=data.name, fold=fold, arm=arm, choice=Choice(lr=lr, momentum=momentum)
            )
            for fold, lr, momentum in product(own, spec.sweep.lr, momenta)
        ]
    return cells


def selection_cells(
    spec: CompareSpec, folds: Folds, choices: Mapping[str, Choice], with_teacher: Sequence[str]
) -> list[Cell]:
    """Return the cells of the model selection.

    Args:
        spec: the comparison.
        folds: of each data set.
        choices: of the sweep.
        with_teacher: arms whose last stage learns from a stage before it.
    """
    selection = spec.selection
    if selection is None:
        return []
    data = spec.data_set(selection.data or spec.trained_data[0].name)
    fold = folds[data.name][0]
    cells = []
    for arm in selection.arms:
        first = Cell(
            data=data.name,
            fold=fold,
            arm=arm,
            student=spec.students[0] if spec.students else None,
            budget=selection.budget or min(spec.budgets),
            seed=spec.seeds[0],
            purpose="selection",
            choice=choices.get(choice_key(spec, data, fold, arm), Choice()),
        )
        cells += [replace(first, stage="runs", variant=run.name) for run in selection.runs]
        if arm in with_teacher:
            cells += [
                replace(first, stage="teachers", variant=teacher.name)
                for teacher in selection.teachers
            ]
    return cells
