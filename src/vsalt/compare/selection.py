"""Does the loss tell which run is best? Correlations over runs of equal steps.

SALT's claim (arXiv 2509.24317, section on model selection) is that a student's loss goes with its
probe accuracy, which the loss of a method with a moving target does not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vsalt.compare.cells import Cell
from vsalt.compare.result import CellResult
from vsalt.compare.spec import CompareSpec
from vsalt.compare.stages import StageResult

NORMAL_QUANTILE = 1.959964
"""Of 97.5 %."""
LARGEST_R = 1 - 1e-12
"""Where the points lie on a line, z would be infinite."""
FEWEST = 3
"""Runs below which nothing is correlated."""
OF_THE_TASK = ("masks", "image_masks", "method", "still_frames")
"""Settings of a stage that say what is predicted from what; with others a loss is another."""
MEASURES = ("loss", "val_loss", "rankme")


@dataclass(frozen=True, kw_only=True)
class SelectionRun:
    """One run of the selection.

    Attributes:
        arm: which arm.
        stage: runs: the last stage varies, and the measures are its own. teachers: the first one
            varies, and the measures are the teacher's.
        variant: its name.
        same_task: whether masks, target and loss are the arm's own, so that its losses can be
            compared with those of the other runs of which this holds.
        steps: of the stage that is measured.
        accuracy: of the encoder that is kept.
        measures: `loss` (smoothed), `val_loss`, `rankme`; None where not measured.
    """

    arm: str
    stage: str
    variant: str
    same_task: bool
    steps: int
    accuracy: float
    measures: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """How a measure goes with accuracy over runs.

    Attributes:
        arm: which arm.
        stage: whose measure it is (see `SelectionRun`).
        measure: which one.
        same_task: whether runs of other masks or another target were left out, where there are any.
        num_runs: runs that have it.
        r: Pearson's correlation.
        r2: its square: the share of the accuracies' variance that a line explains.
        r2_low: lower end of its 95 % interval.
        r2_high: upper end.
        spearman: correlation of the ranks.
    """

    arm: str
    stage: str
    measure: str
    same_task: bool
    num_runs: int
    r: float
    r2: float
    r2_low: float
    r2_high: float
    spearman: float


def selection_runs(
    spec: CompareSpec, cells: Sequence[Cell], found: Mapping[str, CellResult]
) -> list[SelectionRun]:
    """Return the finished runs of the selection."""
    assert spec.selection is not None or not cells
    runs = []
    for cell in cells:
        result = found.get(cell.key)
        if result is None:
            continue
        assert cell.stage is not None
        assert cell.variant is not None
        stage = result.stages[0 if cell.stage == "teachers" else -1]
        runs.append(
            SelectionRun(
                arm=cell.arm,
                stage=cell.stage,
                variant=cell.variant,
                same_task=_same_task(spec, cell),
                steps=stage.steps,
                accuracy=result.accuracy,
                measures=_measures(stage),
            )
        )
    return runs


def _same_task(spec: CompareSpec, cell: Cell) -> bool:
    assert cell.stage is not None
    variants = {variant.name: variant for variant in getattr(spec.selection, cell.stage)}
    given = {name.replace("-", "_") for name in variants[cell.variant].settings}
    return given.isdisjoint(OF_THE_TASK)


def _measures(stage: StageResult) -> dict[str, float | None]:
    return {name: getattr(stage, name) for name in MEASURES}


def correlations(runs: Sequence[SelectionRun]) -> list[Correlation]:
    """Correlate every measure with accuracy, for each arm and each stage that varies.

    Where some runs have other masks or another target, it is done once more without these: their
    losses are those of another task, harder or easier, whatever has been learned. Variants that
    come to the same settings, such as a rate that the sweep has chosen anyway, are one run.
    """
    found = []
    for arm, stage in dict.fromkeys((run.arm, run.stage) for run in runs):
        own = _distinct([run for run in runs if (run.arm, run.stage) == (arm, stage)])
        alike = [run for run in own if run.same_task]
        kinds = [(own, False)] if len(alike) == len(own) else [(own, False), (alike, True)]
        found += [
            _correlation(arm, stage, measure, same_task, pairs)
            for chosen, same_task in kinds
            for measure in MEASURES
            if len(pairs := _pairs(chosen, measure)) >= FEWEST
        ]
    return found


def _distinct(runs: Sequence[SelectionRun]) -> list[SelectionRun]:
    """Leave the first of runs that agree in all numbers, which no two trainings do."""
    known: dict[tuple[float | None, ...], SelectionRun] = {}
    for run in runs:
        known.setdefault((run.accuracy, *run.measures.values()), run)
    return list(known.values())


def _pairs(runs: Sequence[SelectionRun], measure: str) -> Float[np.ndarray, "n 2"]:
    pairs = [(value, run.accuracy) for run in runs if (value := run.measures[measure]) is not None]
    return np.array(pairs).reshape(-1, 2)


def _correlation(
    arm: str, stage: str, measure: str, same_task: bool, pairs: Float[np.ndarray, "n 2"]
) -> Correlation:
    x, y = pairs.T
    r = pearson(x, y)
    low, high = r2_interval(r, len(x))
    return Correlation(
        arm=arm,
        stage=stage,
        measure=measure,
        same_task=same_task,
        num_runs=len(x),
        r=r,
        r2=r * r,
        r2_low=low,
        r2_high=high,
        spearman=pearson(ranks(x), ranks(y)),
    )


def pearson(x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"]) -> float:
    """Return Pearson's correlation; 0 where one of the two does not vary."""
    dx, dy = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((dx @ dx) * (dy @ dy)))
    return float(dx @ dy) / scale if scale > 0 else 0.0


def ranks(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Return ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: Float[np.ndarray, "k"] = (ends - counts + 1 + ends) / 2
    return means[inverse]


def r2_interval(r: float, num_runs: int) -> tuple[float, float]:
    """Return the 95 % interval of R² = r², from Fisher's z (Metron 1, 1921).

        tanh(atanh(r) ± 1.96 / sqrt(n - 3)), squared; from 0 on where the signs differ

    Runs are taken as drawn from a normal distribution of measure and accuracy. Resampling runs
    would need no such assumption, but resampled correlations scatter around that of the sample:
    such an interval of R² never holds 0, and with 3 to 5 runs it mostly misses the truth.

    Args:
        r: Pearson's correlation.
        num_runs: n; three or fewer runs tell nothing.
    """
    if num_runs <= 3:
        return 0.0, 1.0
    z = math.atanh(min(max(r, -LARGEST_R), LARGEST_R))
    half = NORMAL_QUANTILE / math.sqrt(num_runs - 3)
    low, high = math.tanh(z - half) ** 2, math.tanh(z + half) ** 2
    return (0.0 if abs(z) < half else min(low, high)), max(low, high)
