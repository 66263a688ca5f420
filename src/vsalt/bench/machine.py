"""The machine at hand: what it is, how fast it multiplies and copies, and what memory was used."""

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vsalt import __version__

Clock = Callable[[], float]
"""Seconds, from any beginning."""

MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrices that are multiplied to learn a device's rate."""
MATMUL_SECONDS = 0.2
"""They are multiplied until so much has passed."""
COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}
"""Size of what is copied to learn a device's bandwidth; more than its caches hold."""
COPIES = 5
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def describe_machine(device: str) -> dict[str, Any]:
    """Return names and numbers that decide how fast a device is, as plain values.

    `load` is the number of processes that wanted a core over the last minute, this one included:
    above `cores`, the numbers say little.
    """
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "vsalt": __version__,
    }


def cpu_name() -> str:
    """Return the processor's name as the system knows it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "cpu"


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def synchronise(device: str) -> None:
    """Wait until a device has done all that it was given; a CPU has by then."""
    if device == "cuda":
        torch.cuda.synchronize()


def matmul_rate(device: str, precision: str, clock: Clock = time.perf_counter) -> float:
    """Return operations per second of a product of two large square matrices, 2 n^3 each.

    Args:
        device: "cpu" or "cuda".
        precision: "fp32" or "bf16", of the matrices.
        clock: seconds.
    """
    size = MATMUL_SIZE[device]
    left, right = (
        torch.randn(size, size, device=device, dtype=DTYPES[precision]) for _ in range(2)
    )
    out = left @ right
    synchronise(device)
    begin, products = clock(), 0
    while not products or clock() - begin < MATMUL_SECONDS:
        torch.matmul(left, right, out=out)
        synchronise(device)
        products += 1
    return products * 2 * size**3 / (clock() - begin)


def copy_rate(device: str, clock: Clock = time.perf_counter) -> float:
    """Return bytes per second, read and written, of copying a large block of the device's memory.

    The median of a few copies; a byte that is copied counts twice.
    """
    source = torch.zeros(COPY_BYTES[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = []
    for _ in range(COPIES):
        synchronise(device)
        begin = clock()
        target.copy_(source)
        synchronise(device)
        seconds.append(clock() - begin)
    return 2 * COPY_BYTES[device] / statistics.median(seconds)


def reset_peak_memory(device: str) -> None:
    """Let `peak_memory` begin anew, where the device can; the process's own peak cannot."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device: str) -> dict[str, Any]:
    """Return the most memory that was in use, in bytes, and what was counted.

    On cuda what torch has allocated since `reset_peak_memory`; on a CPU all that the process has
    held in memory at one time since it began, libraries included.
    """
    if device == "cuda":
        return {"bytes": torch.cuda.max_memory_allocated(), "of": "tensors on the device"}
    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"bytes": most, "of": "the whole process"}
