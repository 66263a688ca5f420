"""`vsalt data pack`, `data index` and `data unpack`: tar shards with an index."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vsalt.cli.parse import parse
from vsalt.errors import ConfigError, printable, report_problems

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_MAX_PROBLEMS_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class PackArgs:
    """Pack a source into tar shards in WebDataset naming, with an index.

    The bytes of the files stay as they are. As a source, OUT gives the same rows, and a run the
    same batches. A command that was interrupted goes on where it stopped when it is given again.
    """

    source: tyro.conf.Positional[str]
    """A folder of videos and images, or a manifest."""
    out: tyro.conf.Positional[Path]
    """Folder to write to; new, or begun by the same command."""
    shard_size: str = "1GB"
    """Size of a shard at most: 500MB, 1GB, 2GiB. A larger file is alone in one."""


@dataclass(frozen=True, kw_only=True)
class IndexArgs:
    """Write index.jsonl for existing WebDataset shards, which makes their folder a source.

    Each video or image is a row; .json members give columns, .cls the label. Members that are not
    plain files inside of their shard are reported and left out.
    """

    folder: tyro.conf.Positional[str]
    """Folder of uncompressed .tar files."""


@dataclass(frozen=True, kw_only=True)
class UnpackArgs:
    """Write chosen videos of shards back into a folder, with a manifest of their rows."""

    folder: tyro.conf.Positional[str]
    """Folder of shards with index.jsonl."""
    out: tyro.conf.Positional[Path]
    """Folder to write to; new or empty."""
    where: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """COLUMN=VALUE that a row must have; may be repeated, then it must have all."""
    split: str | None = None
    """Split that a row must be in."""
    limit: int | None = None
    """Take the first so many of the chosen rows."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = [
            f"where is {text!r}; it must be COLUMN=VALUE" for text in self.where if "=" not in text
        ]
        names = [text.split("=", 1)[0] for text in self.where]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            problems.append(f"where names {', '.join(twice)} twice; a column has one value")
        if self.limit is not None and self.limit < 1:
            problems.append(f"limit is {self.limit}; it must be at least 1")
        report_problems(problems)


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 500MB, 1GB or 2GiB.

    Raises:
        ConfigError: it is no such size, or less than a block of a tar file.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    size = 0
    if found and (found[2] or not found[3]):
        units = _BINARY_UNITS if found[3] else _UNITS
        size = int(float(found[1]) * units[found[2].upper()])
    if size < 1024:
        raise ConfigError(
            [f"shard-size is {text!r}; it must be a size of at least 1KB, such as 500MB or 2GiB"]
        )
    return size


def pack(words: Sequence[str], prog: str) -> int:
    """Run the verb `data pack`."""
    args = parse(PackArgs, words, prog)
    shard_bytes = parse_size(args.shard_size)
    from rich.console import Console

    from vsalt.cli.row_progress import row_progress
    from vsalt.data.output_folder import require_local
    from vsalt.data.pack import pack as pack_source

    source = require_local(args.source)
    with row_progress(Console(stderr=True), "packing shards") as show:
        result = pack_source(source, args.out, shard_bytes=shard_bytes, on_progress=show)
    print(
        f"{result.num_rows} rows, {result.num_files} files in {result.num_shards} shards "
        f"({result.num_bytes / 1e6:,.1f} MB): {args.out}"
    )
    if result.num_kept:
        print(f"{result.num_kept} shards had been finished before, and are as they were")
    return 0


def index(words: Sequence[str], prog: str) -> int:
    """Run the verb `data index`; return 1 if something was left out, else 0."""
    args = parse(IndexArgs, words, prog)
    from vsalt.data.index_tars import index_tars
    from vsalt.data.output_folder import require_local
    from vsalt.data.shard_index import INDEX_NAME

    folder = require_local(args.folder)
    result = index_tars(folder)
    print(f"{result.num_rows} rows in {result.num_shards} shards: {folder / INDEX_NAME}")
    for problem in result.problems[:_MAX_PROBLEMS_SHOWN]:
        print(printable(problem))
    if len(result.problems) > _MAX_PROBLEMS_SHOWN:
        print(f"and {len(result.problems) - _MAX_PROBLEMS_SHOWN} more")
    return 1 if result.problems else 0


def unpack(words: Sequence[str], prog: str) -> int:
    """Run the verb `data unpack`."""
    args = parse(UnpackArgs, words, prog)
    from rich.console import Console

    from vsalt.cli.row_progress import row_progress
    from vsalt.data.output_folder import MANIFEST, require_local
    from vsalt.data.unpack import Selection
    from vsalt.data.unpack import unpack as unpack_shards

    where = dict(text.split("=", 1) for text in args.where)
    folder = require_local(args.folder)
    selection = Selection(where=where, split=args.split, limit=args.limit)
    with row_progress(Console(stderr=True), "unpacking files") as show:
        num_rows, num_files = unpack_shards(folder, args.out, selection, on_progress=show)
    print(f"{num_rows} rows, {num_files} files: {args.out / MANIFEST}")
    return 0
