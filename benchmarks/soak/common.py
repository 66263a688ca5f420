"""What the parts of the soak share: a small set of files, small runs, and a view of processes.

A process is ours if its environment holds the mark that the script has put there. All that descend
from a process inherit it, so an orphan, whose parent is gone, is found, too.
"""

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paths
from demo_seeds import machine, write

from support import mutate, runs
from support.pictures import write_png
from vsalt.data.synthetic import synthesise

__all__ = ["machine", "mutate", "runs", "write"]

RESULTS = paths.REPOSITORY / "benchmarks" / "results" / "soak"
SHARED_MEMORY = Path("/dev/shm")
MARK = "VSALT_SOAK"


def network(*prefixes: str) -> list[str]:
    """Return the words for networks that take no time, for stages whose flags have a prefix."""
    words = ["--clip.num-frames", "4", "--clip.size", "32", "32", "--clip.frame-step", "2"]
    words += ["--batch-size", "8", "--device.threads", "1", "--device.device", "cpu"]
    for prefix in prefixes:
        words += [f"--{prefix}encoder.tubelet", "2", "8", "8"]
        words += [f"--{prefix}loop.micro-batch-size", "4"]
        for part in ("encoder", "predictor"):
            words += [f"--{prefix}{part}.width", "12", f"--{prefix}{part}.mlp-width", "48"]
            words += [f"--{prefix}{part}.depth", "1", f"--{prefix}{part}.heads", "2"]
    return words


def write_set(folder: Path, *, videos: int, pictures: int = 0, damaged: int = 0) -> Path:
    """Write a folder of small videos, pictures and damaged files, by a fixed seed.

    Args:
        folder: the folder, which need not be there yet.
        videos: number of sound videos.
        pictures: number of sound pictures.
        damaged: number of files that `mutate` has damaged, some of which can still be read.
    """
    if folder.exists():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    synthesise(partial / "synthetic", num_clips=videos, seed=1, size=32, num_frames=12)
    (partial / "synthetic" / "labels.csv").unlink()
    if pictures:
        (partial / "pictures").mkdir()
    noise = np.random.default_rng(0)
    for index in range(pictures):
        pixels = noise.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        write_png(partial / "pictures" / f"{index}.png", pixels)
    if damaged:
        bases = mutate.write_videos(folder.with_name(f"{folder.name}.bases"))
        mutate.write_mutants(partial / "damaged", bases, count=damaged)
    partial.rename(folder)
    return folder


class Usage(NamedTuple):
    """What a process holds.

    Attributes:
        rss: resident memory in bytes.
        anonymous: those of them that are no file's and not shared.
        fds: open files.
        threads: threads.
    """

    rss: int
    anonymous: int
    fds: int
    threads: int


class Process(NamedTuple):
    """A process as the kernel lists it.

    Attributes:
        pid: its number.
        parent: its parent's.
        began: clock ticks from the machine's start to its own.
        command: its command line.
    """

    pid: int
    parent: int
    began: int
    command: str

    @property
    def is_tracker(self) -> bool:
        """Whether it is multiprocessing's own helper."""
        return "resource_tracker" in self.command

    @property
    def is_worker(self) -> bool:
        """Whether it has been spawned by multiprocessing to read data."""
        return "spawn_main" in self.command

    def usage(self) -> Usage | None:
        """Return what it holds; None if it has gone."""
        folder = Path("/proc") / str(self.pid)
        try:
            lines = (folder / "status").read_text().splitlines()
            fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            return Usage(
                rss=1024 * int(fields["VmRSS"].split()[0]),
                anonymous=1024 * int(fields["RssAnon"].split()[0]),
                fds=len(os.listdir(folder / "fd")),
                threads=int(fields["Threads"]),
            )
        except (OSError, KeyError):
            return None


class Marked:
    """A command and all that descends from it.

    Args:
        words: of the command line, beginning with the program.
        log: takes its output.
        environment: what is set beside this process's own.
    """

    def __init__(
        self, words: Iterable[str | Path], log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        own = dict([self._mark.split("=")])
        with log.open("ab") as file:
            self.popen = subprocess.Popen(
                [str(word) for word in words],
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "COLUMNS": "200", **(environment or {}), **own},
                start_new_session=True,
            )

    def processes(self) -> list[Process]:
        """Return those that live, oldest first."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal():
                continue
            try:
                if self._mark.encode() not in (folder / "environ").read_bytes().split(b"\0"):
                    continue
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            if fields[0] not in "ZX":
                found.append(Process(int(folder.name), int(fields[1]), int(fields[19]), command))
        return sorted(found, key=lambda process: (process.began, process.pid))

    def left_after(self, wait_s: float) -> list[Process]:
        """Return what still lives so many seconds after now, or nothing as soon as nothing does."""
        deadline = time.monotonic() + wait_s
        while left := self.processes():
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return left

    def end(self) -> None:
        """Kill all that is left."""
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self.popen.wait()


def shared_memory() -> set[str]:
    """Return the names in /dev/shm."""
    return set(os.listdir(SHARED_MEMORY)) if SHARED_MEMORY.is_dir() else set()
