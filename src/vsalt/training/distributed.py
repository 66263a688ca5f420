"""The processes of one run: how they find each other, who leads, and what they say to each other.

`torchrun` starts the same command line in every process, and names its place in the environment.
Process 0 leads: it alone prints and writes logs; of shards all write their part of a checkpoint.
Two groups are used:

- the group of the steps (gloo on CPU, NCCL on CUDA) for tensors, with a short time-out: a process
  that has died or hangs ends the job;
- the group of control (gloo) for what is not a step, with a long time-out: the others wait there
  while the leader reads the sources, or another one validates or writes a checkpoint. A process
  that dies is noticed there at once, too, as its connection closes.
"""

import atexit
import contextlib
import gc
import os
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from jaxtyping import Float64
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from vsalt.errors import ConfigError, ToldElsewhereError, VsaltError
from vsalt.training.config import DeviceConfig
from vsalt.training.device import choose_device
from vsalt.training.launcher import follow_launcher

T = TypeVar("T")

CONTROL_TIMEOUT = timedelta(hours=6)
"""How long the others wait at most while the leader works alone."""
FAREWELL_S = 1.0
"""Where all processes end by the same error, the leader leaves first: as soon as one has left,
torchrun ends those that are still there."""

_POLL_S = 0.05
_PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_COLLECTIVE_WORDS = ("gloo", "nccl", "connection closed", "process group", "timed out")


