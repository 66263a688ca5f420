"""`vsalt viz`: masks, reconstructions, tokens and attention as PNG, GIF or mp4."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from vsalt.cli.outside import read_outside
from vsalt.cli.parse import parse
from vsalt.errors import ConfigError, printable

if TYPE_CHECKING:
    from vsalt.report.visualise import AttentiveProbe


@dataclass(frozen=True, kw_only=True)
class VizArgs:
    """Draw what an encoder sees, predicts and makes of clips, as files that can be shown around.

    OUT/captions.json says how to read each picture.
    """

    run: tyro.conf.Positional[Path]
    """A run, a stage of it or a checkpoint, as --encoder takes it; reconstructions are of
    teachers: RUN/teacher."""
    out: tyro.conf.Positional[Path]
    """Folder to write to; pictures of the same names are replaced."""
    what: tuple[Literal["masks", "reconstruction", "tokens", "attention"], ...] = ()
    """What to draw; unset: all that there is, of an encoder alone (imported weights) the tokens.
    attention needs --probe."""
    format: Literal["png", "gif", "mp4"] = "png"
    """png: time steps side by side. gif and mp4: one after the other."""
    clips: int = 2
    """Clips to draw: held-out ones, as val_loss sees them, where there are some."""
    data: str | None = None
    """Where the videos are, if not where the run found them, or other videos."""
    probe: Path | None = None
    """The --out of a `vsalt probe fit --kind attentive`, whose attention is drawn."""
    part: str | None = None
    """Which of the probe's parts, if it has several."""
    steps_per_second: int = 4
    """Time steps per second of gif and mp4."""


def viz(words: Sequence[str], prog: str) -> int:
    """Run the verb `viz`."""
    args = parse(VizArgs, words, prog)
    if args.part is not None and args.probe is None:
        raise ConfigError([f"--part {args.part} needs --probe"])
    from vsalt.report.visualise import VizOptions, visualise

    options = VizOptions(
        topics=args.what,
        format=args.format,
        num_clips=args.clips,
        data=args.data,
        steps_per_second=args.steps_per_second,
    )
    probe = _read_probe(args.run, args.probe, args.part) if args.probe is not None else None
    for path in visualise(args.run, args.out, options, probe, read_outside):
        print(printable(str(path)))
    return 0


def _read_probe(run: Path, folder: Path, part: str | None) -> "AttentiveProbe":
    from vsalt.evaluation.attention import probe_network
    from vsalt.evaluation.saved import read_head
    from vsalt.report.visualise import AttentiveProbe
    from vsalt.training.locate import load_encoder

    loaded = load_encoder(run)
    head = read_head(folder, loaded.sha256, part)
    network = probe_network(head, loaded.encoder)
    return AttentiveProbe(
        classifier=network.classifier,
        layers=network.layers,
        segments=network.segments,
        classes=head.classes,
    )
