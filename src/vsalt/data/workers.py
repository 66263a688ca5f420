"""Worker processes that build batches, and how they start and end.

Workers are spawned, not forked: a fork of a process with threads, CUDA or open videos can hang.
They end when they are closed, when their parent dies by whatever cause, and at interpreter exit;
signals from a terminal or a scheduler are the main process's to handle, and workers ignore them.
"""

import atexit
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from vsalt.data.dataset import Failure
from vsalt.errors import DataError

_HANDLED_BY_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

KeyT = TypeVar("KeyT")
SampleT = TypeVar("SampleT")
BatchT = TypeVar("BatchT")


class WorkerPool(Generic[BatchT]):
    """An iterable over batches that are built in worker processes.

    Args:
        dataset: gives the samples of a list of keys; it is sent to the workers.
        key_batches: the keys of each batch.
        collate: makes a batch of the samples, in the worker; or hands a failure on, which is
            raised in the main process. A batch with tensors has a method `pin_memory`.
        workers: number of processes; 0 builds batches in this process.
        prefetch: batches that each worker builds ahead.
        pin_memory: put batches into page-locked memory.
        persistent: keep the workers for another iteration.
    """

    def __init__(
        self,
        dataset: Dataset[SampleT],
        key_batches: Iterable[list[KeyT]],
        *,
        collate: Callable[[Any], BatchT | Failure],
        workers: int,
        prefetch: int,
        pin_memory: bool,
        persistent: bool,
    ) -> None:
        parallel: dict[str, Any] = {}
        if workers:
            parallel = {
                "multiprocessing_context": "spawn",
                "persistent_workers": persistent,
                "prefetch_factor": prefetch,
                "worker_init_fn": _start_worker,
            }
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=key_batches,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=pin_memory,
            # By default torch would take a number from the global generator at every start.
            generator=torch.Generator(),
            **parallel,
        )
        self._iterator: Any = None

    def __iter__(self) -> Iterator[BatchT]:
        with _signals_blocked():
            self._iterator = iter(self._loader)
        _open_pools.add(self)
        while (batch := self._next()) is not None:
            if isinstance(batch, Failure):
                raise batch.kind(batch.message)
            yield batch

    def _next(self) -> BatchT | Failure | None:
        try:
            result: BatchT | Failure | None = next(self._iterator, None)
        except (RuntimeError, OSError, EOFError) as error:
            if not self._worker_has_died():
                raise
            raise DataError(
                f"a data worker ended unexpectedly ({error}); if the machine is short of "
                "memory, give fewer --data.workers (in probes and embeddings --workers)"
            ) from error
        return result

    def _worker_has_died(self) -> bool:
        """Tell a dead worker from an error that a live one has handed over."""
        workers = getattr(self._iterator, "_workers", [])
        for worker in workers:
            worker.join(timeout=0.1)
        return any(worker.exitcode for worker in workers)

    def close(self) -> None:
        """End the workers and wait until they are gone. May be called twice."""
        _open_pools.discard(self)
        iterator, self._iterator = self._iterator, None
        # The loader keeps a persistent iterator of its own, which is closed here for good.
        self._loader._iterator = None
        if iterator is None or not hasattr(iterator, "_shutdown_workers"):
            return
        # There is no public way that does not wait for all references to be dropped, and the
        # traceback of an error holds some.
        iterator._shutdown_workers()
        for worker in iterator._workers:
            if worker.is_alive():
                worker.kill()
            worker.join()


_open_pools: "weakref.WeakSet[WorkerPool[Any]]" = weakref.WeakSet()


# Without this, multiprocessing's own clean-up at exit would send SIGTERM, which workers ignore,
# and wait for them. Functions registered later run earlier.
@atexit.register
def _close_open_pools() -> None:
    for pool in list(_open_pools):
        pool.close()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Let child processes start with SIGINT and SIGTERM blocked.

    Until `_start_worker` runs, seconds after the start, they would die of Ctrl-C with a
    traceback each. The main process gets a blocked signal right after the block.
    """
    # Starting multiprocessing's own helper would unblock them again.
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED_BY_PARENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(worker: int) -> None:
    """Set a worker process up."""
    del worker
    for number in _HANDLED_BY_PARENT:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
