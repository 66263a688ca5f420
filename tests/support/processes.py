"""The processes below this one, as the kernel lists them."""

import os
from pathlib import Path


def children() -> list[int]:
    """Ids of the living child processes, without multiprocessing's resource tracker."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text()
        except (OSError, ValueError):
            continue
        parent, state = int(fields[1]), fields[0]
        if parent == os.getpid() and state != "Z" and "resource_tracker" not in command:
            found.append(int(folder.name))
    return found
