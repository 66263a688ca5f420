"""What a cell has come to, on disk.

DIR/cells/KEY/
  result.json         all that is known of the cell; written last, so its presence marks the end
  diverged.json       instead of it: that its training has diverged, and after how many FLOPs
  predictions.jsonl   one line per test row: row, group, label, predicted
  probe/              as `vsalt probe fit` writes it
  log.txt             what its training and its probe have said
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vsalt import durable
from vsalt.compare.cells import Cell, Choice
from vsalt.compare.stages import StageResult
from vsalt.errors import RunFolderError

CELLS = "cells"
RESULT = "result.json"
DIVERGED = "diverged.json"
PREDICTIONS = "predictions.jsonl"
LOG = "log.txt"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a probe says of a test row.

    Attributes:
        row: names the row among those of its data set.
        group: that it belongs to; its own name where there are none.
        label: its class.
        predicted: what the probe says.
    """

    row: str
    group: str
    label: str
    predicted: str


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """What a cell has come to.

    Attributes:
        cell: which one.
        inputs_sha256: hash of all that its result depends on.
        accuracy: share of test rows that are right.
        num_test: test rows.
        chance: accuracy of an even guess.
        stages: in their order; empty where nothing was trained.
    """

    cell: Cell
    inputs_sha256: str
    accuracy: float
    num_test: int
    chance: float
    stages: tuple[StageResult, ...]

    @property
    def flops(self) -> int:
        """Exact FLOPs of all stages, whether they were trained for this cell or are shared."""
        return sum(stage.flops for stage in self.stages)

    @property
    def teacher_flops(self) -> int:
        """Those of all stages but the last."""
        return sum(stage.flops for stage in self.stages[:-1])


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """That a cell's training has met a loss or gradient which is not finite.

    Attributes:
        inputs_sha256: hash of all that this depends on.
        flops: exact FLOPs of all stages until then.
        error: what the training has said.
    """

    inputs_sha256: str
    flops: int
    error: str


def folder(out: Path, cell: Cell) -> Path:
    """Return a cell's folder."""
    return out / CELLS / cell.key


def write_result(out: Path, result: CellResult, predictions: list[Prediction]) -> None:
    """Write a cell's files, result.json last."""
    own = folder(out, result.cell)
    lines = [json.dumps(dataclasses.asdict(one)) + "\n" for one in predictions]
    durable.write_file(own / PREDICTIONS, "".join(lines))
    record = {"key": result.cell.key, **dataclasses.asdict(result)}
    record |= {"flops": result.flops, "teacher_flops": result.teacher_flops}
    durable.write_json(own / RESULT, record)


def read_result(out: Path, cell: Cell) -> CellResult | None:
    """Return what a cell has come to, or None if it is not finished.

    Raises:
        RunFolderError: if the file is not as it was written.
    """
    path = folder(out, cell) / RESULT
    if not path.exists():
        return None
    record = durable.read_json(path)
    try:
        return _result(record)
    except (KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path} is not as this version writes it ({error}); remove its folder, and the cell "
            "is done again"
        ) from error


def _result(record: dict[str, Any]) -> CellResult:
    cell = dict(record["cell"])
    return CellResult(
        cell=Cell(**{**cell, "choice": Choice(**cell["choice"])}),
        inputs_sha256=record["inputs_sha256"],
        accuracy=record["accuracy"],
        num_test=record["num_test"],
        chance=record["chance"],
        stages=tuple(StageResult(**stage) for stage in record["stages"]),
    )


def write_divergence(out: Path, cell: Cell, divergence: Divergence) -> None:
    """Write that a cell has diverged."""
    durable.write_json(folder(out, cell) / DIVERGED, dataclasses.asdict(divergence))


def read_divergence(out: Path, cell: Cell) -> Divergence | None:
    """Return how a cell has diverged, if it has."""
    path = folder(out, cell) / DIVERGED
    return Divergence(**durable.read_json(path)) if path.exists() else None


def read_predictions(out: Path, cell: Cell) -> list[Prediction]:
    """Return what a finished cell's probe has said of every test row, in the order of the rows."""
    text = (folder(out, cell) / PREDICTIONS).read_text(encoding="utf-8")
    return [Prediction(**json.loads(line)) for line in text.splitlines()]


def is_right(predictions: list[Prediction]) -> np.ndarray:
    """Return for each prediction whether it is right."""
    return np.array([one.label == one.predicted for one in predictions], dtype=np.bool_)
