"""What a worker process does: take tasks, make batches, send them back.

A worker has its own two-way pipe to its parent and shares nothing with other workers, so that one
that is killed takes nothing along.
"""

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch

from vsalt.data.activity import Activity
from vsalt.data.jobs import BatchReader, Job, Task
from vsalt.data.shared_memory import SharedBlock
from vsalt.data.slots import SlotWriter
from vsalt.errors import VsaltError

HANDLED_BY_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Of linux/prctl.h.
_PR_SET_PDEATHSIG = 1


class Request(NamedTuple):
    """A task on its way to a worker.

    Attributes:
        number: of the task.
        slot: number of the slot that takes its batch.
        task: what to read.
    """

    number: int
    slot: int
    task: Task[Any]


class Answer(NamedTuple):
    """What became of a task.

    Attributes:
        number: of the task.
        slot: as in the request.
        batch: the batch, pickled by `SlotWriter.dump`; or
        error: what was raised.
    """

    number: int
    slot: int
    batch: bytes = b""
    error: Exception | None = None


def run_worker(
    connection: Connection,
    reader: BatchReader[Any, Any],
    slots: Sequence[SharedBlock],
    activity: Activity,
    *,
    tied: bool,
) -> None:
    """Answer requests until the parent closes the connection or dies.

    Args:
        connection: to the parent.
        reader: makes the batches.
        slots: take the batches.
        activity: tells what is being read.
        tied: whether to be killed with the thread that has started this process.
    """
    _set_up(tied)
    writers = [SlotWriter(block) for block in slots]
    # The parent has closed its end, or is gone: nobody waits for an answer.
    try:
        while True:
            request: Request = connection.recv()
            connection.send(_answer(request, reader, writers[request.slot], activity))
    except (EOFError, ConnectionError):
        return


def _set_up(tied: bool) -> None:
    for number in HANDLED_BY_PARENT:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if tied:
        # The thread above cannot run while a library hangs and holds the interpreter's lock. It
        # serves where the parent died before this line, or its starting thread is not its main one.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _answer(
    request: Request, reader: BatchReader[Any, Any], writer: SlotWriter, activity: Activity
) -> Answer:
    writer.begin()
    job = Job(request.task.verdicts, writer=writer, activity=activity, number=request.number)
    try:
        batch = writer.dump(reader.read(request.task.items, job))
    except Exception as error:
        return Answer(request.number, request.slot, error=_portable(error))
    return Answer(request.number, request.slot, batch=batch)


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent; a defect keeps its traceback as a note."""
    if isinstance(error, VsaltError):
        return error
    trace = "".join(traceback.format_exception(error))
    try:
        error = pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"a data worker failed:\n{trace}")
    error.add_note(f"in a data worker:\n{trace}")
    return error
