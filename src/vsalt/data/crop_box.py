"""A rectangle of pixels."""

from collections.abc import Sequence
from typing import NamedTuple


class CropBox(NamedTuple):
    """A rectangle of pixels of a picture.

    Attributes:
        top: its first row.
        left: its first column.
        height: its number of rows.
        width: its number of columns.
    """

    top: int
    left: int
    height: int
    width: int

    def within(self, outer: "CropBox") -> "CropBox":
        """Return the same rectangle, counted from the corner of one that holds it."""
        return self._replace(top=self.top - outer.top, left=self.left - outer.left)


def bounding_box(boxes: Sequence[CropBox]) -> CropBox:
    """Return the smallest rectangle that holds all of these.

    Example:
        >>> bounding_box([CropBox(0, 4, 2, 2), CropBox(1, 0, 3, 5)])
        CropBox(top=0, left=0, height=4, width=6)
    """
    top = min(box.top for box in boxes)
    left = min(box.left for box in boxes)
    height = max(box.top + box.height for box in boxes) - top
    width = max(box.left + box.width for box in boxes) - left
    return CropBox(top, left, height, width)
