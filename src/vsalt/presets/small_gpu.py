"""Preset `small-gpu`: one GPU, some hours."""

from vsalt.config import SaltRunConfig, StageConfig
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.models.config import EncoderConfig
from vsalt.objectives.config import PixelConfig, SaltConfig
from vsalt.training.config import LoopConfig, OptimConfig


def small_gpu() -> SaltRunConfig:
    """ViT-S on 16 frames of 112 x 112 pixels at frame step 4, 256 clips per step."""
    encoder = EncoderConfig(size="S")
    return SaltRunConfig(
        clip=ClipConfig(num_frames=16, size=(112, 112), frame_step=4),
        data=DataConfig(workers=14),
        teacher=StageConfig(
            method=PixelConfig(),
            encoder=encoder,
            optim=OptimConfig(),
            loop=LoopConfig(steps=10_000, batch_size=256, save_every=1000, log_every=20),
        ),
        student=StageConfig(
            method=SaltConfig(),
            encoder=encoder,
            optim=OptimConfig(),
            loop=LoopConfig(steps=40_000, batch_size=256, save_every=1000, log_every=20),
        ),
    )
