"""Optional packages: imported where they are used, with the line that installs them if missing."""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from vsalt.errors import InteropError, MissingExtraError


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
        InteropError: if it is, and cannot load its models, as beside a torchvision that was built
            for another torch.
    """
    package = require("transformers", extra="hf", what="reading and writing Hugging Face folders")
    try:
        package.VJEPA2Model  # noqa: B018  models are loaded when they are first asked for
    except Exception as error:  # whatever the import of another package may run into
        reason = " ".join(str(error).split())[:300]
        raise InteropError(
            f"transformers {package.__version__} is installed and cannot load its models: {reason} "
            "Often a torchvision that does not fit torch is the cause: pip uninstall torchvision, "
            "which vsalt does not need"
        ) from error
    return package


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
