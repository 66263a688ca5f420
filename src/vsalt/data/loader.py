"""Batches for the trainer, read ahead by worker processes.

A worker builds a whole micro-batch. Because a sample is a function of its key alone, the batches
are the same for any number of workers, 0 included.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, TypeVar

from vsalt.data.dataset import HOLDOUT_STEP, ClipDataset, HoldoutDataset, collate
from vsalt.data.types import Batch, SampleKey
from vsalt.data.workers import WorkerPool
from vsalt.errors import ConfigError

Self = TypeVar("Self", bound="_Loader")


class MicroBatch(NamedTuple):
    """Part number `part` of this process's share of the batch of `step`."""

    step: int
    part: int
    batch: Batch


class _TrainKeys:
    """The keys of each micro-batch of the steps [start, stop), in order."""

    def __init__(self, steps: range, first: int, last: int, micro_batch_size: int) -> None:
        self.steps = steps
        self.parts = [
            range(begin, begin + micro_batch_size) for begin in range(first, last, micro_batch_size)
        ]

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for step in self.steps:
            for part in self.parts:
                yield [SampleKey(step, position) for position in part]

    def __len__(self) -> int:
        return len(self.steps) * len(self.parts)


class _Loader:
    """A context manager around the workers that measures the time spent waiting for them.

    Attributes:
        wait_s: seconds that the consumer has waited for batches so far.
    """

    def __init__(self, pool: WorkerPool[Batch]) -> None:
        self._pool = pool
        self.wait_s = 0.0

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and wait for them; also after an error. May be called twice."""
        self._pool.close()

    def _timed(self) -> Iterator[Batch]:
        batches = iter(self._pool)
        while True:
            began = time.perf_counter()
            try:
                batch = next(batches, None)
            finally:
                self.wait_s += time.perf_counter() - began
            if batch is None:
                return
            yield batch


class ClipLoader(_Loader):
    """The training batches of the steps [start, stop), one micro-batch after the other.

    Of every global batch, process `rank` of `world_size` reads the positions
    rank * B / world_size … (rank + 1) * B / world_size − 1, in micro-batches of
    `micro_batch_size`. It is read once, from start to stop.

    Args:
        dataset: gives the samples.
        start: first step.
        stop: step after the last one.
        batch_size: global batch size B in clips.
        micro_batch_size: clips that the device takes at once; divides B / world_size.
        rank: number of this process.
        world_size: number of processes.
        workers: processes that read ahead; 0 reads in this process.
        prefetch: micro-batches that each worker reads ahead.
        pin_memory: put batches into page-locked memory, for copies to CUDA devices.

    Raises:
        ConfigError: the sizes do not divide.
        DataError: raised while iterating, with the worker's own message.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        *,
        start: int,
        stop: int,
        batch_size: int,
        micro_batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        prefetch: int = 2,
        pin_memory: bool = False,
    ) -> None:
        if batch_size % (world_size * micro_batch_size):
            raise ConfigError(
                [
                    f"the batch size {batch_size} must be a multiple of the number of processes "
                    f"({world_size}) times the micro-batch size ({micro_batch_size})"
                ]
            )
        share = batch_size // world_size
        self._keys = _TrainKeys(
            range(start, stop), rank * share, (rank + 1) * share, micro_batch_size
        )
        super().__init__(
            WorkerPool(
                dataset,
                self._keys,
                collate=collate,
                workers=workers,
                prefetch=prefetch,
                pin_memory=pin_memory,
                persistent=False,
            )
        )

    def __iter__(self) -> Iterator[MicroBatch]:
        places = itertools.product(self._keys.steps, range(len(self._keys.parts)))
        for (step, part), batch in zip(places, self._timed(), strict=True):
            yield MicroBatch(step, part, batch)


class HoldoutLoader(_Loader):
    """The held-out batches of one process, the same every time they are iterated.

    Args:
        dataset: gives the samples.
        batch_size: clips per batch; the last batch may be smaller.
        rank: number of this process, which reads the samples rank, rank + world_size, …
        world_size: number of processes.
        workers: processes that read ahead; they stay between iterations.
        prefetch: batches that each worker reads ahead.
        pin_memory: put batches into page-locked memory, for copies to CUDA devices.
    """

    def __init__(
        self,
        dataset: HoldoutDataset,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        prefetch: int = 2,
        pin_memory: bool = False,
    ) -> None:
        keys = [SampleKey(HOLDOUT_STEP, i) for i in range(rank, len(dataset), world_size)]
        batches: Sequence[list[SampleKey]] = [
            keys[begin : begin + batch_size] for begin in range(0, len(keys), batch_size)
        ]
        super().__init__(
            WorkerPool(
                dataset,
                batches,
                collate=collate,
                workers=workers,
                prefetch=prefetch,
                pin_memory=pin_memory,
                persistent=True,
            )
        )

    def __iter__(self) -> Iterator[Batch]:
        return self._timed()
