"""`vsalt embed`: embeddings of clips or of sliding windows, written to disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vsalt.cli.extract_args import ExtractArgs
from vsalt.cli.parse import parse


@dataclass(frozen=True, kw_only=True)
class EmbedArgs:
    """Write one embedding per clip, or per sliding window, with its times.

    A command that was interrupted goes on where it stopped when it is given again.
    """

    encoder: Path
    """A `vsalt salt` run (means its student; RUN/student/teacher is the frozen teacher it learned
    from, RUN/teacher the best checkpoint of stage 1), a `vsalt pretrain` run, a checkpoint, or
    what `vsalt import` wrote."""
    data: str
    """A folder of videos and images, a manifest or packed shards."""
    out: Path
    """Folder to write to: embeddings-*.safetensors and index.jsonl, or embeddings-*.parquet;
    bad.jsonl, embedding.json."""
    format: Literal["safetensors", "parquet"] = "safetensors"
    """safetensors: tensors, with their paths and times in index.jsonl. parquet: one table with all,
    for pandas, polars, DuckDB and others; needs `pip install 'vsalt[parquet]'`."""
    window_stride_s: float | None = None
    """An embedding for every window, one starting each so many seconds. Unset: one per row."""
    skip_bad: bool = False
    """Videos that cannot be read are always listed in bad.jsonl; this makes the exit code 0."""
    dense: Literal["none", "float16", "float32"] = "none"
    """Write the tokens of every window, too, as a map over time, height and width."""
    shard_size: int | None = None
    """Embeddings per file; what is lost at most when the command is interrupted. Unset: 4096, or
    with --dense as many as fit into 256 MB, if those are fewer."""
    extract: Annotated[ExtractArgs, tyro.conf.arg(name="")] = field(default_factory=ExtractArgs)


def embed(words: Sequence[str], prog: str) -> int:
    """Run the verb `embed`."""
    return run(parse(EmbedArgs, words, prog))


def run(args: EmbedArgs) -> int:
    """Write the embeddings; return 1 if videos could not be read and `skip_bad` is off, else 0."""
    from rich.console import Console

    from vsalt.cli.row_progress import row_progress
    from vsalt.data.urls import location
    from vsalt.embedding.embed import EmbedOptions
    from vsalt.embedding.embed import embed as write_embeddings
    from vsalt.embedding.writer import BAD
    from vsalt.training.locate import load_encoder

    options = EmbedOptions(
        extract=args.extract.config(args.window_stride_s),
        format=args.format,
        dense=args.dense,
        shard_size=args.shard_size,
    )
    console = Console(markup=False, highlight=False)
    loaded = load_encoder(args.encoder)
    with row_progress(console, "embeddings") as show:
        result = write_embeddings(loaded, location(args.data), args.out, options, on_progress=show)
    lines = [f"{result.num_embeddings} embeddings of {result.num_rows} rows in {args.out}"]
    if result.num_resumed:
        lines[0] += f"; {result.num_resumed} rows had been done before"
    if result.num_unreadable:
        lines.append(f"{result.num_unreadable} rows could not be read: see {args.out / BAD}")
    for line in lines:
        console.print(line, soft_wrap=True)
    return 1 if result.num_unreadable and not args.skip_bad else 0
