"""The data sets of a comparison as manifests of its own, each row with its role.

DIR/data/
  NAME/               the videos of a synthetic set, and NAME.json, what it was made with
  NAME.csv            all rows that take part, with a column `split`: train or test
  NAME.sweep.csv      the training rows alone, a part of them (whole groups) called test: what the
                      sweep trains on and compares candidates on
  NAME.foldF.csv …    likewise for every fold; of data that is only scored, one for all folds
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vsalt import durable
from vsalt.compare.cells import Cell
from vsalt.compare.spec import NO_GROUPS, CompareSpec, DataSpec, SynthSet
from vsalt.config import to_dict
from vsalt.data.clean_manifest import write_manifest
from vsalt.data.manifest import ManifestColumns, Row, read_source
from vsalt.data.synthetic import synthesise
from vsalt.errors import DataError, RunFolderError
from vsalt.evaluation.heads import Say
from vsalt.evaluation.protocol import choose_selection, group_numbers
from vsalt.report.numbers import plural

DATA = "data"
SPLIT = "split"


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set that is ready.

    Attributes:
        name: of the specification.
        folds: their values in order, or (None,).
        num_shared: test rows, of all folds, of whose group other rows are for training.
    """

    name: str
    folds: tuple[str | None, ...]
    num_shared: int


def folds_of(spec: DataSpec) -> tuple[str | None, ...]:
    """Return the folds of a data set that is there; nothing is written.

    Raises:
        DataError: if a source cannot be used.
    """
    if spec.folds is None or spec.trained_on is not None:
        return (None,)
    return _folds(_read(spec, [Path(source) for source in spec.sources]), spec.folds)


def manifest(out: Path, cell: Cell) -> Path:
    """Return the manifest that a cell is trained and probed on."""
    return out / DATA / _manifest_name(cell.data, cell.fold, sweep=cell.purpose == "sweep")


def _manifest_name(data: str, fold: str | None, *, sweep: bool) -> str:
    # The key of a cell has the fold's name as it can stand in a file's name.
    key = Cell(data=data, fold=fold, arm="").key.removesuffix(".")
    return f"{key}{'.sweep' if sweep else ''}.csv"


def prepare(spec: CompareSpec, out: Path, say: Say) -> dict[str, DataSet]:
    """Make what is missing of all data sets, and check that the rest is as it was.

    Args:
        spec: the comparison.
        out: its folder.
        say: is called with what takes time.

    Raises:
        DataError: if a source cannot be used.
        RunFolderError: if a data set has changed since the comparison began.
    """
    durable.create_folder(out / DATA)
    return {data.name: _prepare(spec, data, out / DATA, say) for data in spec.data}


def _prepare(spec: CompareSpec, data: DataSpec, folder: Path, say: Say) -> DataSet:
    sources = [Path(source) for source in data.sources]
    if data.synth is not None:
        sources = [_make(data.synth, folder / data.name, say)]
    rows = _read(data, sources)
    folds = _folds(rows, data.folds) if data.folds is not None else (None,)
    num_shared = sum(_num_shared(_divide(rows, data, fold), data) for fold in folds)
    if num_shared:
        say(
            f"data {data.name}: {plural(num_shared, 'test row')} of groups that training rows are "
            "of, too; then accuracies are higher than on other groups"
        )
    if data.trained_on is not None:
        _write(folder / _manifest_name(data.name, None, sweep=False), _to_score(rows, data), data)
        return DataSet(name=data.name, folds=(None,), num_shared=num_shared)
    for fold in folds:
        divided = _divide(rows, data, fold)
        _write(folder / _manifest_name(data.name, fold, sweep=False), divided, data)
        if spec.sweep is not None and (spec.sweep.every_fold or fold == folds[0]):
            path = folder / _manifest_name(data.name, fold, sweep=True)
            _write(path, _for_sweep(divided, data, spec.sweep.share), data)
    return DataSet(name=data.name, folds=folds, num_shared=num_shared)


def _num_shared(divided: Sequence[Row], data: DataSpec) -> int:
    """Count test rows whose group is torn: the source says which rows are tested, not we."""
    if data.group_column == NO_GROUPS:
        return 0
    trained = {row.group for row in divided if row.split == "train"} - {None}
    return sum(row.split == "test" and row.group in trained for row in divided)


