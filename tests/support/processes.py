"""The processes below another, as the kernel lists them."""

import os
from pathlib import Path


def children(parent: int | None = None) -> list[int]:
    """Ids of the living children of a process, without multiprocessing's resource tracker.

    Args:
        parent: id of the process; None is this one.
    """
    parent = parent or os.getpid()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text()
        except (OSError, ValueError):
            continue
        if int(fields[1]) == parent and fields[0] != "Z" and "resource_tracker" not in command:
            found.append(int(folder.name))
    return found
