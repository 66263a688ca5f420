"""What one picture of the report says, before it is known how large it can be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from vsalt.report.layout import Layout

Draw: TypeAlias = Callable[[Layout], Sequence[UInt8[np.ndarray, "S h w 3"]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sheet:
    """Rows of frames of one clip, a column per time step.

    Attributes:
        title: a few words.
        explanation: how to read it, in sentences; the same for all clips.
        details: sentences on this clip.
        alt: the same for those who cannot see it.
        rows: name of each row, from the top.
        draw: draws the rows at the size of a layout.
    """

    title: str
    explanation: str
    details: str
    alt: str
    rows: tuple[str, ...]
    draw: Draw
