"""`vsalt import`: weights from Hugging Face folders and original V-JEPA 2 checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
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
    role: Literal["target_encoder", "encoder"] | None = None
    """Which encoder of an original checkpoint: the moving average, or the trained one. Unset:
    target_encoder."""
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
    rotary: bool = False
    """Positions of a .pt file are rotary even though it holds `pos_embed`: left over in files of
    V-JEPA 2, and added to the tokens in V-JEPA's, which are not read."""


def import_weights(words: Sequence[str], prog: str) -> int:
    """Run the verb `import`."""
    args = parse(ImportArgs, words, prog)
    from vsalt.interop.import_weights import ImportSettings
    from vsalt.interop.import_weights import import_weights as bring_in
    from vsalt.interop.networks import count

    settings = ImportSettings(
        **{field.name: getattr(args, field.name) for field in fields(ImportSettings)}
    )
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
