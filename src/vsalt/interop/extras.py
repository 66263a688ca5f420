"""Optional packages: imported where they are used, with the line that installs them if missing."""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from vsalt.errors import MissingExtraError


def require(package: str, *, extra: str, what: str) -> Any:
    """Import an optional package.

    Args:
        package: its name, or that of a module of it.
        extra: the extra of vsalt that brings it along.
        what: what needs it, for the message.

    Raises:
        MissingExtraError: if it cannot be imported, with what Python says.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        raise MissingExtraError(f"{what} needs {name} ({error})", extra=extra) from error


def transformers() -> Any:
    """Import transformers.

    Raises:
        MissingExtraError: if it is not installed.
    """
    return require("transformers", extra="hf", what="reading and writing Hugging Face folders")


@contextlib.contextmanager
def quiet_transformers() -> Iterator[Any]:
    """Import transformers, and let it say errors only inside the block: we check what it loads."""
    package = transformers()
    logging = package.utils.logging
    before, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield package
    finally:
        logging.set_verbosity(before)
        if has_bar:
            logging.enable_progress_bar()
