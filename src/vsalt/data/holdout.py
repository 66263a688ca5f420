"""Sets groups of rows aside for the validation loss."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64, UInt64

from vsalt.data.manifest import Row
from vsalt.errors import DataError
from vsalt.randomness import keyed_int


def split_holdout(
    rows: Sequence[Row], indices: Sequence[int], *, share: float, seed: int
) -> tuple[list[int], list[int]]:
    """Split row numbers into those to train on and those to hold out, never tearing a group apart.

    Rows without a group are grouped by the name of their file. Groups that have a file in common
    (two sources may name or group it differently) are one. Groups come in the order of a hash of
    their name and the seed, so that the choice does not depend on the order of the manifest, and
    are taken until `share` of the rows is reached. A group that would make it more than twice
    that, or would leave a source without a row, or without one of its images or videos, is passed
    over; if that leaves nothing, or nothing of one shape, the smallest possible group is taken.

    Args:
        rows: all rows of the run.
        indices: numbers of the rows to split.
        share: share of `indices` to hold out, in [0, 1); 0 holds nothing out.
        seed: the run's seed.

    Returns:
        Row numbers (train, held out), each in the order of `indices`.

    Raises:
        DataError: `share` is above 0 but no group can be held out.
    """
    if share == 0:
        return list(indices), []
    group_of, names = _groups([rows[index] for index in indices])
    hashes = np.fromiter((keyed_int("holdout", seed, *name) for name in names), dtype=np.uint64)
    parts = np.array([2 * rows[index].source + rows[index].is_image for index in indices], np.int64)
    held = _choose(parts, *_in_order(group_of, hashes), target=share * len(indices))
    if not held.any():
        raise DataError(
            f"nothing can be held out for val_loss: the {len(indices)} training rows are "
            f"{len(names)} group(s), and every source must keep one. Give "
            "--data.holdout 0, or a finer --data.group-column"
        )
    numbers = np.array(indices, dtype=np.int64)
    return numbers[~held].tolist(), numbers[held].tolist()


def _groups(rows: Sequence[Row]) -> tuple[Int64[np.ndarray, "rows"], list[tuple[str, str]]]:
    """Return the number of each row's group, and the groups' names.

    Of the names of groups that are one, the first in the alphabet counts.
    """
    numbers: dict[tuple[str, str], int] = {}
    first_of_file: dict[object, int] = {}
    merged: list[int] = []
    found = np.empty(len(rows), dtype=np.int64)
    for place, row in enumerate(rows):
        name = ("file", row.relative_path) if row.group is None else ("group", row.group)
        number = numbers.setdefault(name, len(numbers))
        if number == len(merged):
            merged.append(number)
        found[place] = number
        other = first_of_file.setdefault(row.path if row.size is None else row.media, number)
        if other != number:
            _merge(merged, number, other)
    roots = np.array([_root(merged, number) for number in range(len(merged))], dtype=np.int64)
    kept, dense = np.unique(roots, return_inverse=True)
    if len(kept) == len(roots):
        return found, list(numbers)
    names: dict[int, tuple[str, str]] = {}
    for name, group in zip(numbers, dense.tolist(), strict=True):
        names[group] = min(name, names.get(group, name))
    return dense[found], [names[group] for group in range(len(kept))]


def _root(merged: list[int], number: int) -> int:
    while merged[number] != number:
        # Halve the way, so that long chains do not stay long.
        merged[number] = merged[merged[number]]
        number = merged[number]
    return number


def _merge(merged: list[int], one: int, other: int) -> None:
    one, other = _root(merged, one), _root(merged, other)
    merged[max(one, other)] = min(one, other)


def _in_order(
    group_of: Int64[np.ndarray, "rows"], hashes: UInt64[np.ndarray, "groups"]
) -> tuple[Int64[np.ndarray, "rows"], Int64[np.ndarray, "groups"]]:
    """Return the rows' places, group after group in the order of hashes, and the groups' ends."""
    ranks = np.empty(len(hashes), dtype=np.int64)
    ranks[np.argsort(hashes, kind="stable")] = np.arange(len(hashes))
    rank_of = ranks[group_of]
    return np.argsort(rank_of, kind="stable"), np.cumsum(np.bincount(rank_of))


def _choose(
    parts: Int64[np.ndarray, "rows"],
    places: Int64[np.ndarray, "rows"],
    ends: Int64[np.ndarray, "groups"],
    *,
    target: float,
) -> Bool[np.ndarray, "rows"]:
    """Return which rows to hold out.

    Args:
        parts: part of each row; of a source s, 2 s is its videos and 2 s + 1 its images.
        places: the rows' places, group after group.
        ends: where each group ends in `places`.
        target: rows to hold out.
    """
    left = np.bincount(parts)
    starts = np.concatenate([[0], ends[:-1]])

    def needed(group: int) -> Int64[np.ndarray, "parts"]:
        rows = places[starts[group] : ends[group]]
        return np.bincount(parts[rows], minlength=len(left))

    def can_spare(count: Int64[np.ndarray, "parts"]) -> bool:
        return bool((left > count)[count > 0].all())

    held = np.zeros(len(parts), dtype=np.bool_)
    num_held = 0
    for group, size in enumerate((ends - starts).tolist()):
        if num_held >= target:
            break
        if num_held + size <= 2 * target and can_spare(count := needed(group)):
            held[places[starts[group] : ends[group]]] = True
            num_held += size
            left -= count
    for shape in np.unique(parts % 2).tolist():
        if (parts[held] % 2 == shape).any():
            continue
        for group in np.argsort(ends - starts, kind="stable").tolist():
            count = needed(group)
            if count[shape::2].any() and can_spare(count):
                held[places[starts[group] : ends[group]]] = True
                left -= count
                break
    return held
