"""Sets groups of rows aside for the validation loss."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from vsalt.data.manifest import Row
from vsalt.errors import DataError
from vsalt.randomness import keyed_int


def split_holdout(
    rows: Sequence[Row], indices: Sequence[int], *, share: float, seed: int
) -> tuple[list[int], list[int]]:
    """Split row numbers into those to train on and those to hold out, never tearing a group apart.

    Rows without a group are grouped by file. Groups come in the order of a hash of their name
    and the seed, so that the choice does not depend on the order of the manifest, and are taken
    until `share` of the rows is reached. A group that would make it more than twice that, or
    would leave a source without a row, is passed over; if that leaves nothing, the smallest
    possible group is taken.

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
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index in indices:
        groups[_group(rows[index])].append(index)
    order = sorted(groups, key=lambda name: (keyed_int("holdout", seed, *name), name))
    held = _choose(rows, indices, [groups[name] for name in order], share * len(indices))
    if not held:
        raise DataError(
            f"nothing can be held out for val_loss: the {len(indices)} training rows are "
            f"{len(groups)} group(s), and every source must keep one. Give "
            "--data.holdout 0, or a finer --data.group-column"
        )
    return [index for index in indices if index not in held], [
        index for index in indices if index in held
    ]


def _group(row: Row) -> tuple[str, str]:
    if row.group is not None:
        return "group", row.group
    return "file", row.relative_path


def _choose(
    rows: Sequence[Row], indices: Sequence[int], groups: Sequence[list[int]], target: float
) -> set[int]:
    left = Counter(rows[index].source for index in indices)

    def can_spare(group: list[int]) -> bool:
        needed = Counter(rows[index].source for index in group)
        return all(left[source] > count for source, count in needed.items())

    held: set[int] = set()
    for group in groups:
        if len(held) >= target:
            break
        if len(held) + len(group) <= 2 * target and can_spare(group):
            held.update(group)
            left.subtract(rows[index].source for index in group)
    if not held:
        possible = [group for group in groups if can_spare(group)]
        possible.sort(key=lambda group: len(group))
        held.update(*possible[:1])
    return held