def _make(synth: SynthSet, folder: Path, say: Say) -> Path:
    """Make a synthetic set, unless it is there."""
    labels, record = folder / "labels.csv", folder.with_name(f"{folder.name}.json")
    settings = json.loads(json.dumps(to_dict(synth)))
    if labels.exists():
        if durable.read_json(record) != settings:
            raise RunFolderError(
                f"{folder} was made with other settings than data.synth has now; put them back, or "
                "choose another --out"
            )
        return labels
    # The manifest is written last: without it the videos are those of an interrupted start.
    shutil.rmtree(folder, ignore_errors=True)
    durable.write_json(record, settings)
    say(f"making {synth.num_clips} synthetic clips in {folder}")
    return synthesise(
        folder,
        num_clips=synth.num_clips,
        seed=synth.seed,
        size=synth.size,
        num_frames=synth.num_frames,
        fps=synth.fps,
        test_every=synth.test_every,
        config=synth,
    )


def _read(data: DataSpec, sources: Sequence[Path]) -> list[Row]:
    columns = ManifestColumns(label=data.label_column, group=data.training_group_column)
    rows = [row for path in sources for row in read_source(path, columns=columns).rows]
    if any(row.size is not None for row in rows):
        raise DataError(
            f"data {data.name}: clips in shards cannot be divided anew; unpack them by "
            "`vsalt data unpack`"
        )
    if any(row.is_image for row in rows):
        raise DataError(f"data {data.name}: compare is of videos, and there are images")
    return rows


def _folds(rows: Sequence[Row], column: str) -> tuple[str | None, ...]:
    """Return the values of a column, as numbers if all are."""
    values = sorted({row.columns.get(column, "").strip() for row in rows} - {""})
    if all(value.isdecimal() for value in values):
        values.sort(key=int)
    if len(values) < 2:
        raise DataError(f"the column of folds {column!r} has {len(values)} values; it needs two")
    return tuple(values)


def _divide(rows: Sequence[Row], data: DataSpec, fold: str | None) -> list[Row]:
    """Return the rows that take part, each as train or test.

    Rows of no fold, and rows of other splits than train and test, take no part.
    """
    divided = []
    for row in rows:
        value = row.columns.get(data.folds or data.split_column, "").strip()
        if data.folds is not None:
            place = value and ("test" if value == fold else "train")
        else:
            place = value.casefold()
        if place in ("train", "test"):
            divided.append(_placed(row, place))
    for place in ("train", "test"):
        if not any(row.split == place for row in divided):
            raise DataError(
                f"data {data.name} has no row of the {data.split_column} {place}; name the column "
                "by split_column, or a column of folds by folds"
            )
    return divided


def _to_score(rows: Sequence[Row], data: DataSpec) -> list[Row]:
    """Return the rows that probes are fitted to and scored on, where nothing else is trained."""
    if data.folds is None:
        return _divide(rows, data, None)
    # Which rows are tested is for the folds to say.
    return [_placed(row, "train") for row in rows if row.columns.get(data.folds, "").strip()]


def _for_sweep(divided: Sequence[Row], data: DataSpec, share: float) -> list[Row]:
    """Return the training rows, about a share of those with a label, whole groups, as test."""
    train = [row for row in divided if row.split == "train"]
    labelled = [index for index, row in enumerate(train) if row.columns.get(data.label_column)]
    if not labelled:
        raise DataError(f"data {data.name}: no training row has a {data.label_column}")
    chosen = [train[index] for index in labelled]
    names = sorted({row.columns[data.label_column] for row in chosen})
    labels = np.array([names.index(row.columns[data.label_column]) for row in chosen])
    groups = group_numbers(chosen, data.group_column)
    units = np.arange(len(chosen)) if groups is None else groups
    taken = choose_selection(labels, units, key="compare sweep", share=share)
    places = ["train"] * len(train)
    held = {chosen[index].group for index in np.flatnonzero(taken)} - {None}
    for index, is_taken in zip(labelled, taken, strict=True):
        places[index] = "test" if is_taken else "train"
    # Unlabelled clips of a group that is held out would let the training see its scene.
    kept = [
        (row, place)
        for row, place in zip(train, places, strict=True)
        if place == "test" or groups is None or row.group not in held
    ]
    return [_placed(row, place) for row, place in kept]


def _placed(row: Row, place: str) -> Row:
    return replace(row, split=place, columns={**row.columns, SPLIT: place})


def _write(path: Path, rows: Sequence[Row], data: DataSpec) -> None:
    """Write a manifest, or check that the one that is there says the same.

    Raises:
        RunFolderError: if it does not.
    """
    new = path.with_name(f"new.{path.name}")
    new.unlink(missing_ok=True)
    write_manifest(new, rows, ManifestColumns(label=data.label_column))
    if not path.exists():
        new.replace(path)
        durable.sync_folder(path.parent)
        return
    same = new.read_bytes() == path.read_bytes()
    new.unlink()
    if not same:
        raise RunFolderError(
            f"the data set {data.name} has changed since the comparison began: its rows are not "
            f"those of {path}; put them back, or choose another --out"
        )
