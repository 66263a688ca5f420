"""What the loader is compared with: plain decoding loops, in processes that stay alive.

A loop opens a file, decodes the frames of one sample and has them as full RGB frames; it neither
crops nor resizes nor sends them anywhere.
"""

import importlib.util
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.video.reformatter import VideoReformatter

_PATIENCE_S = 120.0


class Sample(NamedTuple):
    """Which frames of which file; ascending, the last one may be repeated."""

    path: str
    frames: tuple[int, ...]


class Spent(NamedTuple):
    """Seconds by the wall, and of processors in some processes."""

    wall_s: float
    cpu_s: float

    @classmethod
    def so_far(cls, processes: Sequence[int]) -> "Spent":
        """Return the time until now."""
        return cls(time.perf_counter(), sum(map(_cpu_s, processes)))

    def since(self, begin: "Spent") -> "Spent":
        """Return the time from another until this one."""
        return Spent(self.wall_s - begin.wall_s, self.cpu_s - begin.cpu_s)


def _cpu_s(process: int) -> float:
    """Return user and system time, ended threads included; whole ticks of a hundredth."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_bare(sample: Sample, reformatter: VideoReformatter) -> list[av.VideoFrame]:
    """Open, seek, decode and convert to rgb24 by PyAV; files of a constant rate."""
    wanted = set(sample.frames)
    last = sample.frames[-1]
    found = []
    with av.open(sample.path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        start = stream.start_time or 0
        ticks = 1 / (stream.average_rate * stream.time_base)
        if sample.frames[0]:
            container.seek(start + int(sample.frames[0] * ticks), stream=stream)
        for frame in container.decode(stream):
            index = round((frame.pts - start) / ticks)
            if index in wanted:
                found.append(reformatter.reformat(frame, format="rgb24", threads=1))
            if index >= last:
                break
    assert len(found) == len(wanted), sample
    return found


def _bare() -> Callable[[Sample], Any]:
    reformatter = VideoReformatter()
    return lambda sample: read_bare(sample, reformatter)


def _torchcodec() -> Callable[[Sample], Any]:
    from torchcodec.decoders import VideoDecoder

    def read(sample: Sample) -> Any:
        decoder = VideoDecoder(
            sample.path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="approximate"
        )
        return decoder.get_frames_at(list(sample.frames)).data

    return read


def _decord() -> Callable[[Sample], Any]:
    import decord

    def read(sample: Sample) -> Any:
        return decord.VideoReader(sample.path, num_threads=1).get_batch(sample.frames).asnumpy()

    return read


LOOPS = {"bare": _bare, "torchcodec": _torchcodec, "decord": _decord}


def why_not(name: str) -> str | None:
    """Return why a loop cannot run here; None if it can."""
    if name != "bare" and importlib.util.find_spec(name) is None:
        return "not installed"
    try:
        LOOPS[name]()
    # A library that was built for another FFmpeg fails in ways of its own.
    except Exception as error:
        return str(error).strip().splitlines()[0]
    return None


class LoopProcesses:
    """N processes that run loops over lists of samples, each taking the next free sample.

    Attributes:
        start_s: seconds from the first start to all processes being ready.
    """

    def __init__(self, names: Sequence[str], count: int) -> None:
        context = multiprocessing.get_context("spawn")
        begin = time.perf_counter()
        self._next = context.Value("l", 0)
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, list(names), self._next), daemon=True
            )
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            _expect(pipe)
        self.start_s = time.perf_counter() - begin

    def run(self, name: str, samples: Sequence[Sample]) -> Spent:
        """Return what all processes together need for the samples."""
        for pipe in self._pipes:
            pipe.send((name, list(samples)))
        for pipe in self._pipes:
            _expect(pipe)
        self._next.value = 0
        processes = [process.pid for process in self._processes]
        begin = Spent.so_far(processes)
        for pipe in self._pipes:
            pipe.send("go")
        for pipe in self._pipes:
            _expect(pipe)
        return Spent.so_far(processes).since(begin)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.join()


def _expect(pipe: Connection) -> None:
    if not pipe.poll(_PATIENCE_S):
        raise TimeoutError(f"a decoding loop has not answered for {_PATIENCE_S:.0f} s")
    error = pipe.recv()
    if error:
        raise RuntimeError(f"a decoding loop failed: {error}")


def _serve(pipe: Connection, names: Sequence[str], shared: Any) -> None:
    import torch

    torch.set_num_threads(1)
    loops = {name: LOOPS[name]() for name in names}
    pipe.send(None)
    while True:
        name, samples = pipe.recv()
        pipe.send(None)
        pipe.recv()
        try:
            _run(loops[name], samples, shared)
        except Exception as error:
            pipe.send(repr(error))
        else:
            pipe.send(None)


def _run(read: Callable[[Sample], Any], samples: Sequence[Sample], shared: Any) -> None:
    while True:
        with shared.get_lock():
            index = shared.value
            shared.value = index + 1
        if index >= len(samples):
            return
        read(samples[index])
