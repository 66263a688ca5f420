"""The results as files that go into a repository: results.json, results.csv and groups.json.

They hold no paths, no times, and no names of rows or groups, so that the same comparison gives the
same files wherever and however often interrupted it was done. groups.json has what all intervals
are computed from.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vsalt import durable
from vsalt.compare.analysis import Analysis, analyse
from vsalt.compare.bootstrap import Estimate
from vsalt.compare.cells import Cell, Choice, choice_key
from vsalt.compare.divide import DataSet
from vsalt.compare.result import CellResult, Divergence
from vsalt.compare.selection import Correlation, SelectionRun, correlations, selection_runs
from vsalt.compare.spec import CompareSpec
from vsalt.compare.stages import STAGES
from vsalt.config import to_dict
from vsalt.training import run_folder
from vsalt.training.config import DeviceConfig
from vsalt.training.device import choose_device, choose_precision
from vsalt.training.environment import describe

RESULTS_JSON = "results.json"
RESULTS_CSV = "results.csv"
GROUPS_JSON = "groups.json"
VERSIONS = ("vsalt", "torch", "numpy", "av")
COLUMNS = (
    "data", "fold", "student", "arm", "budget", "seed", "lr", "momentum", "flops", "teacher_flops",
    "num_test", "accuracy", "loss", "val_loss", "rankme", "teacher_loss", "teacher_val_loss",
    "teacher_rankme",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that a comparison has found so far.

    Attributes:
        spec: the comparison.
        sets: its data sets, by name.
        cells: those of the comparison, in their order.
        found: results of all finished cells, by key; those of sweep and selection, too.
        sweep: cells of the sweep.
        choices: what it has chosen, by `choice_key`.
        diverged: candidates that have diverged, by key.
        analysis: accuracies and differences.
        runs: finished runs of the model selection.
        correlations: over these.
        left: keys of the cells that are not finished.
        failed: why cells failed, by key.
        environment: see `environment`.
    """

    spec: CompareSpec
    sets: Mapping[str, DataSet]
    cells: tuple[Cell, ...]
    found: Mapping[str, CellResult]
    sweep: tuple[Cell, ...]
    choices: Mapping[str, Choice]
    diverged: Mapping[str, Divergence]
    analysis: Analysis
    runs: tuple[SelectionRun, ...]
    correlations: tuple[Correlation, ...]
    left: tuple[str, ...]
    failed: Mapping[str, str]
    environment: Mapping[str, str]


def collect(
    spec: CompareSpec,
    out: Path,
    *,
    sets: Mapping[str, DataSet],
    cells: Sequence[Cell],
    sweep: Sequence[Cell],
    selection: Sequence[Cell],
    choices: Mapping[str, Choice],
    found: Mapping[str, CellResult],
    failed: Mapping[str, str],
    diverged: Mapping[str, Divergence],
) -> Results:
    """Analyse what is finished."""
    runs = selection_runs(spec, selection, found)
    every = (*sweep, *cells, *selection)
    return Results(
        spec=spec,
        sets=sets,
        cells=tuple(cells),
        found=found,
        sweep=tuple(sweep),
        choices=choices,
        diverged=diverged,
        analysis=analyse(spec, cells, found, out),
        runs=tuple(runs),
        correlations=tuple(correlations(runs)),
        left=tuple(cell.key for cell in every if cell.key not in found.keys() | diverged),
        failed=failed,
        environment=environment(out),
    )


