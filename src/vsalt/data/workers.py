"""Worker processes that make batches ahead of their use, and what happens when one hangs or dies.

Workers are spawned, not forked: a fork of a process with threads, CUDA or open videos can hang.
They end when they are closed, when their parent dies by whatever cause, and at interpreter exit;
signals from a terminal or a scheduler are the main process's to handle, and workers ignore them.

A worker that is too long on one reading is killed and replaced, and so is one that crashed in a
reading; the reading gets the verdict that it timed out, the worker's tasks are handed out again,
and the run goes on. A worker that dies in any other way ends the run: SIGKILL above all, which is
what the system sends when memory is short, to a process that may have nothing to do with it.
"""

import atexit
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import pickle
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar, cast

from vsalt.data.activity import Activity, Reading, hard_limit_s
from vsalt.data.config import ReadLimits
from vsalt.data.jobs import BatchReader, Job, Task
from vsalt.data.shared_memory import SharedBlock
from vsalt.data.slots import load_batch
from vsalt.data.worker_process import HANDLED_BY_PARENT, Answer, Request, run_worker
from vsalt.errors import DataError

ItemT = TypeVar("ItemT")
BatchT = TypeVar("BatchT")

_SPAWN = multiprocessing.get_context("spawn")
_CRASHES = {
    -number
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
}
# Requests beyond it wait until answers have come. A pipe holds more, so sending never has to wait
# for a worker that hangs in a file, nor for one that itself waits for its answer to be taken.
_UNANSWERED_BYTES = 1 << 16
# What the system adds to every message, at most.
_MESSAGE_BYTES = 1 << 10
# A worker's batches that the consumer may hold, beside those that are made ahead.
_SPARE_SLOTS = 2
_CHECK_EVERY_S = 0.5
# A process that waits for a dead network disk cannot even be killed.
_KILL_WAIT_S = 10.0


class WorkerPool(Generic[ItemT, BatchT]):
    """Makes batches of tasks, in worker processes, and yields them in the order of the tasks.

    A batch's tensors lie in memory that is used again once nobody holds any of them; until then
    they stay as they are, however many batches are held.

    Args:
        reader: makes a batch; it is sent to the workers.
        workers: number of processes; 0 makes batches in this process.
        prefetch: batches that each worker makes ahead.
        pin_memory: put batches into page-locked memory, by their method `pin_memory`.
        limits: how long one reading may take; see `hard_limit_s`.
    """

    def __init__(
        self,
        reader: BatchReader[ItemT, BatchT],
        *,
        workers: int,
        prefetch: int,
        pin_memory: bool,
        limits: ReadLimits,
    ) -> None:
        self._reader = reader
        self._num_workers = workers
        self._prefetch = prefetch
        self._pin_memory = pin_memory
        self._hard_limit_s = hard_limit_s(limits)
        self._workers: list[_Worker] = []
        self._next_number = 0
        self._answers: dict[int, tuple[_Worker, Answer]] = {}

    def batches(self, tasks: Iterable[Task[ItemT]]) -> Iterator[BatchT]:
        """Yield the batch of each task; one iteration at a time. The workers stay until `close`.

        Raises:
            DataError: a worker has died.
            Exception: whatever the reader raises, when its batch is due.
        """
        if not self._num_workers:
            for task in tasks:
                yield self._pinned(self._reader.read(task.items, Job(task.verdicts)))
            return
        self._start()
        self._forget_unfinished()
        due = self._next_number
        stream = iter(tasks)
        while self._hand_out(stream, due):
            yield self._pinned(self._take(due))
            due += 1

    def close(self) -> None:
        """End the workers and wait until they are gone. May be called twice."""
        _open_pools.discard(self)
        workers, self._workers = self._workers, []
        self._answers = {}
        # All at once, then one by one.
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.end()
            worker.connection.close()

    def _pinned(self, batch: Any) -> BatchT:
        return cast(BatchT, batch.pin_memory() if self._pin_memory else batch)

    def _start(self) -> None:
        if self._workers:
            return
        _open_pools.add(self)
        num_slots = self._prefetch + _SPARE_SLOTS
        for _ in range(self._num_workers):
            # One by one: if one cannot be started, `close` ends the others.
            self._workers.append(_Worker(self._reader, num_slots))

    def _forget_unfinished(self) -> None:
        """Throw away what an iteration that was not finished has requested."""
        while any(worker.requests for worker in self._workers):
            self._wait()
        for worker, answer in self._answers.values():
            worker.free_slots.append(answer.slot)
        self._answers = {}

    def _hand_out(self, stream: Iterator[Task[ItemT]], due: int) -> bool:
        """Request batches ahead, and return whether any is still to come."""
        while self._next_number - due < self._num_workers * self._prefetch:
            # One has a free slot: the consumer holds at most _SPARE_SLOTS of each.
            free = [worker for worker in self._workers if worker.free_slots]
            worker = min(free, key=lambda worker: len(worker.requests))
            task = next(stream, None)
            if task is None:
                break
            worker.give(self._next_number, task)
            self._next_number += 1
        return due < self._next_number

    def _take(self, due: int) -> BatchT:
        while due not in self._answers:
            self._wait()
        worker, answer = self._answers.pop(due)
        if answer.error is not None:
            worker.free_slots.append(answer.slot)
            raise answer.error
        return cast(BatchT, worker.open(answer))

    def _wait(self) -> None:
        """Wait until something happens, and deal with it."""
        multiprocessing.connection.wait(
            [source for worker in self._workers for source in worker.sources],
            timeout=_CHECK_EVERY_S,
        )
        for worker in self._workers:
            dead = not worker.process.is_alive()
            self._receive(worker)
            reading = worker.activity.now()
            if dead:
                self._replace_dead(worker, reading)
            elif reading and time.monotonic() - reading.began_s > self._hard_limit_s:
                self._replace_stuck(worker, reading)

    def _receive(self, worker: "_Worker") -> None:
        for answer in worker.receive():
            self._answers[answer.number] = worker, answer

    def _replace_stuck(self, worker: "_Worker", reading: Reading) -> None:
        worker.end()
        self._receive(worker)
        # It may have gone on just before it was killed.
        if worker.activity.now() == reading:
            worker.judge(
                reading,
                f"reading went on for more than {self._hard_limit_s:g} s, far beyond "
                "--data.limits.timeout-s, and its worker process was replaced",
            )
        worker.restart(self._reader)

    def _replace_dead(self, worker: "_Worker", reading: Reading | None) -> None:
        worker.end()
        code = worker.process.exitcode
        assert code is not None
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        if code not in _CRASHES or reading is None:
            raise DataError(
                f"a data worker ended unexpectedly, {how}; if the machine is short of "
                "memory, give fewer --data.workers (in probes and embeddings --workers)"
            )
        worker.judge(reading, f"reading ended its worker process {how}; it was replaced")
        worker.restart(self._reader)


