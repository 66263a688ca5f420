"""A picture as a page shows it; plain, so that a page without pictures needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as a page shows it.

    Attributes:
        title: a few words.
        caption: what is seen, in sentences.
        alt: the same for those who cannot see it.
        png: the file.
        width: in pixels.
        height: in pixels.
        rows: name of each row of frames, from the top; all are of one height.
        num_columns: frames in a row.
    """

    title: str
    caption: str
    alt: str
    png: bytes
    width: int
    height: int
    rows: tuple[str, ...]
    num_columns: int
