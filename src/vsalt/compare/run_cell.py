"""One cell from its configuration to result.json: train what is missing, probe, write."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rich.console import Console

from vsalt import __version__, durable
from vsalt.compare import data_sets, result
from vsalt.compare.cells import FLOORS, Cell, trained_cell
from vsalt.compare.changes import told_changes
from vsalt.compare.configs import Config, base_config, cell_config
from vsalt.compare.result import CellResult, Divergence, Prediction
from vsalt.compare.spec import NO_GROUPS, RANDOM_INIT, CompareSpec
from vsalt.compare.stages import StagePlace, encoder_of, places, spent_flops, train
from vsalt.config import to_dict
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import DataConfig
from vsalt.data.manifest import Row, read_source
from vsalt.errors import DataError, NonFiniteError, RunFolderError
from vsalt.evaluation.floors import floor
from vsalt.evaluation.probe import ProbeOptions, fit_subjects
from vsalt.evaluation.protocol import TaskOptions
from vsalt.evaluation.result import ProbeResult
from vsalt.evaluation.saved import PREDICTIONS
from vsalt.evaluation.subjects import Subject, random_init, trained
from vsalt.training.extract import ExtractConfig, WindowConfig

PROBE = "probe"
LOCK = ".lock"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """All that a cell's result depends on.

    Attributes:
        manifest: rows that it is probed on.
        trained_hash: hash of the rows that it is trained on; those of the same manifest, unless
            encoders of another data set are scored.
        config: of its training; None where nothing is trained.
        sha256: hash of all of it, the probe's settings included.
    """

    manifest: Path
    trained_hash: str
    config: Config | None
    sha256: str


def inputs(spec: CompareSpec, cell: Cell, out: Path) -> Inputs:
    """Return what a cell's result depends on; its data set is there.

    Raises:
        ConfigError: if its settings are wrong, or its budget is too small.
    """
    manifest = data_sets.manifest(out, cell)
    manifest_hash = _catalogue(spec, cell, manifest).manifest_hash
    origin = trained_cell(spec, cell)
    trained_on = data_sets.manifest(out, origin)
    trained_hash = _catalogue(spec, origin, trained_on).manifest_hash
    config = cell_config(spec, origin, str(trained_on.absolute())) if cell.is_trained else None
    base = config or base_config(spec, cell.student)
    values = to_dict(base)
    values["data"]["sources"] = [trained_hash, manifest_hash]
    probe = to_dict(spec.probe)
    text = json.dumps([__version__, to_dict(cell), values, probe], sort_keys=True)
    return Inputs(
        manifest=manifest,
        trained_hash=trained_hash,
        config=config,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def _catalogue(spec: CompareSpec, cell: Cell, manifest: Path) -> Catalogue:
    """Return the rows of a manifest; which of them are held out is of no interest here."""
    data = spec.data_set(cell.data)
    config = DataConfig(
        sources=(str(manifest),),
        label_column=data.label_column,
        group_column=data.training_group_column,
        holdout=0.0,
    )
    return _loaded(config, manifest.stat().st_mtime_ns)


@lru_cache(64)
def _loaded(config: DataConfig, changed_ns: int) -> Catalogue:  # noqa: ARG001
    return Catalogue.load(config, seed=0)


def finished(spec: CompareSpec, cell: Cell, out: Path) -> CellResult | None:
    """Return what a finished cell has come to, or None.

    Raises:
        RunFolderError: if it was finished with other settings or data.
    """
    found = result.read_result(out, cell)
    if found is None:
        return None
    if found.inputs_sha256 != inputs(spec, cell, out).sha256:
        changes = told_changes(spec, out)
        raise RunFolderError(
            f"{result.folder(out, cell)} holds a result of other settings, data or version than "
            f"the specification asks for now{f' ({changes})' if changes else ''}; put them back, "
            "choose another --out, or remove that folder to have the cell done again"
        )
    return found


def diverged(spec: CompareSpec, cell: Cell, out: Path) -> Divergence | None:
    """Return how a cell has diverged, if it has with the settings and data of now."""
    found = result.read_divergence(out, cell)
    if found is None or found.inputs_sha256 != inputs(spec, cell, out).sha256:
        return None
    return found


def run_cell(
    spec: CompareSpec, cell: Cell, out: Path, *, console: Callable[[Path], Console]
) -> CellResult:
    """Train and probe a cell, and write its result.

    Args:
        spec: the comparison.
        cell: which one.
        out: folder of the comparison.
        console: returns where progress goes, given the cell's log.

    Raises:
        VsaltError: as training and probes do; what is trained is kept.
        NonFiniteError: if a training diverges; that is written down.
        DataError: if a test clip was seen in training.
    """
    own = result.folder(out, cell)
    durable.create_folder(own)
    screen = console(own / result.LOG)
    # A worker that has outlived its start may still be on this cell.
    with durable.wait_to_hold(own / LOCK):
        found = finished(spec, cell, out)
        return found if found is not None else _run(spec, cell, out, screen)


def _run(spec: CompareSpec, cell: Cell, out: Path, screen: Console) -> CellResult:
    own = result.folder(out, cell)
    given = inputs(spec, cell, out)
    stages: list[StagePlace] = []
    stage_results = []
    if given.config is not None:
        catalogue = Catalogue.load(given.config.data, seed=given.config.seed)
        stages = places(given.config, out, given.trained_hash)
        try:
            stage_results = train(stages, catalogue, screen)
        except NonFiniteError as error:
            divergence = Divergence(
                inputs_sha256=given.sha256, flops=spent_flops(stages), error=str(error)
            )
            result.write_divergence(out, cell, divergence)
            raise
    subject = _subject(spec, cell, stages)
    # result.json is written last: without it the folder is what an interrupted probe left.
    shutil.rmtree(own / PROBE, ignore_errors=True)
    probed = fit_subjects(
        [subject],
        given.manifest,
        own / PROBE,
        probe_options(spec, cell),
        say=lambda text: screen.print(text, soft_wrap=True),
    )
    _check_unseen(cell, probed)
    encoder = probed.encoders[0]
    found = CellResult(
        cell=cell,
        inputs_sha256=given.sha256,
        accuracy=encoder.metrics.accuracy,
        num_test=encoder.metrics.num_rows,
        chance=probed.chance.uniform,
        stages=tuple(stage_results),
    )
    result.write_result(out, found, _predictions(spec, cell, given.manifest, own / PROBE))
    return found


def _subject(spec: CompareSpec, cell: Cell, stages: list[StagePlace]) -> Subject:
    if stages:
        return trained(cell.arm, encoder_of(stages[-1]))
    config = base_config(spec, cell.student).stage("student")
    if cell.arm == RANDOM_INIT:
        assert cell.seed is not None
        return random_init(config, seed=cell.seed)
    name = next(name for name in FLOORS if name == cell.arm)
    return floor(name, config.clip, antialias=config.data.antialias)


def probe_options(spec: CompareSpec, cell: Cell) -> ProbeOptions:
    """Return the settings of a cell's probe; the division of its rows does not depend on seeds."""
    data, probe = spec.data_set(cell.data), spec.probe
    return ProbeOptions(
        kind=probe.kind,
        task=TaskOptions(
            label_column=data.label_column,
            group_column=data.group_column,
            folds=data.folds if data.trained_on is not None else None,
        ),
        extract=ExtractConfig(
            windows=WindowConfig(per_row=probe.segments),
            pooling=probe.pooling,
            layers=probe.layers,
            batch_size=probe.batch_size,
            workers=probe.workers,
        ),
        attentive=probe.attentive,
        random_init=False,
        skip_bad=probe.skip_bad,
    )


