"""Runs cells: one after the other in this process, or in processes of their own.

Every worker process has its GPU, or its share of the CPU's threads. One that fails, or dies, costs
its cell; the others go on. Signals stop all of them after a checkpoint.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch
from rich.console import Console

from vsalt.compare.cells import Cell
from vsalt.compare.run_cell import run_cell
from vsalt.compare.spec import CompareSpec
from vsalt.errors import NonFiniteError, VsaltError, printable
from vsalt.training.stop import SIGNALS, InterruptedRunError

LOG_WIDTH = 120


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a cell has no result.

    Attributes:
        error: in words.
        diverged: whether a loss or gradient that is not finite ended a training, so that the same
            settings would end it again.
    """

    error: str
    diverged: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a cell has ended.

    Attributes:
        cell: which one.
        seconds: that it took.
        failure: why it has no result, if it has none.
    """

    cell: Cell
    seconds: float
    failure: Failure | None


Admit = Callable[[Cell], bool]
"""Says whether a cell may begin now; after the first no, none is asked for any more."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Let the first signal end this block by an `InterruptedRunError`."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
        raise InterruptedRunError(number, "stopped")

    previous = {number: signal.getsignal(number) for number in SIGNALS}
    caught = [number for number, handler in previous.items() if handler is not signal.SIG_IGN]
    try:
        for number in caught:
            signal.signal(number, stop)
        yield
    finally:
        for number in caught:
            signal.signal(number, previous[number])


def run_here(
    spec: CompareSpec, out: Path, cells: Sequence[Cell], admit: Admit
) -> Iterator[Outcome]:
    """Run cells one after the other in this process.

    Raises:
        InterruptedRunError: on a signal; what was trained is saved.
    """
    for cell in cells:
        if not admit(cell):
            return
        yield _timed(spec, out, cell)


def _timed(spec: CompareSpec, out: Path, cell: Cell) -> Outcome:
    begin = time.monotonic()
    failure = _try(spec, out, cell)
    return Outcome(cell=cell, seconds=time.monotonic() - begin, failure=failure)


def _try(spec: CompareSpec, out: Path, cell: Cell) -> Failure | None:
    """Run a cell; return why it failed, which its log says, too; of a defect it says where."""
    with contextlib.ExitStack() as files:

        def console(log: Path) -> Console:
            file = files.enter_context(log.open("a", encoding="utf-8"))
            logs.append(Console(file=file, width=LOG_WIDTH, markup=False, highlight=False))
            return logs[-1]

        logs: list[Console] = []
        try:
            run_cell(spec, cell, out, console=console)
        except InterruptedRunError:
            raise
        except VsaltError as error:
            for screen in logs:
                screen.print(printable(f"failed: {error}"), soft_wrap=True)
            return Failure(error=str(error), diverged=isinstance(error, NonFiniteError))
        # One broken cell, such as one that does not fit into memory, must not end all others.
        except Exception as error:
            text = traceback.format_exc()
            for screen in logs:
                screen.print(text, soft_wrap=True)
            return Failure(error=f"{type(error).__name__}: {error} (see the log of the cell)")
    return None


@dataclass
class _Worker:
    """A process, the line to it, and what it is on."""

    process: SpawnProcess
    line: Connection
    cell: Cell | None = None
    begin: float = 0.0


def run_in_processes(
    spec: CompareSpec, out: Path, cells: Sequence[Cell], admit: Admit, *, num_workers: int
) -> Iterator[Outcome]:
    """Run cells in several processes at a time.

    Raises:
        InterruptedRunError: on a signal, after all workers have saved and ended.
    """
    waiting = list(cells)
    workers: list[_Worker] = []
    try:
        while True:
            while waiting and len(workers) < num_workers and admit(waiting[0]):
                slot = _free_slot(workers, num_workers)
                workers.append(_start(spec, out, slot, num_workers))
                _give(workers[-1], waiting.pop(0))
            if not workers:
                return
            for worker in _ready(workers):
                outcome = _collect(worker)
                if worker.process.is_alive() and waiting and admit(waiting[0]):
                    _give(worker, waiting.pop(0))
                else:
                    _end(worker)
                    workers.remove(worker)
                yield outcome
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


def _free_slot(workers: Sequence[_Worker], num_workers: int) -> int:
    taken = {worker.process.name for worker in workers}
    return next(slot for slot in range(num_workers) if _name(slot) not in taken)


def _name(slot: int) -> str:
    return f"vsalt-compare-{slot}"


def _start(spec: CompareSpec, out: Path, slot: int, num_workers: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    line, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(spec, out, theirs, num_workers), name=_name(slot)
    )
    with _gpu(slot):
        process.start()
    theirs.close()
    return _Worker(process=process, line=line)


@contextmanager
def _gpu(slot: int) -> Iterator[None]:
    """Let a process that starts in this block see one GPU only."""
    gpus = visible_gpus()
    if not gpus:
        yield
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def visible_gpus() -> list[str]:
    """Return the GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()][:count]
    return [str(number) for number in range(count)]


def _give(worker: _Worker, cell: Cell) -> None:
    worker.cell, worker.begin = cell, time.monotonic()
    worker.line.send(cell)


def _ready(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait until a worker has answered or died."""
    ready = wait([worker.line for worker in workers])
    return [worker for worker in workers if worker.line in ready]


def _collect(worker: _Worker) -> Outcome:
    assert worker.cell is not None
    try:
        failure: Failure | None = worker.line.recv()
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode
        failure = Failure(error=f"its process ended with code {code}; is memory short?")
    seconds = time.monotonic() - worker.begin
    return Outcome(cell=worker.cell, seconds=seconds, failure=failure)


def _end(worker: _Worker) -> None:
    with contextlib.suppress(OSError):
        worker.line.send(None)
    worker.process.join()
    worker.line.close()


def _serve(spec: CompareSpec, out: Path, line: Connection, num_workers: int) -> None:
    """Do cells until there are no more; the main function of a worker process."""
    # Ctrl-C reaches all processes of a terminal; the one that gives out the cells passes on one
    # SIGTERM, after which a training saves and ends.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_stop_when_orphaned, daemon=True).start()
    # Those that torch would take alone, so that OMP_NUM_THREADS is heeded.
    torch.set_num_threads(max(1, torch.get_num_threads() // num_workers))
    with contextlib.suppress(EOFError, InterruptedRunError):
        while (cell := line.recv()) is not None:
            line.send(_try(spec, out, cell))


def _stop_when_orphaned() -> None:
    """Stop this process as a signal would when the one that gives out cells has died.

    Another start of the command may follow at once, and two must not work on one cell.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a worker waits for its parent's end"
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
