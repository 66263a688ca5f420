"""What a run ran on: bit-equality of a resumed run holds where these agree."""

import datetime
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from vsalt import __version__, durable
from vsalt.training import run_folder

PACKAGES = ("torch", "numpy", "av", "safetensors")
BINDING = (
    *("vsalt", "torch", "numpy", "av", "device", "device_name", "precision", "threads"),
    *("processes", "sharding"),
)
"""Entries on which bit-equality depends."""
_BEFORE = {"processes": 1, "sharding": "replicate"}
"""Entries that earlier versions did not write, as they were then."""


def describe(
    device: str,
    precision: str,
    threads: int,
    manifest_sha256: str,
    processes: int = 1,
    sharding: str = "replicate",
) -> dict[str, Any]:
    """Return versions, commit, device, threads, processes and command line as plain values."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "cpu"
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "vsalt": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
        "device": device,
        "device_name": name,
        "precision": precision,
        "threads": threads,
        "processes": processes,
        "sharding": sharding,
        "platform": platform.platform(),
        "manifest_sha256": manifest_sha256,
    }


def record(run: Path, entry: dict[str, Any]) -> list[str]:
    """Append an entry to environment.json.

    Returns:
        What differs from the run's first start in a way that ends bit-equality, as sentences.
    """
    path = run / run_folder.ENVIRONMENT
    starts = durable.read_json(path)["starts"] if path.exists() else []
    durable.write_json(path, {"starts": [*starts, entry]})
    if not starts:
        return []
    first = _BEFORE | starts[0]
    return [
        f"{name} is {entry[name]}, the run began with {first.get(name)}"
        for name in BINDING
        if entry[name] != first.get(name)
    ]


def _commit() -> str | None:
    """The commit of the checkout that vsalt is imported from, if it is one."""
    folder = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
