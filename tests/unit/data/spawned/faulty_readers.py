"""A reader that costs nothing and one that fails in every way, for spawned workers to import."""

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from vsalt.data.clip_table import ClipTable
from vsalt.data.manifest import Row
from vsalt.data.order import Order, OrderSource
from vsalt.errors import DataError, DecodeError

MAX_ATTEMPTS = 3


@dataclass
class Numbers:
    """A batch, with a tensor made in its place and one that is not."""

    values: torch.Tensor
    squares: torch.Tensor
    errors: list
    pids: list

    def pin_memory(self):
        return self


class Reader:
    """Item n becomes a clip full of n; an attempt at a faulty one does what its fault says.

    Args:
        faults: (item, attempt) -> name of a method.
        shape: of one item's values.
    """

    def __init__(self, faults=None, shape=(2, 3)):
        self.faults = faults or {}
        self.shape = shape

    def read(self, items, job):
        values = job.empty((len(items), *self.shape), torch.int32)
        errors = []
        for index, item in enumerate(items):
            self.fill(values[index], index, item, job, errors)
        return Numbers(values, torch.tensor([item**2 for item in items]), errors, [os.getpid()])

    def fill(self, values, index, item, job, errors):
        for attempt in range(MAX_ATTEMPTS):
            try:
                with job.reading(index, attempt):
                    if (item, attempt) in self.faults:
                        getattr(self, self.faults[item, attempt])()
                    values[:] = item + 1000 * attempt
                    return
            except DecodeError as error:
                errors.append((item, attempt, str(error)))
        raise DataError(f"{MAX_ATTEMPTS} attempts at {item}")

    def sleep(self):
        time.sleep(1000)

    def hold_the_interpreter(self):
        # PyDLL keeps the interpreter's lock: no other thread, no signal handler runs.
        ctypes.PyDLL(None).sleep(1000)

    def abort(self):
        os.abort()

    def segfault(self):
        os.kill(os.getpid(), signal.SIGSEGV)

    def kill(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def slow(self):
        time.sleep(0.3)

    def bad(self):
        raise DecodeError("not a video")


class CrashingAtStart(Reader):
    def __setstate__(self, state):
        os.abort()


class CrashingOutside(Reader):
    """Crashes where no file is being read."""

    def read(self, items, job):
        if 5 in items:
            os.abort()
        return super().read(items, job)


class Growing(Reader):
    """Every batch is larger than the one before."""

    def read(self, items, job):
        self.shape = (items[0] + 1, 1000)
        return super().read(items, job)


@dataclass
class Found:
    paths: list
    drawn: int
    private_bytes: int


class Rows:
    """The table and the order of many rows; says what memory a worker has for itself."""

    def __init__(self, size):
        self.table = ClipTable([made_up_row(index) for index in range(size)])
        rows = np.arange(size)
        source = OrderSource(rows=rows, share=Fraction(1), weights=np.ones(size))
        self.order = Order(seed=0, sources=[source])

    def read(self, items, job):
        size = items[0]
        for array in (*vars(self.table).values(), *self.order._rows, *self.order._cumulative):
            array.values.sum()
        drawn = self.order.row(step=0, position=3, batch_size=8, attempt=2)
        paths = [self.table[index].media.path for index in (0, size // 2, size - 1)]
        return Found(paths, drawn, private_bytes())


def made_up_row(index):
    name = f"{index:09d}.mp4"
    return Row(path=f"/videos/folder/{name}", relative_path=name, source=0, columns={})


def private_bytes():
    with open("/proc/self/smaps_rollup") as file:
        values = {line.split()[0]: int(line.split()[1]) for line in file.readlines()[1:]}
    return 1024 * (values["Private_Dirty:"] + values["Private_Clean:"])
