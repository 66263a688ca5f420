"""What lies in folders: the videos and images below one, and whether files exist."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from vsalt.data.table_files import TextRecord
from vsalt.errors import DataError

SPLIT_FOLDERS = ("train", "val", "validation", "test")
"""Names of top folders that say the split of what lies in them."""
_NAMES = ("path", "split", "label")


def read_folder(folder: Path, suffixes: Collection[str]) -> Iterator[TextRecord]:
    """List the files with these suffixes below a folder as records of path, split and label.

    The label is the name of the folder a file lies in. Folders named train, val, validation or
    test at the top are splits, not labels. Links to folders are followed; hidden files and
    folders are left out.

    Yields:
        One record per file, sorted by path, part by part.

    Raises:
        DataError: there is none.
    """
    # Folder by folder, as Path sorts: "a/x" stands before "a-b/x", though "-" is less than "/".
    found = sorted(_files_below(folder, suffixes), key=lambda path: path.split(os.sep))
    if not found:
        raise DataError(_why_empty(folder, suffixes))
    for number, path in enumerate(found, start=1):
        *parents, _ = path.split(os.sep)
        split = parents[0].casefold() if parents else ""
        if split in SPLIT_FOLDERS:
            parents = parents[1:]
        else:
            split = ""
        yield TextRecord(number, _NAMES, (path, split, parents[-1] if parents else ""))


def _files_below(folder: Path, suffixes: Collection[str]) -> Iterator[str]:
    # Links to folders are followed, as data sets are often linked together; each folder once.
    seen: set[tuple[int, int]] = set()
    top = str(folder)
    for parent, subfolders, names in os.walk(top, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        inner = os.path.relpath(parent, top)
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                yield name if inner == os.curdir else os.path.join(inner, name)


def _why_empty(folder: Path, suffixes: Collection[str]) -> str:
    if any(folder.glob("*.tar")):
        return (
            f"{folder} holds tar files, but no index of what is in them; `vsalt data index "
            f"{folder}` makes one"
        )
    return f"no videos or images in {folder} or below; looked for {', '.join(sorted(suffixes))}"


class FileFinder:
    """Tells whether files exist.

    A folder that is asked about often is listed once: on a network file system, a listing of a
    thousand files costs about as much as a question about one.
    """

    ASK_AT_MOST = 32

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self._listed: dict[str, frozenset[str]] = {}

    def is_file(self, path: str) -> bool:
        """Return whether a regular file, or a link to one, lies at an absolute path."""
        folder, _, name = path.rpartition(os.sep)
        if folder not in self._listed:
            self._asked[folder] += 1
            if self._asked[folder] > self.ASK_AT_MOST:
                self._listed[folder] = _file_names(folder)
        # Some file systems find a file by another spelling than the one they list.
        return name in self._listed.get(folder, ()) or os.path.isfile(path)


def _file_names(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (OSError, ValueError):
        # It may be missing, no name that a folder can have, or allow questions but no listing:
        # then each file is asked about.
        return frozenset()
