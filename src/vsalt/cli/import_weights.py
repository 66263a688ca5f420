"""`vsalt import`: weights from Hugging Face folders and original V-JEPA 2 checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from vsalt.cli.parse import parse
from vsalt.errors import printable


@dataclass(frozen=True, kw_only=True)
class ImportArgs:
    """Write a V-JEPA 2 encoder from elsewhere as a folder that --encoder and --teacher take.

    Nothing is known of its training: no steps, no FLOPs, no data, and the folder says so.
    """

    source: tyro.conf.Positional[Path]
    """A `save_pretrained` folder with a VJEPA2Model or VJEPA2ForVideoClassification (safetensors;
    needs vsalt[hf]), or an original V-JEPA 2 checkpoint (.pt; read with weights_only)."""
    out: tyro.conf.Positional[Path]
    """Folder to write to; must be new or empty."""
    role: Literal["target_encoder", "encoder"] = "target_encoder"
    """Which encoder of an original checkpoint: the moving average, or the trained one."""
    num_frames: int | None = None
    """Frames of a clip. Unset: as the folder says; of a .pt file 16."""
    size: int | None = None
    """Height and width of a clip in pixels. Unset: as the folder says; of a .pt file 256."""
    fps: float | None = None
    """Frames of a clip per second of the video. With neither this nor --frame-step: 4, as V-JEPA 2
    was pretrained; of a folder that `vsalt export` wrote, as it says."""
    frame_step: int | None = None
    """Instead: every n-th frame."""
    antialias: bool | None = None
    """Average over source pixels when shrinking frames. Unset: as the source does it; transformers
    does, V-JEPA's own code does not."""
    heads: int | None = None
    """Attention heads of a .pt file's encoder, which it does not tell. Unset: those of V-JEPA 2's
    encoder of this width and depth."""
    predictor_heads: int | None = None
    """Likewise of its predictor. Unset: 12."""


def import_weights(words: Sequence[str], prog: str) -> int:
    """Run the verb `import`."""
    args = parse(ImportArgs, words, prog)
    from vsalt.interop.import_weights import ImportSettings
    from vsalt.interop.import_weights import import_weights as bring_in
    from vsalt.interop.networks import count

    names = ("role", "num_frames", "size", "fps", "frame_step", "antialias", "heads")
    settings = ImportSettings(**{name: getattr(args, name) for name in (*names, "predictor_heads")})
    imported = bring_in(args.source, args.out, settings)
    numbers = imported.networks.encoder.config.architecture
    lines = [
        f"{args.out}: an encoder of {count(numbers.depth, 'block')}, width {numbers.width}, "
        f"{count(numbers.heads, 'head')}, from {args.source}",
        *(f"  {note}" for note in imported.notes),
        f"next: vsalt probe fit --encoder {args.out} --data LABELLED --out PROBE",
        f"      vsalt pretrain --method salt --teacher {args.out} --data VIDEOS --out RUN",
    ]
    for line in lines:
        print(printable(line))
    return 0