def write_results(results: Results, out: Path) -> None:
    """Write results.json, results.csv and groups.json."""
    durable.write_file(out / RESULTS_JSON, json.dumps(as_json(results), indent=1) + "\n")
    lines = ",\n".join(json.dumps(one) for one in _by_group(results))
    durable.write_file(out / GROUPS_JSON, f"[\n{lines}\n]\n")
    with (
        durable.whole_file(out / RESULTS_CSV) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for cell in results.cells:
            if cell.key in results.found:
                writer.writerow(_row(results.found[cell.key]))


def as_json(results: Results) -> dict[str, Any]:
    """Return all results as plain values."""
    sweep = swept(results)
    return {
        "environment": dict(results.environment),
        "spec": _plain_spec(results.spec),
        "left": list(results.left),
        "failed": sorted(results.failed),
        "data": {
            name: {
                "num_test": len(results.analysis.groups[name]),
                "num_groups": int(results.analysis.groups[name].max()) + 1,
                "num_shared": results.sets[name].num_shared,
                "chance": chance,
            }
            for name, chance in results.analysis.chance.items()
        },
        "accuracies": _accuracies(results),
        "differences": _differences(results),
        "sweep": sweep,
        "sweep_flops": sum(one["flops"] for one in sweep),
        "selection": [
            {
                **{name: value for name, value in vars(run).items() if name != "measures"},
                **run.measures,
            }
            for run in results.runs
        ],
        "correlations": [vars(one) for one in results.correlations],
        "cells": [
            _row(results.found[cell.key]) for cell in results.cells if cell.key in results.found
        ],
    }


def _by_group(results: Results) -> list[dict[str, Any]]:
    """Return of every point how many rows of each group are right, by seed.

    Groups are numbered; `rows` says how many rows each has. These numbers are all that accuracies,
    differences and their intervals depend on.
    """
    points = []
    for one in results.analysis.accuracies:
        point, groups = one.point, results.analysis.groups[one.point.data]
        points.append(
            {
                "data": point.data,
                "student": point.student,
                "arm": point.arm,
                "budget": point.budget,
                "seeds": list(point.seeds),
                "rows": np.bincount(groups).tolist(),
                "right": [
                    np.bincount(groups, weights=row).astype(int).tolist() for row in point.right
                ],
            }
        )
    return points


def environment(out: Path) -> dict[str, str]:
    """Return what the numbers depend on beside the specification.

    It is of all starts of all trainings, which may have been elsewhere than here, and several where
    they differ. Without any training it is that of now.
    """
    starts = [
        start
        for path in out.glob(f"{STAGES}/*/{run_folder.ENVIRONMENT}")
        for start in durable.read_json(path)["starts"]
    ]
    if not starts:
        device = choose_device("auto")
        starts = [describe(device, choose_precision(DeviceConfig(), device), 1, "")]
    devices = {
        start["device_name"] if start["device"] == "cuda" else start["device"] for start in starts
    }
    versions = {name: {start[name] for start in starts} for name in VERSIONS}
    return {
        name: ", ".join(sorted(values)) for name, values in {**versions, "device": devices}.items()
    }


def _plain_spec(spec: CompareSpec) -> dict[str, Any]:
    """Return the specification without the places of sources."""
    values: dict[str, Any] = json.loads(json.dumps(to_dict(spec), default=vars))
    for data in values["data"]:
        data["sources"] = [Path(source).name for source in data["sources"]]
    return values


def _accuracies(results: Results) -> list[dict[str, Any]]:
    return [
        {
            "data": one.point.data,
            "student": one.point.student,
            "arm": one.point.arm,
            "budget": one.point.budget,
            "flops": one.point.flops,
            "teacher_flops": one.point.teacher_flops,
            "num_seeds": len(one.point.right),
            **_estimate(one.estimate),
        }
        for one in results.analysis.accuracies
    ]


def _differences(results: Results) -> list[dict[str, Any]]:
    return [
        {
            **{
                name: getattr(one, name) for name in ("data", "student", "budget", "arm", "against")
            },
            **_estimate(one.estimate),
            "detectable": _finite(one.estimate.detectable),
        }
        for one in results.analysis.differences
    ]


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {name: _finite(getattr(estimate, name)) for name in ("value", "low", "high", "dof")}


def _finite(value: float) -> float | None:
    """Return six digits of a number; None for infinity, for which JSON has no word."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def swept(results: Results) -> list[dict[str, Any]]:
    """Return the candidates of the sweep; the accuracy of one that has diverged is None."""
    rows = []
    for cell in results.sweep:
        ended = results.found.get(cell.key) or results.diverged.get(cell.key)
        if ended is None:
            continue
        key = choice_key(results.spec, results.spec.data_set(cell.data), cell.fold, cell.arm)
        rows.append(
            {
                "data": cell.data,
                "fold": cell.fold,
                "arm": cell.arm,
                "lr": cell.choice.lr,
                "momentum": cell.choice.momentum,
                "flops": ended.flops,
                "accuracy": ended.accuracy if isinstance(ended, CellResult) else None,
                "chosen": results.choices.get(key) == cell.choice,
            }
        )
    return rows


def _row(result: CellResult) -> dict[str, Any]:
    """Return a cell as a row of results.csv."""
    cell = result.cell
    last = result.stages[-1] if result.stages else None
    teacher = result.stages[0] if len(result.stages) > 1 else None
    row = {name: getattr(cell, name) for name in COLUMNS[:6]}
    row |= {
        "lr": cell.choice.lr if cell.is_trained else None,
        "momentum": cell.choice.momentum,
    }
    row |= {"flops": result.flops, "teacher_flops": result.teacher_flops}
    row |= {"num_test": result.num_test, "accuracy": result.accuracy}
    for prefix, stage in (("", last), ("teacher_", teacher)):
        for name in ("loss", "val_loss", "rankme"):
            row[f"{prefix}{name}"] = None if stage is None else getattr(stage, name)
    return row
