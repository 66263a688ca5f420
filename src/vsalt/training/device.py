"""Device, precision and threads of a run."""

import contextlib
import ctypes
import os
from contextlib import AbstractContextManager
from typing import Literal

import torch

from vsalt.errors import ConfigError
from vsalt.training.config import DeviceConfig, LoopConfig

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER, _NONE = -1, 0


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """Return "cpu" or "cuda"; auto takes cuda where there is one.

    Raises:
        ConfigError: if cuda is asked for and there is none.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError(["the device is to be cuda, but torch finds none; take cpu or auto"])
    return wanted


def choose_precision(config: DeviceConfig, device: str) -> str:
    """Return "fp32" or "bf16"."""
    if config.precision == "auto":
        return "bf16" if device == "cuda" else "fp32"
    return config.precision


def saves_in_background(config: LoopConfig, device: str) -> bool:
    """Whether checkpoints are written beside the training; auto: on cuda.

    On the CPU the copy takes from the memory that the networks are in.
    """
    return config.async_save == "on" or (config.async_save == "auto" and device == "cuda")


def autocast(device: str, precision: str) -> AbstractContextManager[object]:
    """Return the context in which losses are computed; weights stay fp32."""
    if precision == "bf16":
        return torch.autocast(device, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def set_up(config: DeviceConfig, device: str) -> int:
    """Apply determinism and the number of CPU threads; return the number of threads in use."""
    if device == "cuda" and config.deterministic:
        # cuBLAS reads this when it starts; without it, its workspaces may change the sums.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if device == "cpu":
        keep_freed_memory()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return torch.get_num_threads()


def keep_freed_memory() -> None:
    """Keep what tensors free for the next ones, as torch does on a GPU; GNU's C library only.

    By default it gives large blocks back to the system, which clears each page when the next step
    asks for it again: over 20,000 page faults per clip and step of a ViT-S. Other C libraries are
    left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # No number of blocks of their own, rather than a greater least size of one: versions before
        # 2.35 refuse sizes above 32 MiB.
        mallopt(_M_MMAP_MAX, _NONE)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
