"""The optimiser's state on its way back from disk, and what is said where it is damaged."""

import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint import state_dict_loader
from torch.distributed.checkpoint.api import CheckpointException

from vsalt.errors import RunFolderError
from vsalt.training import run_folder
from vsalt.training.file_hashes import changed_files, file_hashes

USE_ANOTHER = (
    "use another checkpoint (to resume: remove that folder, and let "
    f"{run_folder.LATEST} name an earlier one)"
)
"""What to do about a checkpoint that is damaged."""


def check_state(folder: Path, sha256: Mapping[str, str]) -> None:
    """Compare the files of a state with what `StateDraft.finish` returned.

    Args:
        folder: `state/` of a checkpoint. Other files in it do not matter: nothing reads them.
        sha256: of each file, by name.

    Raises:
        RunFolderError: if one is missing, cannot be read, or has changed.
    """
    try:
        found = file_hashes(folder / name for name in sha256)
    except OSError as error:
        raise _unreadable(folder, error) from error
    changed = changed_files(sha256, found)
    if changed:
        raise RunFolderError(
            f"{', '.join(changed)} in the optimiser state {folder} changed after it was written; "
            f"{USE_ANOTHER}"
        )


def read_state(state: dict[str, Any], folder: Path) -> None:
    """Fill a state with what `StateDraft` has written.

    Args:
        state: tensors and plain values, as they are to be sharded; changed in place.
        folder: `state/` of a checkpoint.

    Raises:
        RunFolderError: if it is damaged.
    """
    try:
        with _quiet():
            state_dict_loader.load(state, checkpoint_id=folder, no_dist=True)
    except (CheckpointException, OSError, ValueError) as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: BaseException) -> RunFolderError:
    return RunFolderError(
        f"the optimiser state {folder} cannot be read: {_cause(error)}; {USE_ANOTHER}"
    )


def _cause(error: BaseException) -> str:
    """Return one line. The text of torch's own error is made of tracebacks."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
    return lines[-1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch says while it loads to itself.

    It warns that nothing is distributed. Where a file cannot be read, it logs tracebacks, by the
    root logger in torch 2.13, and raises the error afterwards.
    """

    def from_elsewhere(record: logging.LogRecord) -> bool:
        return record.pathname != state_dict_loader.__file__

    loggers = (logging.getLogger(), logging.getLogger(state_dict_loader.__name__))
    for logger in loggers:
        logger.addFilter(from_elsewhere)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="torch.distributed")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(from_elsewhere)
