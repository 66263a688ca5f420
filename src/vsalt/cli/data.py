"""`vsalt data`: sets of videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vsalt.cli.parse import parse


@dataclass(kw_only=True)
class SynthArgs:
    """Make a labelled set of short videos: one moving shape on a drifting texture."""

    out: tyro.conf.Positional[Path]
    """Folder to make; must not exist or be empty."""
    num_clips: Annotated[int, tyro.conf.arg(aliases=("-n",))] = 640
    """Number of clips. Every 32 clips of a split have each pair of labels once."""
    seed: int = 0
    """The same seed gives the same files."""
    size: int = 64
    """Height and width in pixels."""
    num_frames: int = 24
    """Frames per clip."""
    fps: int = 12
    """Frames per second."""


def synth(words: Sequence[str], prog: str) -> int:
    """Run the verb `data synth`."""
    args = parse(SynthArgs, words, prog)
    print(f"{args.num_clips} clips: {make_set(args)}")
    return 0


def make_set(args: SynthArgs) -> Path:
    """Make the set and return its manifest."""
    # The decoding library and numpy are loaded only when the verb runs.
    from rich.console import Console
    from rich.progress import track

    from vsalt.data.synthetic import synthesise

    console = Console(stderr=True)
    progress = iter(track(range(args.num_clips), "making clips", console=console, transient=True))
    return synthesise(
        args.out,
        num_clips=args.num_clips,
        seed=args.seed,
        size=args.size,
        num_frames=args.num_frames,
        fps=args.fps,
        on_clip=lambda: next(progress, None),
    )
