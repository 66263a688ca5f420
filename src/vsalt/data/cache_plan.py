"""Where a cache of decoded frames lies, how large it will be, and whether there is room for it."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vsalt.data.clip_table import ClipPlace
from vsalt.data.config import DataConfig
from vsalt.data.frame_store import entry_path
from vsalt.data.free_memory import free_memory_bytes
from vsalt.data.manifest import Row
from vsalt.data.sampling import stretch
from vsalt.data.video_info import probe
from vsalt.errors import ConfigError, DecodeError
from vsalt.randomness import keyed_permutation

_MAX_SAMPLED = 2000
_MEMORY = "memory"
# Of the free memory, so much is for frames at most.
_MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class CachePlan:
    """What a cache of some rows takes.

    Attributes:
        num_bytes: of all frames, in RGB at full size.
        num_rows: rows whose frames are kept.
        num_sampled: rows whose headers were read for it; the bytes are scaled up to all.
        free_bytes: what there is room for.
        where: "memory" or the folder.
    """

    num_bytes: int
    num_rows: int
    num_sampled: int
    free_bytes: int
    where: str

    def __str__(self) -> str:
        estimate = (
            ""
            if self.num_sampled == self.num_rows
            else (f" (estimated from {self.num_sampled:,} of them)")
        )
        return (
            f"the frames of {self.num_rows:,} clips' videos take {_size(self.num_bytes)} in "
            f"{self.where}{estimate}; there is room for {_size(self.free_bytes)}"
        )

    def check(self) -> None:
        """Refuse a cache that does not fit.

        Raises:
            ConfigError: it takes more than there is room for.
        """
        if self.num_bytes <= self.free_bytes:
            return
        other = " --data.cache disk," if self.where == _MEMORY else ""
        raise ConfigError(
            [
                f"{self}; give{other} --data.cache none, or videos with a smaller short side "
                "(vsalt data prepare)"
            ]
        )


def plan_cache(rows: Sequence[Row], config: DataConfig, *, seed: int) -> CachePlan | None:
    """Return what the cache of a config takes: frames * height * width * 3 bytes of every row.

    What a folder has from earlier runs needs no room.

    Args:
        rows: the rows that are trained on.
        config: which cache, if any, and what may be read.
        seed: of the choice of rows whose headers are read, where there are many.

    Raises:
        ConfigError: the system has no such cache.
    """
    if config.cache == "none":
        return None
    chosen = keyed_permutation(len(rows), "cache plan", seed)[:_MAX_SAMPLED]
    total = sum(_missing_bytes(rows[int(index)], config) for index in chosen)
    num_bytes = round(total * len(rows) / max(1, len(chosen)))
    if config.cache == "ram":
        free, where = memory_for_frames(), _MEMORY
    else:
        folder = cache_folder(config)
        free, where = _free_disk_bytes(folder), str(folder)
    return CachePlan(num_bytes, len(rows), len(chosen), free, where)


def cache_folder(config: DataConfig) -> Path:
    """Return the folder of a cache on disk: --data.cache-dir, or the user's cache."""
    if config.cache_dir:
        return Path(config.cache_dir)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vsalt" / "frames"


def memory_for_frames() -> int:
    """Return the bytes of memory that frames may take; the rest of what is free is for others.

    Raises:
        ConfigError: the system does not tell.
    """
    return int(free_memory_bytes() * _MEMORY_SHARE)


def _missing_bytes(row: Row, config: DataConfig) -> int:
    """Return the bytes of a row's frames; 0 if they are there or cannot be read."""
    place = ClipPlace(row.media, row.start_s, row.end_s)
    try:
        path = entry_path(cache_folder(config), place, config.limits)
        if config.cache == "disk" and path.exists():
            return 0
        info = probe(row.media, limits=config.limits)
        part = stretch(info, start_s=row.start_s, end_s=row.end_s)
    except DecodeError:
        return 0
    return part.num_frames * info.height * info.width * 3


def _free_disk_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _size(num_bytes: int) -> str:
    """Write bytes in GB, from 0.1 GB on, else in MB."""
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
