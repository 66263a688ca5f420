"""The machine: system, cores, memory, and the devices that torch can use."""

import os
import platform
import shutil
import sys
from pathlib import Path

from vsalt.doctor.finding import Finding

_DRIVER = Path("/proc/driver/nvidia/version")
PYTHON = (3, 11)


def examine_machine() -> list[Finding]:
    """Look at Python, the system, cores and memory."""
    version = platform.python_version()
    old = sys.version_info < PYTHON
    findings = [
        Finding(
            section="machine",
            name="python",
            value=f"{version} at {sys.executable}",
            state="bad" if old else "ok",
            mend="install Python 3.11 or newer" if old else "",
        ),
        _system(),
        Finding(section="machine", name="cores", value=f"{_cores()} that this process may use"),
    ]
    return [*findings, _memory()]


def _system() -> Finding:
    if platform.system() == "Linux":
        return Finding(section="machine", name="system", value=platform.platform())
    return Finding(
        section="machine",
        name="system",
        value=f"{platform.platform()}; vsalt is tested on Linux only",
        state="note",
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> Finding:
    from vsalt.data.free_memory import free_memory_bytes
    from vsalt.errors import VsaltError

    try:
        free = f"{free_memory_bytes() / 1e9:.1f} GB free for this process"
    except (VsaltError, OSError, ValueError, KeyError):
        return Finding(section="machine", name="memory", value="the system does not tell")
    return Finding(section="machine", name="memory", value=free)


def examine_devices(*, needs_cuda: bool = False) -> list[Finding]:
    """Look at the devices that torch finds, and use each once.

    Args:
        needs_cuda: whether it is bad that there is none.
    """
    try:
        import torch
    except Exception:  # `examine_packages` tells why
        return []
    threads = f"{torch.get_num_threads()} threads"
    if "OMP_NUM_THREADS" in os.environ:
        threads += f" (OMP_NUM_THREADS is {os.environ['OMP_NUM_THREADS']})"
    cpu = Finding(section="devices", name="cpu", value=threads)
    if not torch.cuda.is_available():
        return [cpu, _no_cuda(torch.__version__, torch.version.cuda, needs_cuda=needs_cuda)]
    return [cpu, *(_cuda(number) for number in range(torch.cuda.device_count()))]


def has_driver() -> bool:
    """Whether an NVIDIA driver is installed."""
    return _DRIVER.exists() or shutil.which("nvidia-smi") is not None


def _no_cuda(torch_version: str, cuda_version: str | None, *, needs_cuda: bool) -> Finding:
    """Say why torch finds no CUDA device."""
    if not has_driver():
        value, mend = "there is no NVIDIA driver, so encoders run on the CPU", ""
        if needs_cuda:
            mend = "install NVIDIA's driver, or start the container with its GPUs"
    elif cuda_version is None:
        value = f"there is an NVIDIA driver, but torch {torch_version} is built without CUDA"
        mend = "pip install --force-reinstall torch"
    else:
        value = f"there is an NVIDIA driver, but torch {torch_version} (CUDA {cuda_version}) cannot"
        value += " use it: it is too old, or no GPU is visible"
        mend = "update the driver, or look at CUDA_VISIBLE_DEVICES and the container's GPUs"
    bad = needs_cuda or (has_driver() and cuda_version is not None)
    return Finding(
        section="devices", name="cuda", value=value, state="bad" if bad else "note", mend=mend
    )


def _cuda(number: int) -> Finding:
    import torch

    name = f"cuda:{number}"
    try:
        properties = torch.cuda.get_device_properties(number)
        free, _ = torch.cuda.mem_get_info(number)
        total = float((torch.ones(8, 8, device=name) @ torch.ones(8, 8, device=name)).sum())
        if total != 512.0:
            raise RuntimeError(f"a sum that is 512 became {total}")
    except Exception as error:  # whatever the driver may answer
        reason = " ".join(str(error).split())[:300]
        return Finding(
            section="devices",
            name=name,
            value=f"cannot be used: {reason}",
            state="bad",
            mend="look at the driver (nvidia-smi), or hide the device by CUDA_VISIBLE_DEVICES",
        )
    bf16 = "" if properties.major >= 8 else "; no bf16 of its own: use --device.precision fp32"
    return Finding(
        section="devices",
        name=name,
        value=f"{properties.name}, {free / 1e9:.1f} GB free of "
        f"{properties.total_memory / 1e9:.1f}, compute capability "
        f"{properties.major}.{properties.minor}{bf16}",
    )
