"""What all kinds of probe have in common: heads, and how the head of one part was found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from vsalt.evaluation.selection import Trial

PooledKind = Literal["linear", "knn"]
AttentiveKind = Literal["attentive", "attentive-1"]
Kind = Literal["linear", "knn", "attentive", "attentive-1"]
ATTENTIVE: tuple[AttentiveKind, ...] = get_args(AttentiveKind)
Selected = Literal["selection", "test", "nothing"]
"""The rows on which hyper-parameters were chosen; nothing: there was one candidate."""

Say = Callable[[str], None]
"""Is called with what a user should know while a probe runs."""


@runtime_checkable
class Head(Protocol):
    """A fitted classifier of one part."""

    @property
    def converged(self) -> bool:
        """Whether the fit reached its minimum, or, trained for epochs, did not diverge."""
        ...

    @property
    def settings(self) -> dict[str, float]:
        """The hyper-parameters it was fitted with, by name."""
        ...

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean cross-entropy of the training rows by epoch; empty where there are no epochs."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return what has to be stored."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedPart:
    """The head of one part, the candidates it was chosen among, and its answers.

    Attributes:
        head: fitted to all training rows of the part.
        trials: candidates and their scores on the rows they were chosen on.
        selected_on: which rows these are.
        probabilities: of the classes, for each test row of the part.
    """

    head: Head
    trials: tuple[Trial, ...]
    selected_on: Selected
    probabilities: Float[np.ndarray, "test C"]

    @property
    def predicted(self) -> Int64[np.ndarray, "test"]:
        """The class of highest probability of each test row, the first among equals."""
        predicted: np.ndarray = self.probabilities.argmax(axis=1)
        return predicted
