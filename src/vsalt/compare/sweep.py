"""What the sweep chooses for every arm."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from vsalt.compare.cells import Cell, Choice, choice_key
from vsalt.compare.result import CellResult
from vsalt.compare.spec import CompareSpec


def choose(
    spec: CompareSpec, cells: Sequence[Cell], found: Mapping[str, CellResult]
) -> dict[str, Choice]:
    """Return the best candidate of every arm, by `choice_key`.

    It is the one with the highest accuracy on the validation part; among equals the one whose
    learning rate is nearest to the arm's own, then the first. Arms of which a candidate is missing
    have no choice.
    """
    by_key: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_key[choice_key(spec, spec.data_set(cell.data), cell.fold, cell.arm)].append(cell)
    return {
        key: max(own, key=lambda cell: (found[cell.key].accuracy, -_far(cell.choice.lr))).choice
        for key, own in by_key.items()
        if all(cell.key in found for cell in own)
    }


def _far(factor: float) -> float:
    """How far a factor is from 1, alike for its inverse."""
    return max(factor, 1 / factor)
