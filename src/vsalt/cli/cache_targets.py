"""`vsalt cache-targets`: what a frozen teacher says of fixed views, written to disk."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from vsalt.cli.outside import read_outside
from vsalt.cli.parse import incomplete, parse
from vsalt.cli.pretrain import DEFAULT_PRESET, stage_defaults, with_absolute_sources
from vsalt.config import PretrainConfig, from_dict, to_dict
from vsalt.presets import PRESET_NAMES
from vsalt.targets.cache_config import CacheConfig

_PRESET_HELP = f"Where the defaults of all settings come from: {PRESET_NAMES}."
Flat = tyro.conf.arg(name="")


@dataclass(frozen=True, kw_only=True)
class CacheTargetsArgs:
    """Write a frozen teacher's latents of fixed views, for `vsalt pretrain --targets`.

    A command that was interrupted goes on where it stopped when it is given again. It takes the
    settings of the student's `vsalt pretrain --method salt`, so that one file serves both; those of
    its training change nothing here.
    """

    out: Path
    """Folder to write to."""
    teacher: str
    """As of `vsalt pretrain`: a run, a checkpoint, what `vsalt import` wrote, or hf:PATH."""
    preset: Annotated[str, tyro.conf.arg(help=_PRESET_HELP)] = DEFAULT_PRESET
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """A TOML file with settings over those of the preset; flags go over both."""
    dry_run: bool = False
    """Print how large the cache will be and what it will cost, and stop."""
    cache: Annotated[CacheConfig, Flat] = field(default_factory=CacheConfig)
    config: Annotated[PretrainConfig, Flat]


def cache_targets(words: Sequence[str], prog: str) -> int:
    """Run the verb `cache-targets`."""
    config = stage_defaults([*words, "--method", "salt"])
    if config.data.views is None:
        config = replace(config, data=replace(config.data, views=1))
    args = parse(CacheTargetsArgs, words, prog, incomplete(CacheTargetsArgs, config=config))
    config = with_absolute_sources(from_dict(PretrainConfig, to_dict(args.config)))
    return run(args, config)


def run(args: CacheTargetsArgs, config: PretrainConfig) -> int:
    """Write the cache, and say what it has come to."""
    from rich.console import Console

    from vsalt.cli.row_progress import row_progress
    from vsalt.training.cache_targets import CacheWriter

    console = Console(markup=False, highlight=False)
    writer = CacheWriter(config, args.teacher, args.cache, read_outside)
    plan = writer.plan
    train, held = plan.layouts["train"], plan.layouts["holdout"]
    lines = [
        f"{train.num_rows} clips x {train.num_views} views, and {held.num_rows} held out: "
        f"{train.record_bytes:,} bytes a view, {plan.num_bytes / 1e6:,.1f} MB, "
        f"{plan.flops.exact:.3g} FLOPs of the teacher",
        f"runs that together see more than {plan.num_views:,} clips save FLOPs by it",
    ]
    for line in lines:
        console.print(line, soft_wrap=True)
    if args.dry_run:
        return 0
    with row_progress(console, "targets") as show:
        result = writer.write(args.out, show)
    if result.resumed:
        console.print(f"{result.resumed} files had been written before, and are as they were")
    if result.left_out:
        console.print(
            f"{result.left_out} clips could not be read and have no targets; in training others "
            "take their place",
            style="yellow",
            soft_wrap=True,
        )
    console.print(f"done: {args.out}", soft_wrap=True)
    console.print(
        f"next: vsalt pretrain --method salt --targets {shlex.quote(str(args.out))} --data DATA "
        "--out RUN, with the same --data, --preset and --seed",
        soft_wrap=True,
    )
    return 0
