"""Weights on disk: safetensors only, loaded strictly, named by a hash."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vsalt.errors import WeightsError


def save_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a safetensors file.

    Raises:
        OSError: if the system does not let it be written.
    """
    try:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
        obey_umask(path)
    except safetensors.SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def obey_umask(path: Path) -> None:
    """Let those read a file of safetensors whom the umask lets; the library allows its owner alone.

    Raises:
        OSError: if the system does not let it be changed.
    """
    # A new file shows the umask. To ask for it would mean to change it, for all threads, meanwhile.
    probe = path.with_name(f".{path.name}.mode")
    probe.touch()
    try:
        mode = probe.stat().st_mode & 0o777
    finally:
        probe.unlink()
    path.chmod(mode)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file to the CPU.

    Raises:
        WeightsError: if the file is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise WeightsError(f"there is no weights file {path}") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"the weights file {path} cannot be read: {error}") from error


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors into a module whose parameters must be exactly these.

    Raises:
        WeightsError: with a table of missing, unexpected and misshapen names.
    """
    wanted = module.state_dict()
    lines = [f"  missing     {name} {list(wanted[name].shape)}" for name in wanted.keys() - tensors]
    lines += [
        f"  unexpected  {name} {list(tensors[name].shape)}" for name in tensors.keys() - wanted
    ]
    lines += [
        f"  misshapen   {name} {list(tensors[name].shape)}, needed {list(wanted[name].shape)}"
        for name in wanted.keys() & tensors
        if wanted[name].shape != tensors[name].shape
    ]
    if lines:
        raise WeightsError(f"the weights in {source} do not fit:\n" + "\n".join(sorted(lines)))
    module.load_state_dict(dict(tensors), strict=True)


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose name starts with `prefix` and a dot, without both."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 (hex) of names, types, shapes and values, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