class _Worker:
    """One worker as its parent sees it: a process, which may be replaced, its slots and requests.

    Attributes:
        process: the process.
        connection: to the process.
        activity: what it is on.
        requests: what it has not answered yet, by number, ascending.
        free_slots: slots that nobody uses.
    """

    def __init__(self, reader: BatchReader[Any, Any], num_slots: int) -> None:
        self.activity = Activity()
        self.requests: dict[int, Request] = {}
        self.free_slots = deque(range(num_slots))
        self._slots = [SharedBlock() for _ in range(num_slots)]
        self._held: set[int] = set()
        # Bytes in the pipe of each request that has been sent, and the requests that have not.
        self._sent: dict[int, int] = {}
        self._waiting: deque[Request] = deque()
        self._start(reader)

    @property
    def sources(self) -> tuple[Connection, int]:
        """What becomes ready when there is something to receive, or the process has ended."""
        return self.connection, self.process.sentinel

    def _start(self, reader: BatchReader[Any, Any]) -> None:
        self.connection, far_end = _SPAWN.Pipe()
        arguments = (far_end, reader, self._slots, self.activity)
        tied = threading.current_thread() is threading.main_thread()
        self.process = _SPAWN.Process(
            target=run_worker, args=arguments, kwargs={"tied": tied}, daemon=True
        )
        with _signals_blocked():
            self.process.start()
        # With only one holder of its end, a pipe tells when the process is gone.
        far_end.close()

    def restart(self, reader: BatchReader[Any, Any]) -> None:
        """Start a process in place of one that has ended, and request again what that has left."""
        self.connection.close()
        self.activity.end()
        self._start(reader)
        self._sent = {}
        self._waiting = deque(self.requests.values())
        self._send()

    def give(self, number: int, task: Task[Any]) -> None:
        """Request a batch."""
        self.requests[number] = Request(number, self.free_slots.popleft(), task)
        self._waiting.append(self.requests[number])
        self._send()

    def _send(self) -> None:
        """Send what is waiting, as far as there is surely room for it in the pipe."""
        while self._waiting:
            data = pickle.dumps(self._waiting[0], pickle.HIGHEST_PROTOCOL)
            size = len(data) + _MESSAGE_BYTES
            # A worker that has nothing to do takes a request of any size.
            if self._sent and sum(self._sent.values()) + size > _UNANSWERED_BYTES:
                return
            self._sent[self._waiting.popleft().number] = size
            # A process that has died gets its requests again when it is replaced.
            with suppress(ConnectionError):
                self.connection.send_bytes(data)

    def receive(self) -> Iterator[Answer]:
        """Yield the answers that have arrived."""
        # The process may have been killed in mid-sentence.
        with suppress(EOFError, OSError):
            while self.connection.poll():
                answer: Answer = self.connection.recv()
                del self.requests[answer.number], self._sent[answer.number]
                yield answer
        self._send()

    def open(self, answer: Answer) -> Any:
        """Return the batch of an answer.

        It views its slot, which is free again when the last of its tensors has gone. If the
        consumer has as many of these slots as can be spared, the batch is copied instead.
        """
        slot = answer.slot
        memory = self._slots[slot].view()
        self._held.add(slot)
        weakref.finalize(memory, self._release, slot).atexit = False
        return load_batch(answer.batch, memory, copy=len(self._held) > _SPARE_SLOTS)

    def _release(self, slot: int) -> None:
        self._held.discard(slot)
        self.free_slots.append(slot)

    def judge(self, reading: Reading, error: str) -> None:
        """Let a reading time out when its task is requested again."""
        self.requests[reading.number].task.verdicts[reading.place] = error

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join(_KILL_WAIT_S)


_open_pools: "weakref.WeakSet[WorkerPool[Any, Any]]" = weakref.WeakSet()


# Without this, multiprocessing's own clean-up at exit would send SIGTERM, which workers ignore,
# and wait for them. Functions registered later run earlier.
@atexit.register
def _close_open_pools() -> None:
    for pool in list(_open_pools):
        pool.close()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Let child processes start with SIGINT and SIGTERM blocked.

    Until they ignore them, seconds after the start, they would die of Ctrl-C with a traceback
    each. The main process gets a blocked signal right after the block.
    """
    # Starting multiprocessing's own helper would unblock them again.
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_BY_PARENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
