"""How much memory this process can still take: of the machine, and of its control groups."""

import sys
from pathlib import Path
from typing import NamedTuple

from vsalt.errors import ConfigError


class _Files(NamedTuple):
    """Names of a control group's files, and of the cached pages of files in its memory.stat."""

    limit: str
    used: str
    cached: str


_VERSION_1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = _Files("memory.max", "memory.current", "inactive_file")


def free_memory_bytes() -> int:
    """Return the memory that this process and its children can still take.

    Raises:
        ConfigError: the system does not tell.
    """
    if sys.platform != "linux":
        raise ConfigError(["--data.cache ram needs Linux; give --data.cache disk"])
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    own = Path("/proc/self/cgroup").read_text()
    return max(0, min([free, *left_in_groups(own, Path("/sys/fs/cgroup"))]))


def left_in_groups(own: str, root: Path) -> list[int]:
    """Return the bytes that each control group around this process can still take.

    Pages of files that were read count as used, but give way, so they are free.

    Args:
        own: content of /proc/self/cgroup.
        root: where the groups are mounted; in a container these may be its own and those below.
    """
    left: list[int] = []
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top, files = (root / "memory", _VERSION_1) if controllers else (root, _VERSION_2)
        inmost = top / path.lstrip("/")
        groups = [group for group in (inmost, *inmost.parents) if group.is_relative_to(top)]
        left += [_left_in(group, files) for group in groups if (group / files.limit).exists()]
    return left


def _left_in(group: Path, files: _Files) -> int:
    limit = (group / files.limit).read_text().strip()
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    used = int((group / files.used).read_text()) - int(stat[files.cached])
    return (sys.maxsize if limit == "max" else int(limit)) - used