class LostProcessError(VsaltError):
    """Another process of the run has ended or does not answer.

    What was done since the last checkpoint is lost.
    """


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run; by default the only one.

    Attributes:
        rank: number of this process; 0 leads.
        size: number of processes.
        timeout_s: how long a step waits for the others.
        control: the group of control.
    """

    rank: int = 0
    size: int = 1
    timeout_s: int = 0
    control: dist.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this process prints, writes logs, and puts checkpoints in force."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    def first(self, act: Callable[[], T]) -> T | None:
        """Let the leader do something while the others wait.

        Returns:
            What the leader's `act` returned, and None to the others.

        Raises:
            ToldElsewhereError: to the others, if it failed.
        """
        if not self.several:
            return act()
        if not self.leads:
            self._hear()
            return None
        result = self._try(act)
        self._tell((True, None))
        return result

    def lead(self, act: Callable[[], T]) -> T:
        """Let the leader do something, and return its result, which must be small, to all.

        Raises:
            ToldElsewhereError: to the others, if it failed.
        """
        if not self.several:
            return act()
        if not self.leads:
            heard: T = self._hear()
            return heard
        result = self._try(act)
        self._tell((True, result))
        return result

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in their order; they must be small."""
        if not self.several:
            return [value]
        values: list[Any] = [None] * self.size
        with self.explained():
            dist.all_gather_object(values, value, group=self.control)
        return values

    def stack(self, row: Float64[Tensor, " n"]) -> Float64[Tensor, "W n"]:
        """Return the rows of all processes, in their order, by a collective of the steps."""
        rows = [torch.empty_like(row) for _ in range(self.size)]
        with self.explained():
            dist.all_gather(rows, row)
        return torch.stack(rows)

    def agreed(self, error: VsaltError) -> VsaltError:
        """Return an error that all processes raise at once, such that only the leader tells it."""
        if self.leads:
            return error
        return ToldElsewhereError(getattr(error, "exit_code", 1))

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the failure of a collective inside this block into a `LostProcessError`."""
        if not self.several:
            yield
            return
        try:
            yield
        except RuntimeError as error:
            text = str(error)
            known = isinstance(error, dist.DistError)
            if not known and not any(word in text.lower() for word in _COLLECTIVE_WORDS):
                raise
            raise LostProcessError(
                "another process of the run has ended, or has not answered within "
                f"{self.timeout_s} s (--device.timeout-s); what was done since the last checkpoint "
                "is lost. It may have said why above; here it was: "
                + textwrap.shorten(text.splitlines()[0], 120, placeholder=" …")
            ) from error

    def _try(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except BaseException:
            # The others may have gone, too; the leader's own error is the one to be told.
            with contextlib.suppress(Exception):
                self._tell((False, None))
            raise

    def _tell(self, answer: tuple[bool, Any]) -> None:
        with self.explained():
            dist.broadcast_object_list([answer], src=0, group=self.control)

    def _hear(self) -> Any:
        answer: list[Any] = [None]
        with self.explained():
            dist.broadcast_object_list(answer, src=0, group=self.control)
        done, value = answer[0]
        if not done:
            raise ToldElsewhereError
        return value


ALONE = Ranks()
"""A run of one process."""


@contextmanager
def join(config: DeviceConfig) -> Iterator[Ranks]:
    """Meet the other processes of the run, if it was started in several.

    Raises:
        ConfigError: the environment names no place, or there is no such device.
        LostProcessError: the others are not met; a run never goes on with fewer.
    """
    place = place_in(os.environ)
    if place is None:
        yield ALONE
        return
    follow_launcher(os.environ)
    rank, size, local_rank = place
    device = choose_device(config.device)
    if device == "cuda":
        _take_gpu(local_rank)
    limit = timedelta(seconds=config.timeout_s)
    try:
        store, _, _ = next(rendezvous("env://", rank, size, timeout=limit))
        dist.init_process_group(
            "nccl" if device == "cuda" else "gloo",
            store=PrefixStore(_meet(store, rank, size, limit), store),
            rank=rank,
            world_size=size,
            timeout=limit,
        )
        control = dist.new_group(backend="gloo", timeout=CONTROL_TIMEOUT)
    except (RuntimeError, ValueError, OSError) as error:
        raise LostProcessError(
            f"process {rank} of {size} did not meet the others at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} within {config.timeout_s} s "
            f"(--device.timeout-s): {str(error).splitlines()[0]}"
        ) from error
    ranks = Ranks(rank=rank, size=size, timeout_s=config.timeout_s, control=control)
    del control
    _end_threads_before_exit()
    try:
        yield ranks
    except ToldElsewhereError:
        time.sleep(FAREWELL_S)
        raise
    # After an error nothing is said to the others: they see the connection close.
    ranks.gather(None)
    dist.destroy_process_group()


def _end_threads_before_exit() -> None:
    """Let the groups' threads end while Python still runs.

    They end with the last reference to a group, and trainer and networks, which refer to it, are in
    cycles. A thread of gloo's that is left may drop a tensor of Python's as the interpreter ends,
    and is killed for it, which aborts the process ("terminate called without an active exception").
    """
    atexit.unregister(gc.collect)
    atexit.register(gc.collect)


def place_in(environment: Mapping[str, str]) -> tuple[int, int, int] | None:
    """Return (rank, number of processes, rank on this node); None where there is one process.

    Raises:
        ConfigError: several processes are meant, but some of what torchrun sets is missing.
    """
    if environment.get("WORLD_SIZE", "1") in ("", "1"):
        return None
    missing = [name for name in _PLACE if not environment.get(name)]
    if missing:
        raise ConfigError(
            [
                f"WORLD_SIZE is {environment['WORLD_SIZE']}, but the environment lacks "
                f"{', '.join(missing)}; start vsalt by torchrun, or unset WORLD_SIZE for one "
                "process"
            ]
        )
    try:
        rank, size, local_rank = (int(environment[name]) for name in _PLACE[:3])
    except ValueError as error:
        raise ConfigError(
            [f"RANK, WORLD_SIZE and LOCAL_RANK must be whole numbers: {error}"]
        ) from error
    return rank, size, local_rank


def _meet(store: Store, rank: int, size: int, limit: timedelta) -> str:
    """Return a name that only the processes which are alive now know.

    torchrun keeps the store when it starts processes again, and what those before have left in it
    would be taken for addresses of the others. So each process says hello by a word of its own, and
    process 0 answers those whose word it finds, until all have heard it.

    Raises:
        RuntimeError: some have not come in time.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"vsalt/hello/{rank}", own)
        store.wait([f"vsalt/answer/{own}"], limit)
        name: str = store.get(f"vsalt/answer/{own}").decode()
        store.set(f"vsalt/{name}/{rank}", "met")
        return name
    missing = set(range(1, size))
    deadline = time.monotonic() + limit.total_seconds()
    while True:
        for other in tuple(missing):
            if store.check([f"vsalt/{own}/{other}"]):
                missing.remove(other)
            elif store.check([f"vsalt/hello/{other}"]):
                store.set(f"vsalt/answer/{store.get(f'vsalt/hello/{other}').decode()}", own)
        if not missing:
            return own
        if time.monotonic() > deadline:
            raise RuntimeError(f"of the others, {', '.join(map(str, sorted(missing)))} are missing")
        time.sleep(_POLL_S)


def _take_gpu(local_rank: int) -> None:
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise ConfigError(
            [
                f"this node has {count} CUDA devices, and torchrun started process {local_rank} on "
                f"it (counted from 0); give --nproc-per-node {count} or less, or --device.device "
                "cpu"
            ]
        )
    torch.cuda.set_device(local_rank)
