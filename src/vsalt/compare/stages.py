"""Trains the stages of a cell, each in a folder that is named after all that decides its result.

DIR/stages/METHOD-STEPS-HASH/ is a stage's run folder. Cells whose first stages agree in every
setting, in data, seed and the stages before them share them; so a teacher is trained once however
many students learn from it. A stage that was killed goes on from its checkpoint.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vsalt import durable
from vsalt.compare.configs import Config
from vsalt.config import PretrainConfig, to_dict
from vsalt.data.catalogue import Catalogue
from vsalt.training import run_folder
from vsalt.training.checkpoint import MODEL, STATE, Checkpoint, CheckpointFolder
from vsalt.training.locate import LoadedEncoder, load_encoder
from vsalt.training.stage import run_stage
from vsalt.training.stage_folder import create_stage

STAGES = "stages"
TRAINED = "trained"
"""An empty file in the folder of a stage that has done its last step."""
SMOOTHING = 0.05
"""Share of a stage's records over which the training loss is smoothed."""


@dataclass(frozen=True, kw_only=True)
class StagePlace:
    """A stage and where it is trained.

    Attributes:
        name: teacher, assistant or student; of a single stage its method.
        config: resolved.
        folder: its run folder.
    """

    name: str
    config: PretrainConfig
    folder: Path


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a finished stage has come to.

    Attributes:
        name: as of its place.
        steps: optimiser steps.
        flops: exact operations that were spent.
        loss: training loss at the end, smoothed (see `smoothed`).
        val_loss: of the held-out clips at the end, if there are any.
        rankme: of the held-out clips' features at the end, likewise; else of training tokens.
    """

    name: str
    steps: int
    flops: int
    loss: float | None
    val_loss: float | None
    rankme: float | None


def places(config: Config, out: Path, manifest_hash: str) -> list[StagePlace]:
    """Return the stages of a resolved configuration in their order.

    Args:
        config: of a run or a single stage.
        out: folder of the comparison.
        manifest_hash: of the rows that they are trained on.
    """
    stages: list[tuple[str, PretrainConfig]]
    if isinstance(config, PretrainConfig):
        stages = [(config.stage.method.name, config)]
    else:
        stages = [(name, config.stage(name)) for name in config.stages]
    found = []
    before = ""
    for name, stage in stages:
        before = _digest(stage, manifest_hash, before)
        folder = f"{stage.stage.method.name}-{stage.stage.loop.steps}-{before[:16]}"
        found.append(StagePlace(name=name, config=stage, folder=out / STAGES / folder))
    return found


def _digest(config: PretrainConfig, manifest_hash: str, before: str) -> str:
    """Hash what decides a stage's result; where the files lie does not."""
    values: dict[str, Any] = to_dict(config)
    values["data"]["sources"] = [manifest_hash]
    text = json.dumps([values, before], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def train(stages: list[StagePlace], catalogue: Catalogue, console: Console) -> list[StageResult]:
    """Train what is not trained yet, and return what all stages have come to.

    Raises:
        InterruptedRunError: if a signal stopped a stage; it was saved.
        VsaltError: as `run_stage` does.
    """
    results = []
    before: StagePlace | None = None
    for place in stages:
        durable.create_folder(place.folder)
        with _alone(place.folder):
            if not (place.folder / TRAINED).exists():
                _train_one(place, before, catalogue, console)
            _slim(place)
        results.append(_result(place))
        before = place
    return results


def encoder_of(place: StagePlace) -> LoadedEncoder:
    """Return the encoder of a finished stage, that of its last step for all methods."""
    return load_encoder(_last(place).path)


def spent_flops(stages: Sequence[StagePlace]) -> int:
    """Return the exact FLOPs of all steps that are saved, of stages that are finished or not."""
    saved = [CheckpointFolder(place.folder, keep_last=1).latest() for place in stages]
    return sum(int(last.meta["flops_exact"]) for last in saved if last is not None)


def _train_one(
    place: StagePlace, before: StagePlace | None, catalogue: Catalogue, console: Console
) -> None:
    if not (place.folder / run_folder.CONFIG).exists():
        needs_teacher = place.config.stage.method.needs_teacher
        teacher = encoder_of(before) if needs_teacher and before is not None else None
        create_stage(place.folder, place.config, catalogue, teacher)
    run_stage(place.folder, catalogue, console, place.name)
    # From here on the stage is never run again, so it need not be able to go on.
    durable.write_file(place.folder / TRAINED, "")


def _slim(place: StagePlace) -> None:
    """Leave a finished stage its last weights alone: no optimiser, no best, no second teacher."""
    last = _last(place)
    checkpoints = place.folder / run_folder.CHECKPOINTS
    (checkpoints / run_folder.BEST).unlink(missing_ok=True)
    for entry in checkpoints.glob("step-*"):
        if entry != last.path:
            shutil.rmtree(entry)
    shutil.rmtree(last.path / STATE, ignore_errors=True)
    (place.folder / run_folder.TEACHER / MODEL).unlink(missing_ok=True)


def _last(place: StagePlace) -> Checkpoint:
    last = CheckpointFolder(place.folder, keep_last=1).latest()
    assert last is not None, "a finished stage has a checkpoint"
    return last


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process of the comparison works on a stage, and hold it."""
    # Beside the folder: the lock inside is that of all verbs, which do not wait.
    beside = folder.with_name(f".{folder.name}.lock")
    with durable.wait_to_hold(beside), durable.hold(folder):
        yield


def _result(place: StagePlace) -> StageResult:
    records = read_log(place.folder)
    train_records = [record for record in records if record["kind"] == "train"]
    val: dict[str, Any] = {}
    for record in records:
        if record["kind"] == "val":
            val = record
    ranks = [record["rankme"] for record in train_records if record.get("rankme") is not None]
    last = _last(place)
    return StageResult(
        name=place.name,
        steps=int(last.meta["step"]),
        flops=int(last.meta["flops_exact"]),
        loss=smoothed([record["loss"] for record in train_records]),
        val_loss=val.get("val_loss"),
        rankme=val.get("val_rankme", ranks[-1] if ranks else None),
    )


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the records of a stage's metrics.jsonl."""
    text = (run / run_folder.METRICS).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def smoothed(losses: list[float]) -> float | None:
    """Return the last value of an exponential mean of losses; None of none.

        m_i = m_(i-1) + a_i (loss_i - m_(i-1)),  a_i = max(1 / i, 1 / max(1, 0.05 n))

    so that it is a plain mean at first, and in the end reaches over about 5 % of the n records.
    """
    mean: float | None = None
    width = max(1.0, SMOOTHING * len(losses))
    for index, loss in enumerate(losses, start=1):
        mean = loss if mean is None else mean + max(1 / index, 1 / width) * (loss - mean)
    return mean
