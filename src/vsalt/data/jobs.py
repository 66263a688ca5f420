"""A batch's way through a worker: what is to be read, by whom, and what is known beforehand.

A task is a list of items, and makes one batch. What has been decided about the reading of an item
without reading it (a verdict) travels with the task; a worker tells what it is on by shared memory.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from vsalt.data.activity import Activity, Place
from vsalt.data.slots import SlotWriter
from vsalt.errors import DecodeTimeoutError

ItemT = TypeVar("ItemT")
ItemT_contra = TypeVar("ItemT_contra", contravariant=True)
BatchT_co = TypeVar("BatchT_co", covariant=True)


@dataclass
class Task(Generic[ItemT]):
    """What makes one batch.

    Attributes:
        items: what the reader asks for; small, as they are sent to a worker.
        verdicts: the readings that time out without being begun, with their errors.
    """

    items: Sequence[ItemT]
    verdicts: dict[Place, str] = field(default_factory=dict)


@runtime_checkable
class BatchReader(Protocol[ItemT_contra, BatchT_co]):
    """Makes a batch of a list of items; it is pickled and sent to the workers.

    A batch is pickled, too; its tensors go through shared memory. An error that is raised ends
    the run.
    """

    def read(self, items: Sequence[ItemT_contra], job: "Job") -> BatchT_co:
        """Read a batch; whatever may hang or crash happens inside of `job.reading`."""
        ...


class Job:
    """A task in the hands of the process that does it.

    Args:
        verdicts: of the task.
        writer: places tensors in memory that the parent sees; None: in this process's own.
        activity: where to tell what is being read.
        number: of the task.
    """

    def __init__(
        self,
        verdicts: dict[Place, str] | None = None,
        *,
        writer: SlotWriter | None = None,
        activity: Activity | None = None,
        number: int = 0,
    ) -> None:
        self._verdicts = verdicts or {}
        self._writer = writer
        self._activity = activity
        self._number = number

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor without values; if it becomes part of the batch it is never copied."""
        if self._writer is None:
            return torch.empty(shape, dtype=dtype)
        return self._writer.empty(shape, dtype)

    @contextmanager
    def reading(self, index: int, attempt: int = 0) -> Iterator[None]:
        """Read for an item inside of this block; one block at a time.

        Args:
            index: of the item in the task.
            attempt: counts the readings for this item, from 0.

        Raises:
            DecodeTimeoutError: at once, without entering, if this is the verdict.
        """
        place = Place(index, attempt)
        if place in self._verdicts:
            raise DecodeTimeoutError(self._verdicts[place])
        if self._activity is None:
            yield
            return
        self._activity.begin(self._number, place)
        try:
            yield
        finally:
            self._activity.end()
