"""Tiny networks and batches, for tests that compare with slow references."""

import torch
from torch import Tensor, nn

from vsalt.data.types import Batch
from vsalt.masking.types import Grid, MaskBatch
from vsalt.models.config import EncoderConfig, Positions, PredictorConfig, grid_of
from vsalt.models.vit import Encoder

TUBELET = (2, 8, 8)
PREDICTOR = PredictorConfig(width=16, depth=2, heads=2, mlp_width=24)


def randomise(module: nn.Module, seed: int) -> None:
    """Give every parameter random values large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, param in module.named_parameters():
            scale = 0.2 if param.ndim >= 2 else 0.5
            param.copy_(scale * torch.randn(param.shape, generator=generator))
            if "norm" in name and name.endswith("weight"):
                param.add_(1)


def make_encoder(
    seed: int = 0,
    *,
    width: int = 24,
    depth: int = 2,
    heads: int = 2,
    tubelet: tuple[int, int, int] = TUBELET,
    positions: Positions = "vjepa2",
) -> Encoder:
    """An encoder with random parameters."""
    config = EncoderConfig(
        size="Ti",
        width=width,
        depth=depth,
        heads=heads,
        mlp_width=2 * width,
        tubelet=tubelet,
        positions=positions,
    )
    encoder = Encoder(config)
    randomise(encoder, seed)
    return encoder


def make_clips(
    num_clips: int, num_frames: int = 4, size: tuple[int, int] = (16, 24), seed: int = 0
) -> Tensor:
    """Random frames, uint8."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_clips, 3, num_frames, *size)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def make_masks(
    num_clips: int, grid: Grid, num_context: int, num_targets: int, seed: int = 0
) -> MaskBatch:
    """Random context and target ids, ascending."""
    generator = torch.Generator().manual_seed(seed)
    num_tokens = grid[0] * grid[1] * grid[2]
    order = torch.stack([torch.randperm(num_tokens, generator=generator) for _ in range(num_clips)])
    both = order[:, : num_context + num_targets]
    return MaskBatch(
        context=both[:, :num_context].sort(dim=1).values,
        targets=both[:, num_context:].sort(dim=1).values,
    )


def make_batch(
    num_clips: int,
    counts: tuple[tuple[int, int], ...] = ((5, 4), (3, 7)),
    *,
    num_frames: int = 4,
    size: tuple[int, int] = (16, 24),
    seed: int = 0,
) -> Batch:
    """Random clips under random masks with the given (context, target) counts."""
    grid = grid_of(num_frames, size, TUBELET)
    return Batch(
        clips=make_clips(num_clips, num_frames, size, seed),
        masks=tuple(
            make_masks(num_clips, grid, *count, seed=1000 * seed + i)
            for i, count in enumerate(counts)
        ),
        rows=tuple(range(num_clips)),
    )


def cut(batch: Batch, first: int, last: int) -> Batch:
    """Clips `first` to `last` of a batch."""
    return Batch(
        clips=batch.clips[first:last],
        masks=tuple(
            MaskBatch(mask.context[first:last], mask.targets[first:last]) for mask in batch.masks
        ),
        rows=batch.rows[first:last],
    )
