"""From the cells' predictions to accuracies and paired differences with their intervals."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from vsalt.compare.bootstrap import Draws, Estimate, draw, estimate
from vsalt.compare.cells import Cell
from vsalt.compare.result import CellResult, Prediction, is_right, read_predictions
from vsalt.compare.spec import RANDOM_INIT, CompareSpec
from vsalt.errors import RunFolderError
from vsalt.evaluation.tables import TOO_FEW_GROUPS


@dataclass(frozen=True, kw_only=True)
class Point:
    """All seeds and folds of an arm at a budget.

    Attributes:
        data: name of the data set.
        student: size of the encoder; None: the preset's.
        arm: which arm.
        budget: FLOPs that were given; None where nothing is trained.
        flops: exact FLOPs of a cell, the mean over seeds and folds.
        teacher_flops: those of all stages but the last, likewise.
        chance: accuracy of an even guess.
        seeds: of its rows in `right`; None of floors.
        right: of each seed and test row, whether its answer is right.
    """

    data: str
    student: str | None
    arm: str
    budget: float | None
    flops: float
    teacher_flops: float
    chance: float
    seeds: tuple[int | None, ...]
    right: Bool[np.ndarray, "S n"]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The accuracy of a point."""

    point: Point
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Accuracy of an arm minus that of another, on the same rows by the same seeds."""

    data: str
    student: str | None
    budget: float
    arm: str
    against: str
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What the comparison has found.

    Attributes:
        accuracies: of every point whose cells are all finished.
        differences: between those.
        chance: accuracy of an even guess, by data set.
        groups: number of the group of every test row, by data set.
    """

    accuracies: tuple[Accuracy, ...]
    differences: tuple[Difference, ...]
    chance: Mapping[str, float]
    groups: Mapping[str, Int[np.ndarray, "n"]]


def analyse(
    spec: CompareSpec, cells: Sequence[Cell], found: Mapping[str, CellResult], out: Path
) -> Analysis:
    """Analyse what is finished.

    Args:
        spec: the comparison.
        cells: all that it is made of.
        found: results of the finished ones, by key.
        out: its folder, for the predictions.

    Raises:
        RunFolderError: if arms were scored on different rows.
    """
    by_point: dict[tuple[str, str | None, str, float | None], list[Cell]] = defaultdict(list)
    for cell in cells:
        by_point[cell.data, cell.student, cell.arm, cell.budget].append(cell)
    accuracies: list[Accuracy] = []
    differences: list[Difference] = []
    chance: dict[str, float] = {}
    groups: dict[str, Int[np.ndarray, "n"]] = {}
    for data in spec.data:
        reader = _Reader(data.name, out)
        points = [
            reader.point(own, found)
            for own in by_point.values()
            if own[0].data == data.name and all(cell.key in found for cell in own)
        ]
        if not points:
            continue
        draws = draw(reader.groups, len(spec.seeds))
        accuracies += [
            Accuracy(point=point, estimate=_estimate(point.right, draws)) for point in points
        ]
        differences += _differences(spec, points, draws)
        chance[data.name] = points[0].chance
        groups[data.name] = reader.groups
    return Analysis(
        accuracies=tuple(accuracies),
        differences=tuple(differences),
        chance=chance,
        groups=groups,
    )


class _Reader:
    """Reads predictions of a data set, all for the same rows in the same order."""

    def __init__(self, data: str, out: Path) -> None:
        self.data = data
        self.out = out
        self._rows: list[str] = []
        self.groups: Int[np.ndarray, "n"] = np.zeros(0, dtype=np.int64)

    def point(self, cells: Sequence[Cell], found: Mapping[str, CellResult]) -> Point:
        """Put the folds of every seed behind each other, and the seeds below each other."""
        by_seed: dict[int | None, list[Prediction]] = defaultdict(list)
        for cell in cells:
            by_seed[cell.seed] += read_predictions(self.out, cell)
        for predictions in by_seed.values():
            self._check(predictions)
        results = [found[cell.key] for cell in cells]
        first = cells[0]
        return Point(
            data=first.data,
            student=first.student,
            arm=first.arm,
            budget=first.budget,
            flops=float(np.mean([result.flops for result in results])),
            teacher_flops=float(np.mean([result.teacher_flops for result in results])),
            chance=results[0].chance,
            seeds=tuple(by_seed),
            right=np.stack([is_right(predictions) for predictions in by_seed.values()]),
        )

    def _check(self, predictions: list[Prediction]) -> None:
        rows = [one.row for one in predictions]
        if not self._rows:
            self._rows = rows
            _, groups = np.unique([one.group for one in predictions], return_inverse=True)
            self.groups = groups.astype(np.int64)
        if rows != self._rows:
            raise RunFolderError(
                f"the arms of the data set {self.data} were not scored on the same test rows; "
                "have videos changed? Remove its cells, and they are done again"
            )


def _estimate(values: np.ndarray, draws: Draws) -> Estimate:
    """Estimate a mean; what has no seed is the same for all of them.

    Of fewer groups than `vsalt probe fit` asks for an interval, the interval is infinitely wide.
    """
    num_seeds = draws.seed_times.shape[1]
    same = np.broadcast_to(values, (num_seeds, values.shape[1]))
    found = estimate(same.astype(np.float64), draws)
    if draws.group_times.shape[1] >= TOO_FEW_GROUPS:
        return found
    return replace(found, low=-math.inf, high=math.inf, detectable=math.inf)


def _differences(spec: CompareSpec, points: Sequence[Point], draws: Draws) -> list[Difference]:
    """Subtract arms of one size and budget, on the same resamples."""
    found = []
    for one in points:
        if one.budget is None:
            continue
        for against in dict.fromkeys((spec.reference, RANDOM_INIT)):
            other = _partner(points, one, against)
            if other is None or against == one.arm:
                continue
            # Of the reference, the difference to an arm is read as what it has more.
            first, second = (
                (other, one) if against == spec.reference != RANDOM_INIT else (one, other)
            )
            values = first.right.astype(np.float64) - second.right
            found.append(
                Difference(
                    data=one.data,
                    student=one.student,
                    budget=one.budget,
                    arm=first.arm,
                    against=second.arm,
                    estimate=_estimate(values, draws),
                )
            )
    return found


def _partner(points: Sequence[Point], one: Point, arm: str) -> Point | None:
    """Return an arm at the same size, and at the same budget if it has any."""
    return next(
        (
            point
            for point in points
            if (point.arm, point.student) == (arm, one.student)
            and point.budget in (None, one.budget)
        ),
        None,
    )
