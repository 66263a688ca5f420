"""Batches for the trainer, read ahead by worker processes.

A worker builds a whole micro-batch. Because a sample is a function of its key alone, the batches
are the same for any number of workers, 0 included.
"""

import itertools
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from vsalt.data.activity import Place
from vsalt.data.closeable import Closeable
from vsalt.data.config import ReadLimits
from vsalt.data.dataset import ClipDataset, HeldOutClip, HoldoutDataset
from vsalt.data.jobs import Task
from vsalt.data.types import BadFile, Batch, SampleKey
from vsalt.data.workers import WorkerPool
from vsalt.errors import ConfigError, DataError

Verdicts: TypeAlias = Mapping[SampleKey, Mapping[int, str]]
"""The readings that are known to time out: for each sample the attempts, with their errors."""

HOLDOUT_TRIES = 3
"""How often a held-out clip that could be read before is read when it times out."""


class MicroBatch(NamedTuple):
    """Part number `part` of this process's share of the batch of `step`."""

    step: int
    part: int
    batch: Batch


class _Loader(Closeable):
    """A context manager around the workers that measures the time spent waiting for them.

    Attributes:
        wait_s: seconds that the consumer has waited for batches so far.
    """

    def __init__(self, pool: WorkerPool[Any, Batch]) -> None:
        self._pool = pool
        self.wait_s = 0.0

    def close(self) -> None:
        """End the workers and wait for them; also after an error. May be called twice."""
        self._pool.close()

    def _timed(self, tasks: Iterable[Task[Any]]) -> Iterator[Batch]:
        batches = self._pool.batches(tasks)
        while True:
            began = time.perf_counter()
            try:
                batch = next(batches, None)
            finally:
                self.wait_s += time.perf_counter() - began
            if batch is None:
                return
            yield batch
            # The memory of a batch that nobody holds can be used again.
            del batch


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
        limits: what a file may cost.
        verdicts: the time-outs of an earlier run of these steps, which are had again unread.

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
        limits: ReadLimits | None = None,
        verdicts: Verdicts | None = None,
    ) -> None:
        if batch_size % (world_size * micro_batch_size):
            raise ConfigError(
                [
                    f"the batch size {batch_size} must be a multiple of the number of processes "
                    f"({world_size}) times the micro-batch size ({micro_batch_size})"
                ]
            )
        if micro_batch_size % dataset.repeats:
            raise ConfigError(
                [
                    f"the micro-batch size {micro_batch_size} must be a multiple of data.repeats "
                    f"({dataset.repeats})"
                ]
            )
        share = batch_size // world_size
        own = range(rank * share, (rank + 1) * share)
        self._steps = range(start, stop)
        self._parts = [
            own[begin : begin + micro_batch_size] for begin in range(0, share, micro_batch_size)
        ]
        self._dataset = dataset
        self._verdicts = verdicts or {}
        super().__init__(
            WorkerPool(
                dataset,
                workers=workers,
                prefetch=prefetch,
                pin_memory=pin_memory,
                limits=limits or ReadLimits(),
            )
        )

    def __iter__(self) -> Iterator[MicroBatch]:
        asked, given = itertools.tee(itertools.product(self._steps, range(len(self._parts))))
        tasks = (self._task(step, self._parts[part]) for step, part in asked)
        for (step, part), batch in zip(given, self._timed(tasks), strict=True):
            yield MicroBatch(step, part, batch)
            del batch

    def _task(self, step: int, positions: range) -> Task[Any]:
        keys = [SampleKey(step, position) for position in positions[:: self._dataset.repeats]]
        verdicts = {
            Place(index, attempt): error
            for index, key in enumerate(keys)
            for attempt, error in self._verdicts.get(key, {}).items()
        }
        return Task([self._dataset.draw(key) for key in keys], verdicts)


class HoldoutLoader(_Loader):
    """The held-out batches of one shape and process, the same every time they are iterated.

    Args:
        dataset: gives the samples.
        rows: of the held-out clips.
        batch_size: clips per batch; the last batch may be smaller.
        rank: number of this process, which reads the batches rank, rank + world_size, … All
            processes are given equally many: the last batch of all takes the place of those that
            are not there.
        world_size: number of processes.
        workers: processes that read ahead; they stay between iterations.
        prefetch: batches that each worker reads ahead.
        pin_memory: put batches into page-locked memory, for copies to CUDA devices.
        limits: what a file may cost.

    Attributes:
        rows: of the held-out clips.
        step: of their keys.
    """

    def __init__(
        self,
        dataset: HoldoutDataset,
        *,
        rows: Sequence[int],
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        prefetch: int = 2,
        pin_memory: bool = False,
        limits: ReadLimits | None = None,
    ) -> None:
        self.rows = tuple(rows)
        self.step = dataset.step
        self._batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        super().__init__(
            WorkerPool(
                dataset,
                workers=workers,
                prefetch=prefetch,
                pin_memory=pin_memory,
                limits=limits or ReadLimits(),
            )
        )

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches.

        Raises:
            DataError: a clip cannot be read.
        """
        places = self._batches(range(len(self.rows)))
        rounds = range(self.rank, len(places) + self.rank, self.world_size)
        own = [places[min(number, len(places) - 1)] for number in rounds]
        for batch in self._timed(self._tasks(own, HOLDOUT_TRIES)):
            for bad_file in batch.bad_files:
                raise no_longer_readable(bad_file)
            yield batch
            del batch

    @property
    def num_own(self) -> int:
        """How many of the batches given are this process's own; those after them are repeated."""
        return len(self._batches(range(len(self.rows)))[self.rank :: self.world_size])

    def unreadable(self, *, passed_over: Collection[int], tries: int) -> list[BadFile]:
        """Read this process's share of all clips, and return which of them cannot be read.

        Args:
            passed_over: clips that are not read, by their places in `rows`.
            tries: how often a clip is read that times out.
        """
        places = [place for place in range(len(self.rows)) if place not in passed_over]
        own = self._batches(places)[self.rank :: self.world_size]
        batches = self._timed(self._tasks(own, tries))
        return [bad_file for batch in batches for bad_file in batch.bad_files]

    def _batches(self, places: Sequence[int]) -> list[Sequence[int]]:
        """Cut places in `rows` into batches."""
        size = self._batch_size
        return [places[begin : begin + size] for begin in range(0, len(places), size)]

    def _tasks(self, batches: Iterable[Sequence[int]], tries: int) -> Iterator[Task[HeldOutClip]]:
        for places in batches:
            keys = ((SampleKey(self.step, place), self.rows[place]) for place in places)
            yield Task([HeldOutClip(key, row, tries) for key, row in keys])


def no_longer_readable(bad_file: BadFile) -> DataError:
    """Return the error that ends a run whose val_loss would change its meaning."""
    return DataError(
        f"the held-out clip {bad_file.path} could be read before, and cannot any more; val_loss "
        f"would no longer mean the same: {bad_file.error}"
    )
