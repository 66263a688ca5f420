"""`vsalt data`: sets of videos."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from vsalt.cli.parse import parse
from vsalt.data.synthetic_config import SynthConfig


@dataclass(kw_only=True)
class SynthArgs:
    """Make a labelled set of short videos: a moving object on a drifting texture.

    OUT/labels.csv has the labels motion and appearance, which are independent and in equal
    numbers, and shape and texture, which make up the appearance. Scenes (clips on one background)
    are groups; every fifth is test.
    """

    out: tyro.conf.Positional[Path]
    """Folder to make; must not exist or be empty."""
    num_clips: Annotated[int, tyro.conf.arg(aliases=("-n",))] = 640
    """Number of clips. Every run of motions x shapes x textures clips of a split (32 by default)
    has each combination once."""
    seed: int = 0
    """The same seed gives the same files."""
    size: int = 64
    """Height and width in pixels."""
    num_frames: int = 24
    """Frames per clip."""
    fps: int = 12
    """Frames per second."""
    config: Annotated[SynthConfig, tyro.conf.arg(name="")] = field(default_factory=SynthConfig)
    """What the clips show."""


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

    console = Console(stderr=True, markup=False)
    progress = iter(track(range(args.num_clips), "making clips", console=console, transient=True))
    return synthesise(
        args.out,
        num_clips=args.num_clips,
        seed=args.seed,
        size=args.size,
        num_frames=args.num_frames,
        fps=args.fps,
        config=args.config,
        on_clip=lambda: next(progress, None),
    )
