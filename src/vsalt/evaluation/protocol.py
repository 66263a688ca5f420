"""Which rows a probe learns from, which it is tuned on, and which it is tested on.

A task is divided by the manifest's split column into one part (train, test), or by a column of
folds into as many parts as it has values, each fold being tested once with all others as training
rows. In every part a share of the training rows, whole groups only, is set aside to choose
hyper-parameters on; the test rows play no role in any choice.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from vsalt.data.manifest import Row
from vsalt.errors import DataError, report_problems
from vsalt.randomness import keyed_permutation

SELECTION_SHARE = 0.2
NO_GROUPS = "none"
_DEFAULT_GROUP_COLUMN = "group"
_NAMES_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """How rows become a task.

    Attributes:
        label_column: column of the class.
        split_column: column whose values train and test divide the rows. Not used with `folds`.
        folds: column of folds.
        test_share: instead of a column: this share of every class is drawn for testing, whole
            groups only.
        group_column: column of groups (people, scenes, patients). "group" is used where it is
            there, any other name must exist, "none" makes every row stand alone.
        seed: key of the selection part.
    """

    label_column: str = "label"
    split_column: str = "split"
    folds: str | None = None
    test_share: float | None = None
    group_column: str = _DEFAULT_GROUP_COLUMN
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        share = self.test_share
        if share is not None and not 0 < share < 1:
            report_problems([f"test-share is {share}; it must be between 0 and 1"])
        if share is not None and self.folds is not None:
            report_problems(["test-share and folds exclude each other; give one of them"])


@dataclass(frozen=True, kw_only=True)
class Part:
    """One division of a task's rows; all three are indices into `Task.rows`, in rising order.

    Attributes:
        name: "test", or the value of the fold that is tested.
        fit: training rows that candidates learn from.
        selection: training rows that candidates are compared on.
        test: rows that the chosen head is scored on, once.
    """

    name: str
    fit: Int64[np.ndarray, "fit"]
    selection: Int64[np.ndarray, "selection"]
    test: Int64[np.ndarray, "test"]

    @property
    def train(self) -> Int64[np.ndarray, "train"]:
        """All training rows, which the chosen head learns from."""
        return np.sort(np.concatenate([self.fit, self.selection]))


@dataclass(frozen=True, kw_only=True)
class Task:
    """A classification task.

    Attributes:
        rows: the rows that take part, in the order of the source.
        classes: names in order.
        labels: index of each row's class.
        groups: index of each row's group, or None where there are no groups.
        parts: one, or one per fold.
        left_out: number of rows of the source that take no part, by reason.
        num_shared_test_rows: test rows whose group also has training rows in the same part.
    """

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    labels: Int64[np.ndarray, "rows"]
    groups: Int64[np.ndarray, "rows"] | None
    parts: tuple[Part, ...]
    left_out: dict[str, int]
    num_shared_test_rows: int

    @property
    def num_test_rows(self) -> int:
        """Test rows of all parts."""
        return sum(len(part.test) for part in self.parts)


def make_task(rows: Sequence[Row], options: TaskOptions) -> Task:
    """Divide rows into a task.

    Rows without a label, and rows whose split is neither train nor test (or whose fold is empty),
    are left out and counted.

    Raises:
        DataError: if a column does not exist, there are no training or no test rows, fewer than two
            classes or folds, a class of the test rows has no training rows, or no group can be set
            aside to choose hyper-parameters on.
    """
    _require_column(rows, options.label_column, "--label-column")
    places = _places(rows, options) if options.test_share is None else _draw(rows, options)
    used, left_out = _choose_rows(rows, places, options)
    if not used:
        raise DataError(_no_rows(places, options))
    rows = [rows[index] for index in used]
    classes, labels = _indices([row.columns[options.label_column] for row in rows])
    if len(classes) < 2:
        raise DataError(
            f"all rows have the {options.label_column} {classes[0]!r}; a probe needs at least two "
            "classes (--label-column)"
        )
    groups = group_numbers(rows, options.group_column)
    masks = _test_masks([places[index] for index in used], options)
    parts = tuple(_part(name, mask, labels, classes, groups, options) for name, mask in masks)
    return Task(
        rows=tuple(rows),
        classes=classes,
        labels=labels,
        groups=groups,
        parts=parts,
        left_out=left_out,
        num_shared_test_rows=_count_shared(parts, groups),
    )


def _require_column(rows: Sequence[Row], name: str, flag: str) -> None:
    if any(name in row.columns for row in rows):
        return
    known = sorted({column for row in rows for column in row.columns})
    if flag == "--label-column" and name == "label":
        raise DataError(
            "no row has a label: fill the column 'label' of the manifest or name another by "
            "--label-column; in a folder, put the videos of each class into a sub-folder"
            + (f". Columns: {', '.join(known)}" if known else "")
        )
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}? Columns: " if near else "; columns: "
    text = f"there is no column {name!r} ({flag}){hint}{', '.join(known) or 'none'}"
    if flag == "--split-column":
        text += (
            ". Name the column that says train or test, or a column of folds with --folds, or let "
            "a share of the rows be drawn for testing: --test-share 0.2"
        )
    raise DataError(text)


def _places(rows: Sequence[Row], options: TaskOptions) -> list[str]:
    """Return what the column of splits or folds says of each row."""
    column = options.folds or options.split_column
    _require_column(rows, column, "--folds" if options.folds else "--split-column")
    return [_place(row, column, options.folds is None) for row in rows]


def _draw(rows: Sequence[Row], options: TaskOptions) -> list[str]:
    """Return train or test for each row, drawn by the seed."""
    assert options.test_share is not None
    labelled = [index for index, row in enumerate(rows) if row.columns.get(options.label_column)]
    chosen = [rows[index] for index in labelled]
    _, labels = _indices([row.columns[options.label_column] for row in chosen])
    groups = group_numbers(chosen, options.group_column)
    units = np.arange(len(chosen)) if groups is None else groups
    is_test = choose_selection(labels, units, key=f"{options.seed}/test", share=options.test_share)
    places = ["train"] * len(rows)
    for index, test in zip(labelled, is_test, strict=True):
        places[index] = "test" if test else "train"
    return places


def _place(row: Row, column: str, is_split: bool) -> str:
    value = row.columns.get(column, "").strip()
    return value.casefold() if is_split else value


def _choose_rows(
    rows: Sequence[Row], places: list[str], options: TaskOptions
) -> tuple[list[int], dict[str, int]]:
    """Return the indices of the rows that take part, and why how many others do not."""
    used: list[int] = []
    reasons: Counter[str] = Counter()
    for index, (row, place) in enumerate(zip(rows, places, strict=True)):
        if not row.columns.get(options.label_column):
            reasons["no label"] += 1
        elif not place:
            reasons["no fold" if options.folds else "no split"] += 1
        elif options.folds is None and place not in ("train", "test"):
            reasons[f"split {place}"] += 1
        else:
            used.append(index)
    return used, dict(reasons)


def _no_rows(places: list[str], options: TaskOptions) -> str:
    column = options.folds or options.split_column
    return (
        f"no row has a {options.label_column} and a usable {column}; "
        f"values of {column}: {_listed(sorted(set(places) - {''}))}"
        + ("" if options.folds else f". If these are folds, give --folds {column}")
    )


def _indices(names: Sequence[str]) -> tuple[tuple[str, ...], Int64[np.ndarray, "rows"]]:
    known = _in_order(names)
    index = {name: number for number, name in enumerate(known)}
    return known, np.array([index[name] for name in names], dtype=np.int64)


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The distinct names, sorted; as numbers if all of them are whole numbers."""
    distinct = sorted(set(names))
    if all(name.isdecimal() for name in distinct):
        distinct.sort(key=int)
    return tuple(distinct)


