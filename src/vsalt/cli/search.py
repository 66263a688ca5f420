"""`vsalt search`: the clips of an index that are nearest to a query video."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vsalt.cli.extract_args import ReadArgs
from vsalt.cli.parse import parse
from vsalt.errors import printable, report_problems

if TYPE_CHECKING:
    from vsalt.embedding.index import EmbeddingIndex
    from vsalt.embedding.search import Hit


@dataclass(frozen=True, kw_only=True)
class SearchArgs:
    """Print the clips of an index that are nearest to a query video, with their times.

    The query is embedded as the index was: by the same encoder, windows and pooling. An index with
    --window-stride-s has a clip for every window, and each window of the query looks for its own.
    """

    index: tyro.conf.Positional[Path]
    """A folder that `vsalt embed` has written, of either format."""
    query: tyro.conf.Positional[Path]
    """A video or an image."""
    count: Annotated[int, tyro.conf.arg(aliases=("-n",))] = 10
    """At most so many clips."""
    encoder: Path | None = None
    """The run or checkpoint that the index was written with. Unset: where it was then."""
    start_s: float | None = None
    """Where the part of the query to look for starts, in seconds; unset: its beginning."""
    end_s: float | None = None
    """Where it ends; unset: its end."""
    overlapping: bool = False
    """Also list windows that overlap with a nearer one of the same video."""
    json: bool = False
    """Print one JSON object per clip."""
    reading: Annotated[ReadArgs, tyro.conf.arg(name="")] = field(
        default_factory=lambda: ReadArgs(workers=0)
    )
    """How the query is read and encoded."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if self.count < 1:
            problems.append(f"count is {self.count}; it must be at least 1")
        start_s = self.start_s or 0.0
        if start_s < 0:
            problems.append(f"start-s is {self.start_s}; it must be 0 or more")
        if self.end_s is not None and self.end_s <= start_s:
            problems.append(f"end-s is {self.end_s}; it must be above start-s, {start_s:g}")
        report_problems(problems)


_WIDE = 4096
"""Columns of a table that goes to a file or a pipe."""


def search(words: Sequence[str], prog: str) -> int:
    """Run the verb `search`."""
    return run(parse(SearchArgs, words, prog))


def run(args: SearchArgs) -> int:
    """Print the nearest clips; return 0."""
    from vsalt.data.manifest import Row
    from vsalt.embedding.index import read_index
    from vsalt.embedding.search import embed_query, find_encoder, nearest
    from vsalt.training.extract import ExtractConfig
    from vsalt.training.locate import load_encoder

    index = read_index(args.index)
    loaded = load_encoder(find_encoder(index, args.encoder))
    query = Row(
        path=str(args.query.absolute()),
        relative_path=str(args.query),
        source=0,
        start_s=args.start_s,
        end_s=args.end_s,
        columns={},
    )
    config = ExtractConfig(
        batch_size=args.reading.batch_size,
        workers=args.reading.workers,
        device=args.reading.device,
        limits=args.reading.limits,
    )
    found = embed_query(loaded, index, query, config)
    hits = nearest(index, found, count=args.count, overlapping=args.overlapping)
    if args.json:
        for hit in hits:
            print(json.dumps(_as_object(hit)))
    else:
        _print_table(hits, index, several=len(found.spans_s) > 1)
    return 0


def _as_object(hit: "Hit") -> dict[str, object]:
    return {
        "similarity": round(hit.similarity, 6),
        **hit.entry._asdict(),
        "query_start_s": hit.query_start_s,
        "query_end_s": hit.query_end_s,
    }


def _print_table(hits: Sequence["Hit"], index: "EmbeddingIndex", *, several: bool) -> None:
    """Print a table; columns that say nothing are left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    labelled = any(hit.entry.label is not None for hit in hits)
    table = Table(box=None, pad_edge=False)
    table.add_column("similarity", justify="right")
    table.add_column("seconds", justify="right")
    if several:
        table.add_column("of the query", justify="right")
    if labelled:
        table.add_column("label")
    table.add_column("video", overflow="fold")
    for hit in hits:
        cells = [f"{hit.similarity:.4f}", _span(hit.entry.start_s, hit.entry.end_s)]
        cells += [_span(hit.query_start_s, hit.query_end_s)] if several else []
        cells += [printable(hit.entry.label or "")] if labelled else []
        table.add_row(*map(Text, [*cells, printable(hit.entry.path)]))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)  # paths stay whole for other programs
    console.print(table)
    total = int(index.settings["num_rows"])
    if index.num_rows < total:
        console.print(
            f"{index.folder} is not complete: {index.num_rows} of {total} rows were searched",
            soft_wrap=True,
        )
    elif not hits:
        console.print(f"{index.folder} has no embeddings", soft_wrap=True)


def _span(start_s: float, end_s: float) -> str:
    return f"{start_s:.2f} – {end_s:.2f}"
