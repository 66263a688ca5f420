"""Whether a folder may become that of a comparison, or is one: nothing of others is replaced."""

from pathlib import Path

from vsalt.compare.data_sets import DATA
from vsalt.compare.page import PAGE
from vsalt.compare.result import CELLS, LOG, RESULT
from vsalt.compare.results import GROUPS_JSON, RESULTS_CSV, RESULTS_JSON
from vsalt.compare.stages import STAGES
from vsalt.compare.timing import SECONDS
from vsalt.errors import RunFolderError

SPEC = "compare.toml"
WRITTEN = (RESULTS_CSV, RESULTS_JSON, GROUPS_JSON, PAGE)
"""What is written anew at the end of every start."""
_BEGUN = frozenset((DATA, STAGES, CELLS, SECONDS, SPEC, ".lock"))


def check_folder(out: Path) -> None:
    """Refuse a folder of something else than a comparison.

    One may go on in a folder that has cells, or a specification beside results, or nothing but what
    a start makes before its first cell has ended. It need not exist.

    Raises:
        RunFolderError: if the folder holds other files.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise RunFolderError(f"--out {out} is a file; choose a new or empty folder")
    if any((out / CELLS).glob(f"*/{LOG}")) or any((out / CELLS).glob(f"*/{RESULT}")):
        return
    if (out / SPEC).is_file() and (out / RESULTS_JSON).is_file():
        return
    others = sorted({path.name for path in out.iterdir()} - _BEGUN)
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise RunFolderError(
            f"--out {out} holds other files than those of a comparison: {', '.join(others[:3])}"
            f"{more}; choose a new or empty folder"
        )
