"""Divides the rows of a data set into those for training and those for testing, and checks them.

All of it is in memory, so that mistakes are told before anything is written or trained.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vsalt.compare.spec import NO_GROUPS, DataSpec, SweepSpec
from vsalt.data.manifest import ManifestColumns, Row, read_source
from vsalt.errors import DataError
from vsalt.evaluation.protocol import (
    Task,
    TaskOptions,
    choose_selection,
    group_numbers,
    make_task,
)
from vsalt.report.numbers import plural

SPLIT = "split"
MOST_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """What is to know of a data set.

    Attributes:
        name: of the specification.
        folds: their values in order, or (None,).
        num_train: rows for training, of folds the fewest.
        num_test: labelled test rows, of all folds.
        num_classes: of the labels.
        num_groups: groups of the test rows, those without counted as one each; None where no row
            has a group.
        num_shared: test rows, of all folds, of whose group other rows are for training.
        without_groups: whether the specification says that every row stands alone.
        unused: rows that take no part, by the reason.
    """

    name: str
    folds: tuple[str | None, ...] = (None,)
    num_train: int = 0
    num_test: int = 0
    num_classes: int = 0
    num_groups: int | None = None
    num_shared: int = 0
    without_groups: bool = False
    unused: Mapping[str, int]

    @property
    def left_out(self) -> str:
        """How many rows take no part, and why; empty if all do."""
        total = sum(self.unused.values())
        why = ", ".join(f"{count:,} {reason}" for reason, count in self.unused.items())
        return f"{plural(total, 'row')} left out: {why}" if total else ""

    @property
    def notices(self) -> list[str]:
        """What a reader of the results must know."""
        found = []
        if self.num_shared:
            found.append(
                f"{plural(self.num_shared, 'test row')} of groups that training rows are of, too; "
                "then accuracies are higher than on other groups"
            )
        if self.num_groups is None and not self.without_groups:
            found.append(
                "no groups given, so each row counts as independent; if several are of one person, "
                "scene or recording, name the column that says so by group_column, or intervals "
                "are too narrow"
            )
        return [*found, *([self.left_out] if self.unused else [])]


@dataclass(frozen=True, kw_only=True)
class Division:
    """A data set, and the rows of its manifests.

    Attributes:
        data_set: what is to know of it.
        manifests: rows by fold, and whether they are those of the sweep.
    """

    data_set: DataSet
    manifests: Mapping[tuple[str | None, bool], Sequence[Row]]


def divide(data: DataSpec, sources: Sequence[Path], sweep: SweepSpec | None) -> Division:
    """Read a data set, divide it, and make sure that a probe can learn and be tested.

    Args:
        data: what the specification says of it.
        sources: its manifests or folders.
        sweep: search that needs a part of the training rows; None without one.

    Raises:
        DataError: if a source cannot be used, or its labels cannot be learned.
    """
    where = f"data {data.name}"
    with _words_of_spec(where):
        rows = _read(data, sources)
        folds = (None,) if data.folds is None else _folds(rows, data.folds)
        places = {fold: _divide(rows, data, fold) for fold in folds}
    manifests: dict[tuple[str | None, bool], list[Row]] = {}
    if data.trained_on is not None:
        manifests[None, False] = _to_score(rows, data)
        tasks = [_task(data, manifests[None, False], where, folds=data.folds)]
    else:
        manifests = {(fold, False): divided for fold, divided in places.items()}
        tasks = [
            _task(data, divided, where if fold is None else f"{where}, fold {fold}")
            for fold, divided in places.items()
        ]
        manifests |= _for_sweeps(data, places, sweep)
    return Division(data_set=_data_set(data, rows, places, tasks), manifests=manifests)


def _data_set(
    data: DataSpec,
    rows: Sequence[Row],
    places: Mapping[str | None, Sequence[Row]],
    tasks: Sequence[Task],
) -> DataSet:
    tested = [row for divided in places.values() for row in divided if row.split == "test"]
    labelled = [row for row in tested if row.columns.get(data.label_column)]
    groups = {row.columns.get(data.group_column) for row in labelled} - {None}
    alone = sum(data.group_column not in row.columns for row in labelled)
    has_groups = bool(groups) and data.group_column != NO_GROUPS
    unused = _unused(rows, data)
    if len(labelled) < len(tested):
        unused["tested, without a label"] = len(tested) - len(labelled)
    return DataSet(
        name=data.name,
        folds=(None,) if data.trained_on is not None else tuple(places),
        num_train=min(sum(row.split == "train" for row in divided) for divided in places.values()),
        num_test=sum(task.num_test_rows for task in tasks),
        num_classes=max(len(task.classes) for task in tasks),
        num_groups=len(groups) + alone if has_groups else None,
        num_shared=sum(_num_shared(divided, data) for divided in places.values()),
        without_groups=data.group_column == NO_GROUPS,
        unused=unused,
    )


def _unused(rows: Sequence[Row], data: DataSpec) -> dict[str, int]:
    """Count the rows that are neither trained nor tested on, by what their column says."""
    values = Counter(_value(row, data) for row in rows)
    if data.folds is not None:
        return {f"without a {data.folds}": values[""]} if values[""] else {}
    return {
        f"of {data.split_column} {value}" if value else f"without a {data.split_column}": count
        for value, count in sorted(values.items())
        if value.casefold() not in ("train", "test")
    }


def _value(row: Row, data: DataSpec) -> str:
    return row.columns.get(data.folds or data.split_column, "").strip()


def _num_shared(divided: Sequence[Row], data: DataSpec) -> int:
    """Count test rows whose group is torn: the source says which rows are tested, not we."""
    if data.group_column == NO_GROUPS:
        return 0
    trained = {row.group for row in divided if row.split == "train"} - {None}
    return sum(row.split == "test" and row.group in trained for row in divided)


def _task(data: DataSpec, rows: Sequence[Row], where: str, folds: str | None = None) -> Task:
    """Return the task of a probe, as it will be; labels that cannot be learned are told."""
    options = TaskOptions(
        label_column=data.label_column, group_column=data.group_column, folds=folds
    )
    with _words_of_spec(where):
        return make_task(rows, options)


@contextmanager
def _words_of_spec(where: str) -> Iterator[None]:
    """Let messages of other verbs name the keys of the specification, not flags."""
    try:
        yield
    except DataError as error:
        text = re.sub(r"--(?:data\.)?(label|split|group)-column", r"\1_column", str(error))
        text = text.replace("--data takes", "sources take").replace("--folds", "folds")
        raise DataError(text if text.startswith(where) else f"{where}: {text}") from error


def _read(data: DataSpec, sources: Sequence[Path]) -> list[Row]:
    columns = ManifestColumns(label=data.label_column, group=data.training_group_column)
    rows = [row for path in sources for row in read_source(path, columns=columns).rows]
    if any(row.size is not None for row in rows):
        raise DataError(
            "clips in shards cannot be divided anew; unpack them by `vsalt data unpack`"
        )
    if any(row.is_image for row in rows):
        raise DataError("compare is of videos, and there are images")
    if not any(data.label_column in row.columns for row in rows):
        raise DataError(
            f"no row has a {data.label_column}: name the column of the class by label_column, or "
            f"in a folder put the videos of each class into a sub-folder; {_columns(rows)}"
        )
    return rows


def _folds(rows: Sequence[Row], column: str) -> tuple[str | None, ...]:
    """Return the values of a column, as numbers if all are."""
    values = sorted({row.columns.get(column, "").strip() for row in rows} - {""})
    if all(value.isdecimal() for value in values):
        values.sort(key=int)
    if not values:
        raise DataError(f"there is no column {column!r} (folds); {_columns(rows)}")
    if len(values) < 2:
        raise DataError(f"the column of folds {column!r} has 1 value; it needs two")
    return tuple(values)


def _columns(rows: Sequence[Row]) -> str:
    known = sorted({column for row in rows for column in row.columns})
    return f"columns: {', '.join(known) or 'none'}"


def _divide(rows: Sequence[Row], data: DataSpec, fold: str | None) -> list[Row]:
    """Return the rows that take part, each as train or test.

    Rows of no fold, and rows of other splits than train and test, take no part.
    """
    divided = []
    for row in rows:
        value = _value(row, data)
        if data.folds is not None:
            place = value and ("test" if value == fold else "train")
        else:
            place = value.casefold()
        if place in ("train", "test"):
            divided.append(_placed(row, place))
    for place in ("train", "test"):
        if not any(row.split == place for row in divided):
            raise DataError(_no_place(rows, data, place))
    return divided


def _no_place(rows: Sequence[Row], data: DataSpec, place: str) -> str:
    """Say why there is nothing to train on, or to test."""
    column = data.split_column
    values = Counter(value for row in rows if (value := _value(row, data)))
    ways = "by split_column, or a column of folds by folds"
    if values:
        listed = ", ".join(f"{name} ({count:,})" for name, count in values.most_common(MOST_LISTED))
        return (
            f"no row has the {column} {place!r}; its values are {listed}. They must be train and "
            f"test; name another column {ways}"
        )
    if all(Path(source).is_dir() for source in data.sources):
        return (
            "its videos are not divided: put them into folders train/ and test/ (CLASS/ below), or "
            "give a CSV with the columns path, label and split"
        )
    return f"there is no column {column!r}; name the one of train and test {ways}; {_columns(rows)}"


def _to_score(rows: Sequence[Row], data: DataSpec) -> list[Row]:
    """Return the rows that probes are fitted to and scored on, where nothing else is trained."""
    if data.folds is None:
        return _divide(rows, data, None)
    # Which rows are tested is for the folds to say.
    return [_placed(row, "train") for row in rows if row.columns.get(data.folds, "").strip()]


def _for_sweeps(
    data: DataSpec, places: Mapping[str | None, Sequence[Row]], sweep: SweepSpec | None
) -> dict[tuple[str | None, bool], list[Row]]:
    """Return the rows of the sweep, of the first fold or of all."""
    if sweep is None:
        return {}
    chosen = list(places) if sweep.every_fold else list(places)[:1]
    found = {}
    for fold in chosen:
        where = f"data {data.name}, training rows as the sweep divides them"
        with _words_of_spec(where):
            rows = _for_sweep(places[fold], data, sweep.share)
        _task(data, rows, where)
        found[fold, True] = rows
    return found


def _for_sweep(divided: Sequence[Row], data: DataSpec, share: float) -> list[Row]:
    """Return the training rows, about a share of those with a label, whole groups, as test."""
    train = [row for row in divided if row.split == "train"]
    labelled = [index for index, row in enumerate(train) if row.columns.get(data.label_column)]
    if not labelled:
        raise DataError(f"no training row has a {data.label_column}")
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
