"""Finds the members of packed shards: tar files in one folder with an index of what is in them.

The index is a manifest with three more columns: `shard`, the name of a tar file beside it, and
`offset` and `size`, where in that file the bytes of the video or image lie.
"""

import os
import re
import stat
from collections.abc import Mapping
from functools import cache

from vsalt.data.media import Media
from vsalt.data.remote import describe
from vsalt.data.urls import is_url, join
from vsalt.errors import DecodeError, DecodeTimeoutError, printable

INDEX_NAME = "index.jsonl"
SHARD_COLUMNS = ("shard", "offset", "size")


class ShardFolder:
    """The shards of a folder.

    Args:
        folder: absolute path, or URL.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        # One look at every shard, not one for each of its thousands of members.
        self._shard = cache(self._find_shard)

    def locate(self, cells: Mapping[str, str]) -> Media | str:
        """Return where a member's bytes lie, or what is wrong with its record.

        Args:
            cells: the record's cells, SHARD_COLUMNS among them.
        """
        for name in ("offset", "size"):
            if not re.fullmatch("[0-9]{1,18}", cells[name]):
                return f"{name} is {cells[name]!r}; it must be a whole number of at least 0"
        shard = self._shard(cells["shard"])
        if isinstance(shard, str):
            return shard
        path, num_bytes = shard
        offset, size = int(cells["offset"]), int(cells["size"])
        if offset + size > num_bytes:
            return (
                f"{printable(cells['shard'])} has {num_bytes} bytes, but the member is said to "
                f"lie at {offset} to {offset + size}; was the shard cut off, or is the index of "
                "another?"
            )
        return Media(path, offset, size)

    def _find_shard(self, name: str) -> tuple[str, int] | str:
        # Anything but a plain name could lead out of the folder.
        if name in ("", os.curdir, os.pardir) or "/" in name or "\\" in name:
            return f"shard is {name!r}; it must be the name of a tar file beside the index"
        if is_url(self._folder):
            return self._find_remote(name)
        path = os.path.join(self._folder, name)
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return f"there is no shard {printable(path)}"
        if not stat.S_ISREG(status.st_mode):
            return f"the shard {printable(path)} is not a regular file"
        return path, status.st_size

    def _find_remote(self, name: str) -> tuple[str, int] | str:
        path = join(self._folder, name)
        assert path is not None, "a plain name stays in the folder"
        try:
            return path, describe(path).size
        except DecodeTimeoutError:
            # The rows are not to blame.
            raise
        except DecodeError as error:
            return f"there is no shard {error}"
