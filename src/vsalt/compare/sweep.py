"""What the sweep chooses for every arm."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from vsalt.compare.cells import Cell, Choice, choice_key
from vsalt.compare.result import CellResult
from vsalt.compare.spec import CompareSpec


def choose(
    spec: CompareSpec,
    cells: Sequence[Cell],
    found: Mapping[str, CellResult],
    diverged: Collection[str] = (),
) -> dict[str, Choice]:
    """Return the best candidate of every arm, by `choice_key`.

    It is the one with the highest accuracy on the validation part; among equals the one whose
    learning rate is nearest to the arm's own, then the first. Arms of which a candidate is missing
    have no choice, nor have those of which all have diverged.

    Args:
        spec: the comparison.
        cells: all candidates.
        found: results of finished cells, by key.
        diverged: keys of candidates that have no result because their training has diverged.
    """
    choices = {}
    for key, own in _by_key(spec, cells).items():
        known = [cell for cell in own if cell.key in found]
        if known and all(cell.key in found or cell.key in diverged for cell in own):
            best = max(known, key=lambda cell: (found[cell.key].accuracy, -_far(cell.choice.lr)))
            choices[key] = best.choice
    return choices


def unchosen(spec: CompareSpec, cells: Sequence[Cell], choices: Mapping[str, Choice]) -> list[str]:
    """Return for what the sweep was to choose and has not, by `choice_key`."""
    return [key for key in _by_key(spec, cells) if key not in choices]


def _by_key(spec: CompareSpec, cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    by_key: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_key[choice_key(spec, spec.data_set(cell.data), cell.fold, cell.arm)].append(cell)
    return by_key


def _far(factor: float) -> float:
    """How far a factor is from 1, alike for its inverse."""
    return max(factor, 1 / factor)
