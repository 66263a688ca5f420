"""A rectangle of pixels."""

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
