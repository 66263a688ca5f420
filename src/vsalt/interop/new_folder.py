"""Folders that are written once."""

from pathlib import Path

from vsalt import durable
from vsalt.errors import RunFolderError


def new_folder(out: Path) -> None:
    """Make a folder to write to.

    Raises:
        RunFolderError: if it exists and is not empty, or cannot be written.
    """
    if out.is_dir() and any(out.iterdir()):
        raise RunFolderError(f"{out} exists and is not empty; choose another OUT")
    durable.create_folder(out)
