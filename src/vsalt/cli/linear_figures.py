"""`vsalt linear figures`: draw the figures of the linear theory, with their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vsalt.cli.parse import parse


@dataclass(frozen=True, kw_only=True)
class FiguresArgs:
    """Draw the figures of the linear theory of MAE, JEPA and frozen teachers.

    They belong to docs/explanation/linear-theory.md. Each has its numbers in a JSON file beside it,
    and index.json lists titles, captions and files. Needs scipy and matplotlib:
    pip install 'vsalt[linear]'.
    """

    out: Path
    """Folder to write to; files of the same names are written over."""
    only: tuple[str, ...] = ()
    """Figures to draw, such as F4 F5; all by default."""
    format: Literal["png", "svg"] = "png"
    """File format of the figures."""


def figures(words: Sequence[str], prog: str) -> int:
    """Run the verb `linear figures`."""
    args = parse(FiguresArgs, words, prog)
    require_packages()
    from vsalt.durable import create_folder, explain_write_errors
    from vsalt.linear.figures.figure import FigureSpec
    from vsalt.linear.figures.write import check_request, write_figures

    def show(spec: FigureSpec, path: Path) -> None:
        print(f"{spec.name:<4} {path}: {spec.title}", flush=True)

    check_request(args.only, args.format)
    create_folder(args.out)
    with explain_write_errors(f"to {args.out}"):
        index = write_figures(args.out, only=args.only, format=args.format, on_written=show)
    print(f"titles, captions and files: {index}")
    return 0


def require_packages() -> None:
    """Say what to install where an extra package is missing.

    Raises:
        VsaltError: scipy or matplotlib is.
    """
    from importlib.util import find_spec

    from vsalt.errors import VsaltError

    missing = [name for name in ("scipy", "matplotlib") if find_spec(name) is None]
    if missing:
        raise VsaltError(
            f"linear figures needs {' and '.join(missing)}: pip install 'vsalt[linear]'"
        )