def group_numbers(rows: Sequence[Row], column: str) -> Int64[np.ndarray, "rows"] | None:
    """Return the index of each row's group (see `TaskOptions.group_column`), or None.

    Raises:
        DataError: if a column other than the default is absent.
    """
    if column == NO_GROUPS:
        return None
    if column == _DEFAULT_GROUP_COLUMN and not any(column in row.columns for row in rows):
        return None
    _require_column(rows, column, "--group-column")
    # A row without a group stands alone; the pair keeps its name apart from those of groups.
    keys = [
        ("group", row.columns[column]) if column in row.columns else ("row", str(index))
        for index, row in enumerate(rows)
    ]
    number: dict[tuple[str, str], int] = {}
    return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64)


def _test_masks(
    places: list[str], options: TaskOptions
) -> list[tuple[str, Int64[np.ndarray, "rows"]]]:
    """Name of each part, and 1 where a row is tested in it."""
    found = _in_order(places)
    if options.folds is None:
        for place in ("train", "test"):
            if place not in found:
                raise DataError(
                    f"no labelled row has the {options.split_column} {place!r} (--split-column); "
                    f"values: {_listed(found)}. A column of folds can be given with --folds"
                )
        found = ("test",)
    elif len(found) < 2:
        raise DataError(f"--folds {options.folds} has the one value {found[0]!r}; it needs two")
    return [(name, np.array([place == name for place in places], dtype=np.int64)) for name in found]


