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
from pathlib import Path

from vsalt import durable
from vsalt.compare.cells import Cell
from vsalt.compare.divide import DataSet, divide
from vsalt.compare.spec import CompareSpec, DataSpec, SynthSet
from vsalt.config import to_dict
from vsalt.data.clean_manifest import write_manifest
from vsalt.data.manifest import ManifestColumns, Row
from vsalt.data.synthetic import synthesise
from vsalt.errors import RunFolderError
from vsalt.evaluation.heads import Say

DATA = "data"
LABELS = "labels.csv"
"""Manifest of a synthetic set."""


def manifest(out: Path, cell: Cell) -> Path:
    """Return the manifest that a cell is trained and probed on."""
    return out / DATA / _manifest_name(cell.data, cell.fold, sweep=cell.purpose == "sweep")


def _manifest_name(data: str, fold: str | None, *, sweep: bool) -> str:
    # The key of a cell has the fold's name as it can stand in a file's name.
    key = Cell(data=data, fold=fold, arm="").key.removesuffix(".")
    return f"{key}{'.sweep' if sweep else ''}.csv"


def examine(spec: CompareSpec, out: Path) -> dict[str, DataSet | None]:
    """Divide all data sets and check them; nothing is written.

    Args:
        spec: the comparison.
        out: its folder, which may not be there.

    Returns:
        Each by its name; None for a synthetic one that is not made yet.

    Raises:
        DataError: if a source cannot be used.
    """
    found: dict[str, DataSet | None] = {}
    for data in spec.data:
        sources = [Path(source) for source in data.sources]
        if data.synth is not None:
            sources = [out / DATA / data.name / LABELS]
        there = data.synth is None or sources[0].exists()
        found[data.name] = divide(data, sources, spec.sweep).data_set if there else None
    return found


def prepare(spec: CompareSpec, out: Path, say: Say) -> dict[str, DataSet]:
    """Make what is missing of all data sets, and check that the rest is as it was.

    Args:
        spec: the comparison.
        out: its folder.
        say: is called with what takes time, and with what a reader of the results must know.

    Raises:
        DataError: if a source cannot be used, or its labels cannot be learned.
        RunFolderError: if a data set has changed since the comparison began.
    """
    durable.create_folder(out / DATA)
    return {data.name: _prepare(spec, data, out / DATA, say) for data in spec.data}


def _prepare(spec: CompareSpec, data: DataSpec, folder: Path, say: Say) -> DataSet:
    sources = [Path(source) for source in data.sources]
    if data.synth is not None:
        sources = [_make(data.synth, folder / data.name, say)]
    division = divide(data, sources, spec.sweep)
    for notice in division.data_set.notices:
        say(f"data {data.name}: {notice}")
    for (fold, sweep), rows in division.manifests.items():
        _write(folder / _manifest_name(data.name, fold, sweep=sweep), rows, data)
    return division.data_set


def _make(synth: SynthSet, folder: Path, say: Say) -> Path:
    """Make a synthetic set, unless it is there."""
    labels, record = folder / LABELS, folder.with_name(f"{folder.name}.json")
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
