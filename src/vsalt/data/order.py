"""Which clip comes when: a pure function of (seed, step, position in the global batch).

Slot n = step * batch_size + position is given to a source by its exact share, and inside a source
the i-th slot gets a row: every row once per pass in a keyed permutation, or, where rows have
weights, an independent keyed draw. Where images are mixed with videos, every step has one shape,
only the sources of this shape share its slots, and n counts the steps of this shape. Nothing is
counted while training, so that any number of workers, processes or accumulation steps sees the same
clips and resuming means setting the step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float64, Int64

from vsalt.data.config import SHAPES, Shape
from vsalt.data.shapes_by_step import StepShapes, image_share
from vsalt.data.shared_memory import SharedArray
from vsalt.randomness import keyed_generator, keyed_int, keyed_permutation

# A batch may straddle two passes.
_PASSES_KEPT = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class OrderSource:
    """One source of an `Order`.

    Attributes:
        rows: row numbers to draw from, shape (N,), N >= 1.
        share: the source's part of the clips, relative to the other sources.
        weights: relative probabilities of the rows, shape (N,), with replacement; None visits
            every row once per pass.
        shape: of the rows' clips.
    """

    rows: Int64[np.ndarray, "N"]
    share: Fraction
    weights: Float64[np.ndarray, "N"] | None = None
    shape: Shape = "video"


class Order:
    """Gives the row of every sample of a run.

    Args:
        seed: the run's seed.
        sources: at least one, each with a positive share. Draws are keyed by a source's place among
            them, so that videos stay where they are if images come after them.

    Attributes:
        shapes: the shape of every step.
    """

    def __init__(self, *, seed: int, sources: Sequence[OrderSource]) -> None:
        if not sources or any(source.share <= 0 or not len(source.rows) for source in sources):
            raise ValueError("every source needs rows and a share above 0, and there must be one")
        self._seed = seed
        self._rows = [SharedArray(np.asarray(source.rows, np.int64)) for source in sources]
        self._cumulative = [_cumulative(source) for source in sources]
        self.shapes = StepShapes(image_share((source.shape, source.share) for source in sources))
        self._numbers = {
            shape: [index for index, source in enumerate(sources) if source.shape == shape]
            for shape in SHAPES
        }
        self._prefix = {
            shape: _integer_prefix([sources[index].share for index in numbers])
            for shape, numbers in self._numbers.items()
        }
        self._passes: list[dict[int, np.ndarray]] = [{} for _ in sources]

    def row(self, *, step: int, position: int, batch_size: int, attempt: int = 0) -> int:
        """Return the row of a sample.

        Args:
            step: optimiser step, from 0.
            position: place in the global batch, in [0, batch_size).
            batch_size: global batch size in clips.
            attempt: 0 for the clip in turn; 1, 2, … for the clips that replace it, in this order,
                when files cannot be read: keyed draws from the same source.
        """
        source, index = self.locate(step=step, position=position, batch_size=batch_size)
        if attempt == 0:
            return self._row_in_turn(source, index)
        return self._drawn_row(source, "replacement", step, position, attempt)

    def locate(self, *, step: int, position: int, batch_size: int) -> tuple[int, int]:
        """Return the source of a sample and how many earlier samples the source has had.

        The sources are halved again and again; of the n slots that reach a node, its left half
        with share a of a + b gets floor(n a / (a + b)). These counts grow with n by 0 or 1, so
        each slot has one source, and over any stretch of slots the count of each of K sources is
        its share to within ceil(log2 K), exclusive.
        """
        shape = self.shapes.at(step)
        slot = self.shapes.before(step, shape) * batch_size + position
        prefix = self._prefix[shape]
        low, high = 0, len(prefix) - 1
        while high - low > 1:
            middle = (low + high) // 2
            left = prefix[middle] - prefix[low]
            both = prefix[high] - prefix[low]
            before, after = slot * left // both, (slot + 1) * left // both
            if after > before:
                slot, high = before, middle
            else:
                slot, low = slot - before, middle
        return self._numbers[shape][low], slot

    def _row_in_turn(self, source: int, index: int) -> int:
        if self._cumulative[source] is not None:
            return self._drawn_row(source, "weighted", index)
        rows = self._rows[source].values
        turn, place = divmod(index, len(rows))
        return int(rows[self._permutation(source, turn)[place]])

    def _permutation(self, source: int, turn: int) -> np.ndarray:
        passes = self._passes[source]
        if turn not in passes:
            while len(passes) >= _PASSES_KEPT:
                del passes[min(passes)]
            passes[turn] = keyed_permutation(
                len(self._rows[source].values), "order", self._seed, source, turn
            )
        return passes[turn]

    def _drawn_row(self, source: int, purpose: str, *place: int) -> int:
        rows, weights = self._rows[source].values, self._cumulative[source]
        if weights is None:
            # The remainder of 64 random bits is uniform to 1 part in 2^64 / N.
            index = keyed_int("order", purpose, self._seed, source, *place) % len(rows)
        else:
            u = keyed_generator("order", purpose, self._seed, source, *place).random()
            cumulative = weights.values
            # Rounding can lift u * total to the total, past the last row.
            index = int(np.searchsorted(cumulative, u * cumulative[-1], side="right"))
            index = min(index, int(np.searchsorted(cumulative, cumulative[-1], side="left")))
        return int(rows[index])

    def __getstate__(self) -> dict[str, object]:
        """Leave the cached permutations behind: only the main process draws rows in turn."""
        return {**self.__dict__, "_passes": [{} for _ in self._passes]}


def _cumulative(source: OrderSource) -> SharedArray | None:
    if source.weights is None:
        return None
    weights = np.asarray(source.weights, dtype=np.float64)
    if weights.shape != source.rows.shape or not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError("weights need one number of at least 0 per row, and one above 0")
    return SharedArray(np.cumsum(weights))


def _integer_prefix(shares: Sequence[Fraction]) -> list[int]:
    """Return prefix sums of the shares, scaled to whole numbers so that all counts are exact."""
    scale = math.lcm(*(Fraction(share).denominator for share in shares))
    prefix = [0]
    for share in shares:
        prefix.append(prefix[-1] + int(Fraction(share) * scale))
    return prefix