def _check_unseen(cell: Cell, probed: ProbeResult) -> None:
    """Refuse a result whose training may have drawn a test clip."""
    exposure = probed.encoders[0].exposure
    if exposure.kind not in ("inductive", "none"):
        raise DataError(
            f"{cell.key}: {exposure.num_seen} of {exposure.num_test} test clips were seen in "
            "training, or it is not known. Do files of the training and the test rows overlap?"
        )


def _predictions(spec: CompareSpec, cell: Cell, manifest: Path, probe: Path) -> list[Prediction]:
    """Return what the probe says of every test row, with the row's group."""
    column = spec.data_set(cell.data).group_column
    groups = {
        _row_name(row.relative_path, row.start_s, row.end_s): _group(row, column)
        for row in read_source(manifest).rows
    }
    found = []
    for line in (probe / PREDICTIONS).read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        name = _row_name(entry["path"], entry["start_s"], entry["end_s"])
        found.append(
            Prediction(
                row=name,
                group=groups[name] or name,
                label=entry["label"],
                predicted=entry["predicted"],
            )
        )
    return found


def _row_name(path: str, start_s: float | None, end_s: float | None) -> str:
    span = "" if start_s is None and end_s is None else f" {start_s or 0:g}-{end_s or ''}"
    return f"{path}{span}"


def _group(row: Row, column: str) -> str | None:
    return None if column == NO_GROUPS else row.columns.get(column)
