"""What files hold, in few characters, to notice that one of them has changed."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path


def file_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 (hex) of every file, by its name.

    Raises:
        OSError: if one cannot be read.
    """
    hashes = {}
    for path in sorted(paths):
        with path.open("rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def changed_files(kept: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Return the names of files that are not what they were, or not in both."""
    return sorted(name for name in kept.keys() | found if kept.get(name) != found.get(name))
