"""What run folders say, as plain values; a run may be finished, stopped, or just writing.

Nothing here needs torch. Configurations are read as they are, not checked against this version: a
report only shows them. What is missing becomes a sentence in `notes`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsalt import durable
from vsalt.config import STAGES
from vsalt.errors import RunFolderError
from vsalt.report.jsonl import Log, read_log
from vsalt.training import run_folder
from vsalt.training.encoder_names import STAGE_OF_METHOD

KINDS = ("salt", "stage")


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One stage of a run.

    Attributes:
        run: label of its run.
        name: teacher, assistant or student; of a `vsalt pretrain` run as what it is shown.
        folder: its run folder.
        settings: the section `stage` of its configuration.
        data: the section `data` of its config.json.
        teacher_sha256: of the frozen teacher, if it has one.
        teacher_outside: what a teacher from outside is; empty: it has none.
        train: `train` records of metrics.jsonl.
        val: `val` records of it.
        timings: records of timings.jsonl.
        warnings: records of warnings.jsonl.
        quarantine: records of quarantine.jsonl.
        starts: entries of environment.json.
        notes: what is missing or damaged, in sentences.
    """

    run: str
    name: str
    folder: Path
    settings: dict[str, Any]
    data: dict[str, Any]
    teacher_sha256: str | None
    teacher_outside: dict[str, Any]
    train: tuple[dict[str, Any], ...]
    val: tuple[dict[str, Any], ...]
    timings: tuple[dict[str, Any], ...]
    warnings: tuple[dict[str, Any], ...]
    quarantine: tuple[dict[str, Any], ...]
    starts: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]

    @property
    def method(self) -> str:
        """Name of its method."""
        return str(self.setting("method", "name"))

    @property
    def last(self) -> dict[str, Any]:
        """The newest record, or an empty one."""
        records = [*self.train[-1:], *self.val[-1:]]
        return max(records, key=lambda record: record["step"], default={})

    @property
    def steps_done(self) -> int:
        """Optimiser steps of the newest record."""
        return int(self.last.get("step", 0))

    @property
    def num_steps(self) -> int | None:
        """Optimiser steps that it is to have done in the end."""
        stop_at = self.setting("loop", "stop_at")
        steps = self.setting("loop", "steps") if stop_at is None else stop_at
        return steps if isinstance(steps, int) else None

    @property
    def is_finished(self) -> bool:
        """Whether its last step is in the log."""
        return self.num_steps is not None and self.steps_done >= self.num_steps

    def setting(self, *names: str) -> Any:
        """Return a value of the configuration, None where there is no such setting."""
        return lookup(self.settings, *names)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run: of `vsalt salt` with its stages, or of `vsalt pretrain`, which is one stage.

    Attributes:
        label: short name, different from those of the other runs of the report.
        folder: as given.
        kind: `salt` or `stage`.
        vsalt: version that began it.
        config: the resolved configuration.
        stages: those that have begun.
        waiting: names of those that have not.
    """

    label: str
    folder: Path
    kind: str
    vsalt: str
    config: dict[str, Any]
    stages: tuple[StageRecord, ...]
    waiting: tuple[str, ...]

    @property
    def is_finished(self) -> bool:
        """Whether all its stages are."""
        return not self.waiting and all(stage.is_finished for stage in self.stages)


def read_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """Read runs, and give each a label of its own.

    Raises:
        RunFolderError: if a folder holds no run.
    """
    return [
        _read_run(folder, label) for folder, label in zip(folders, _labels(folders), strict=True)
    ]


def lookup(tree: object, *names: str) -> Any:
    """Return what nested dicts hold under these keys, None where one is missing."""
    for name in names:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _labels(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that tell them apart; a stage also names its run."""
    parts = [_path_of(folder).parts for folder in folders]
    for length in range(1, max(map(len, parts), default=1) + 1):
        labels = [
            "/".join(path[-(length + (path[-1] in STAGES)) :]).replace("//", "/") for path in parts
        ]
        if len({*labels}) == len(labels):
            return labels
    raise RunFolderError("a run is given twice; give every run once")


