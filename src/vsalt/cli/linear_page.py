"""`vsalt linear page`: an interactive page on which features a method learns, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vsalt import __version__
from vsalt.cli.parse import parse
from vsalt.errors import ConfigError, VsaltError, printable


@dataclass(frozen=True, kw_only=True)
class LinearPageArgs:
    """Write one HTML page with sliders: which feature MAE, JEPA, SALT and EMA learn first."""

    out: Path
    """The page to write, replaced if it is there. It loads nothing and needs JavaScript."""


def page(words: Sequence[str], prog: str) -> int:
    """Run the verb `linear page`."""
    args = parse(LinearPageArgs, words, prog)
    if args.out.is_dir():
        raise ConfigError(
            [f"--out {args.out} is a folder; name a file, such as {args.out}/lab.html"]
        )
    if find_spec("scipy") is None:
        raise VsaltError("the linear lab needs scipy: pip install 'vsalt[linear]'")
    from vsalt import durable
    from vsalt.linear.page.render import render_page

    durable.create_folder(args.out.parent)
    durable.write_file(args.out, render_page(__version__))
    size = args.out.stat().st_size / 1e3
    print(printable(f"{args.out}: {size:.0f} kB; open it in a browser"))
    return 0
