"""Predict only a part of the hidden tokens; what the encoder sees stays as it is.

Predicting half of them costs less and hardly changes what is learned (VideoMAE V2,
arXiv 2303.16727). Of n hidden tokens, max(1, round(share n)) are predicted, so shapes stay static
(docs/decisions/0018-target-subsets.md).
"""

import numpy as np

from vsalt.masking.config import CELL_TOKENS, TargetChoice
from vsalt.masking.types import Grid, Mask, Masker
from vsalt.randomness import keyed_generator


class FewerTargets:
    """Draws another masker's masks, and keeps a part of the targets, drawn by a key of its own.

    With `running_cell` tokens of the cell come first: if there are more of them than are to be
    kept, a random subset; if there are fewer, all of them and random others.

    Args:
        masker: draws the masks.
        grid: size of a clip in tokens (T, H, W).
        share: of the targets that are kept, below 1.
        choice: which ones.
    """

    def __init__(self, masker: Masker, grid: Grid, share: float, choice: TargetChoice) -> None:
        self.masker = masker
        self.share = share
        self.choice = choice
        self._cells = [running_cell(grid, share, phase).ravel() for phase in range(CELL_TOKENS)]

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of (context, target) tokens; their expectation where they vary."""
        num_context, num_targets = self.masker.counts
        return num_context, num_predicted(num_targets, self.share)

    def draw(self, seed: int, step: int, position: int, kind: str) -> Mask:
        """Return the mask of a key."""
        mask = self.masker.draw(seed, step, position, kind)
        generator = keyed_generator("targets", seed, step, position, kind)
        targets = generator.permutation(mask.targets)
        if self.choice == "running_cell":
            cell = self._cells[generator.integers(CELL_TOKENS)]
            # Stable, so that each of the two parts stays in random order.
            targets = targets[np.argsort(~cell[targets], kind="stable")]
        kept = targets[: num_predicted(len(targets), self.share)]
        return Mask(context=mask.context, targets=np.sort(kept))


def num_predicted(num_targets: int, share: float) -> int:
    """Return how many of the hidden tokens are predicted; at least one."""
    return max(1, round(share * num_targets))


def running_cell(grid: Grid, share: float, phase: int) -> np.ndarray:
    """Return a boolean array of shape `grid`, True at the tokens that VideoMAE V2 decodes.

    Every time step is tiled by one cell of 2 x 2 tokens. The cell's tokens, in raster order, are a
    window of a ring of 4 places; the first 4 - 4 share places of the ring are not decoded, and the
    window moves by one place per time step (arXiv 2303.16727, and its code). Where a side of the
    grid is odd, the last cells are cut.

    Args:
        grid: size of a clip in tokens.
        share: of the tokens that are decoded; round(4 share) of each cell.
        phase: where the window stands before the first time step, 0 to 3.
    """
    steps, rows, columns = np.indices(grid)
    place = 2 * (rows % 2) + columns % 2
    window = (place + phase + steps + 1) % CELL_TOKENS
    decoded: np.ndarray = window >= CELL_TOKENS - round(CELL_TOKENS * share)
    return decoded