def _path_of(folder: Path) -> Path:
    """Return the whole path by the names that were given: `.` and `..` name nothing."""
    return Path(os.path.abspath(folder))


def _read_run(folder: Path, label: str) -> RunRecord:
    if not (folder / run_folder.CONFIG).is_file():
        raise RunFolderError(f"{folder} holds no run: {_what_it_is(folder)}")
    record = durable.read_json(folder / run_folder.CONFIG)
    config, kind = record.get("config"), record.get("kind")
    if kind not in KINDS or not isinstance(config, dict):
        raise RunFolderError(
            f"{folder / run_folder.CONFIG} is of kind {kind!r}; a run's is {' or '.join(KINDS)}"
        )
    if kind == "stage":
        begun, waiting = [(_shown_as(folder, config), folder)], []
    else:
        planned = [name for name in STAGES if isinstance(config.get(name), dict)]
        places = [(name, folder / name) for name in planned]
        begun = [place for place in places if (place[1] / run_folder.CONFIG).is_file()]
        waiting = [place[0] for place in places if place not in begun]
    return RunRecord(
        label=label,
        folder=folder,
        kind=kind,
        vsalt=str(record.get("vsalt")),
        config=config,
        stages=tuple(_read_stage(place, label, name) for name, place in begun),
        waiting=tuple(waiting),
    )


def _what_it_is(folder: Path) -> str:
    """Say why a folder is none of a run, and where there is one."""
    if not folder.exists():
        return "it does not exist"
    if (folder / "run" / run_folder.CONFIG).is_file():
        return f"it looks like that of a demo; its run is {folder / 'run'}"
    if (folder / "probe.json").is_file():
        return "it is that of a probe; give it by --probe"
    return f"it has no {run_folder.CONFIG}. Runs are begun by `vsalt salt` and `vsalt pretrain`"


def _shown_as(folder: Path, config: dict[str, Any]) -> str:
    """Return beside which stage a run of one stage is shown."""
    own = _path_of(folder).name
    method = lookup(config, "stage", "method", "name")
    return own if own in STAGES else STAGE_OF_METHOD.get(str(method), "stage")


def _read_stage(folder: Path, run: str, name: str) -> StageRecord:
    record = durable.read_json(folder / run_folder.CONFIG)
    metrics = read_log(folder / run_folder.METRICS, needs=("step", "kind"))
    timings = read_log(folder / run_folder.TIMINGS)
    warnings = read_log(folder / run_folder.WARNINGS)
    quarantine = read_log(folder / run_folder.QUARANTINE, needs=("path", "error"))
    logs = {
        run_folder.METRICS: metrics,
        run_folder.TIMINGS: timings,
        run_folder.WARNINGS: warnings,
        run_folder.QUARANTINE: quarantine,
    }
    settings = lookup(record, "config", "stage")
    data = record.get("data")
    starts, damage = _starts(folder)
    return StageRecord(
        run=run,
        name=name,
        folder=folder,
        settings=settings if isinstance(settings, dict) else {},
        data=data if isinstance(data, dict) else {},
        teacher_sha256=record.get("teacher_sha256"),
        teacher_outside=record.get("teacher_outside") or {},
        train=tuple(entry for entry in metrics.records if entry["kind"] == "train"),
        val=tuple(entry for entry in metrics.records if entry["kind"] == "val"),
        timings=timings.records,
        warnings=warnings.records,
        quarantine=quarantine.records,
        starts=starts,
        notes=(*_damage(logs), *damage),
    )


def _damage(logs: dict[str, Log]) -> list[str]:
    return [
        f"{name} is damaged: {len(log.damaged)} of its lines, the first of them line "
        f"{log.damaged[0]}, are left out."
        for name, log in logs.items()
        if log.damaged
    ]


def _starts(folder: Path) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    """Return the entries of environment.json, and what is wrong with it."""
    path = folder / run_folder.ENVIRONMENT
    if not path.is_file():
        return (), []
    try:
        starts = durable.read_json(path).get("starts")
    except RunFolderError as error:
        return (), [f"{error}."]
    entries = starts if isinstance(starts, list) else []
    return tuple(entry for entry in entries if isinstance(entry, dict)), []
