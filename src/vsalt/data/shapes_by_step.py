"""Which steps have clips of images, and which of videos: a batch has one clip shape.

Of the first n steps, floor(n p) are image steps, where p is the share of the image sources: over
any stretch of steps their number is right to within one, and nothing is counted while training. A
source that holds both videos and images is treated as two, whose shares are as their numbers of
rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from vsalt.data.config import SHAPES, Shape
from vsalt.data.manifest import Row


@dataclass(frozen=True)
class StepShapes:
    """The shape of every step of a run.

    Attributes:
        image_share: share of the steps whose clips are images, from 0 to 1.

    Example:
        >>> shapes = StepShapes(Fraction(2, 5))
        >>> [shapes.at(step) for step in range(5)]
        ['video', 'video', 'image', 'video', 'image']
    """

    image_share: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        """Check the share."""
        if not 0 <= self.image_share <= 1:
            raise ValueError(f"image_share is {self.image_share}; it must be from 0 to 1")

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes that steps may have, videos first."""
        if not self.image_share:
            return ("video",)
        return SHAPES if self.image_share < 1 else ("image",)

    @property
    def measured(self) -> Shape:
        """The shape whose features are measured: unlike shapes must not be compared."""
        return self.shapes[0]

    def at(self, step: int) -> Shape:
        """Return the shape of a step; the first step is 0."""
        return "image" if self.before(step + 1, "image") > self.before(step, "image") else "video"

    def before(self, step: int, shape: Shape) -> int:
        """Return how many of the first `step` steps have this shape."""
        images = step * self.image_share.numerator // self.image_share.denominator
        return images if shape == "image" else step - images

    def due(self, step: int, every: int, num_steps: int) -> bool:
        """Return whether a step is an `every`-th one of its own shape, or the last one.

        Counting all steps alike would give the turns to one shape only wherever shapes alternate in
        time with `every`.

        Args:
            step: from 0.
            every: steps of one shape from one turn to the next.
            num_steps: steps of the run.
        """
        shape = self.at(step)
        done = self.before(step + 1, shape)
        return done % every == 0 or done == self.before(num_steps, shape)


@dataclass(frozen=True, kw_only=True)
class Part:
    """The rows of one shape in one source.

    Attributes:
        source: index of the source among those of the run.
        shape: of all its rows.
        rows: row numbers to train on, at least one.
        share: its part of the clips, relative to the other parts.
    """

    source: int
    shape: Shape
    rows: tuple[int, ...]
    share: Fraction


def split_by_shape(
    rows: Sequence[Row], train: Sequence[Sequence[int]], shares: Sequence[Fraction]
) -> tuple[Part, ...]:
    """Cut sources into parts of one shape: first all parts of videos, then all parts of images.

    Args:
        rows: all rows of the run.
        train: for each source, the numbers of the rows to train on.
        shares: for each source, its part of the clips, relative to the others.
    """
    parts = []
    for shape in SHAPES:
        for source, (indices, share) in enumerate(zip(train, shares, strict=True)):
            found = tuple(index for index in indices if rows[index].is_image == (shape == "image"))
            if found:
                part_share = share * Fraction(len(found), len(indices))
                parts.append(Part(source=source, shape=shape, rows=found, share=part_share))
    return tuple(parts)


def image_share(parts: Iterable[tuple[Shape, Fraction]]) -> Fraction:
    """Return the share of the clips, and so of the steps, that are images.

    Args:
        parts: shape and share of each part of the clips.
    """
    sums: dict[Shape, Fraction] = dict.fromkeys(SHAPES, Fraction(0))
    for shape, share in parts:
        sums[shape] += share
    return sums["image"] / sum(sums.values())