def _part(
    name: str,
    is_test: Int64[np.ndarray, "rows"],
    labels: Int64[np.ndarray, "rows"],
    classes: tuple[str, ...],
    groups: Int64[np.ndarray, "rows"] | None,
    options: TaskOptions,
) -> Part:
    test, train = np.flatnonzero(is_test == 1), np.flatnonzero(is_test == 0)
    where = f"fold {name}" if options.folds else "the test split"
    unknown = [classes[index] for index in np.setdiff1d(labels[test], labels[train])]
    if unknown:
        raise DataError(
            f"{where} has classes without training rows: {_listed(unknown)}. Remove these rows, "
            "or use another --split-column or --folds"
        )
    if len(np.unique(labels[train])) < 2:
        raise DataError(f"the training rows beside {where} have one class only")
    units = np.arange(len(train)) if groups is None else groups[train]
    chosen = choose_selection(labels[train], units, key=f"{options.seed}/{name}")
    return Part(name=name, fit=train[~chosen], selection=train[chosen], test=test)


def choose_selection(
    labels: Int64[np.ndarray, "rows"],
    units: Int64[np.ndarray, "rows"],
    *,
    key: str,
    share: float = SELECTION_SHARE,
) -> np.ndarray:
    """Choose about `share` of the rows of every class, whole units only.

    Units are visited from large to small, in a keyed order among equals. One is taken if that
    brings the numbers of taken rows per class closer (in squares) to `share` times the class, and
    leaves every class at least one row. Units of one row each give every class its share, rounded.

    Args:
        labels: class of each row.
        units: what each row must stay together with.
        key: key of the order.
        share: in (0, 1).

    Returns:
        True where a row is chosen, shape (rows,); at least one is.

    Raises:
        DataError: if no unit can be taken.
    """
    counts = _count_classes(labels, units)
    target = share * counts.sum(axis=0)
    order = keyed_permutation(len(counts), "probe selection", key)
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    taken = np.zeros(len(counts), dtype=bool)
    total = np.zeros_like(target)
    for unit in order:
        better = _distance(total + counts[unit], target) < _distance(total, target)
        if better and _leaves_every_class(counts, total + counts[unit]):
            taken[unit] = True
            total += counts[unit]
    if not taken.any():
        taken[_least_bad(counts, target, order)] = True
    _, index = np.unique(units, return_inverse=True)
    return taken[index]


def _count_classes(
    labels: Int64[np.ndarray, "rows"], units: Int64[np.ndarray, "rows"]
) -> Float64[np.ndarray, "units classes"]:
    _, rows = np.unique(units, return_inverse=True)
    _, columns = np.unique(labels, return_inverse=True)
    counts = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(counts, (rows, columns), 1)
    return counts


def _distance(total: np.ndarray, target: np.ndarray) -> float:
    return float(np.square(total - target).sum())


def _leaves_every_class(counts: np.ndarray, taken: np.ndarray) -> bool:
    return bool((counts.sum(axis=0) - taken >= 1).all())


def _least_bad(counts: np.ndarray, target: np.ndarray, order: np.ndarray) -> int:
    """The one unit whose counts are nearest to the target, where none brings it closer."""
    possible = [unit for unit in order if _leaves_every_class(counts, counts[unit])]
    if not possible:
        raise DataError(
            f"no part of the {int(counts.sum())} training rows ({len(counts)} groups) can be set "
            "aside to choose hyper-parameters on without removing a class from training; give "
            f"more rows, or --group-column {NO_GROUPS} to let groups be torn apart"
        )
    return int(min(possible, key=lambda unit: _distance(counts[unit], target)))


def _count_shared(parts: Sequence[Part], groups: Int64[np.ndarray, "rows"] | None) -> int:
    if groups is None:
        return 0
    return sum(int(np.isin(groups[part.test], groups[part.train]).sum()) for part in parts)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    shown = ", ".join(names[:_NAMES_SHOWN]) or "none"
    return f"{shown} and {more} more" if more > 0 else shown
