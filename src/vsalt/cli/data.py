"""`vsalt data`: sets of videos."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from vsalt.cli.parse import parse
from vsalt.data.synthetic_config import TEST_EVERY, SynthConfig


@dataclass(kw_only=True)
class SynthArgs:
    """Make a labelled set of short videos: a moving object on a drifting texture.

    OUT/labels.csv has the labels motion and appearance, which are independent and in equal
    numbers, and shape and texture, which make up the appearance. Scenes (clips on one background)
    are groups; some of them are test.
    """

    out: tyro.conf.Positional[Path]
    """Folder to make; must be new or empty."""
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
    test_every: int = TEST_EVERY
    """Every n-th scene is of the test split, all others are for training."""
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

    from vsalt.cli.row_progress import row_progress
    from vsalt.data.synthetic import synthesise

    made = itertools.count(1)
    with row_progress(Console(stderr=True, markup=False), "videos") as show:
        return synthesise(
            args.out,
            num_clips=args.num_clips,
            seed=args.seed,
            size=args.size,
            num_frames=args.num_frames,
            fps=args.fps,
            test_every=args.test_every,
            config=args.config,
            on_clip=lambda: show(next(made), args.num_clips),
        )
