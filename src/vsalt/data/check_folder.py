"""What lies in a folder beside the videos that are read from it."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vsalt.data.manifest import IMAGE_SUFFIXES, VIDEO_SUFFIXES


@dataclass(kw_only=True)
class FolderFacts:
    """What `read_source` passes over in a folder, and where it follows links.

    Attributes:
        unread: number of files by their suffix in small letters, of suffixes that are not read.
        num_hidden: files and folders whose name begins with a dot.
        linked_folders: symbolic links to folders, relative to the folder.
        seen_twice: folders that were come upon again, by a link, and are read once.
    """

    unread: Counter[str] = field(default_factory=Counter)
    num_hidden: int = 0
    linked_folders: list[str] = field(default_factory=list)
    seen_twice: list[str] = field(default_factory=list)


def folder_facts(folder: Path) -> FolderFacts:
    """Walk a folder as `read_source` does."""
    facts = FolderFacts()
    read = VIDEO_SUFFIXES.union(IMAGE_SUFFIXES)
    seen: set[tuple[int, int]] = set()
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        relative = os.path.relpath(parent, folder)
        if os.path.islink(parent) and relative != ".":
            facts.linked_folders.append(relative)
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            facts.seen_twice.append(relative)
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        facts.num_hidden += sum(name.startswith(".") for name in (*subfolders, *names))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        suffixes = (Path(name).suffix.lower() for name in names if not name.startswith("."))
        facts.unread.update(suffix for suffix in suffixes if suffix not in read)
    return facts
