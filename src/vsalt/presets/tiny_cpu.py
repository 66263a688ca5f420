"""Preset `tiny-cpu`: both stages in minutes on two CPU cores."""

from vsalt.config import SaltRunConfig, StageConfig
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.models.config import EncoderConfig
from vsalt.objectives.config import PixelConfig, SaltConfig
from vsalt.training.config import LoopConfig, OptimConfig


def tiny_cpu() -> SaltRunConfig:
    """ViT-Ti on 16 frames of 64 x 64 pixels at frame step 2."""
    encoder = EncoderConfig(size="Ti", tubelet=(2, 16, 16))
    optim = OptimConfig(lr=1e-3, lr_start=1e-4, lr_batch_size=16, clip_norm=1.0)
    return SaltRunConfig(
        clip=ClipConfig(num_frames=16, size=(64, 64), frame_step=2),
        data=DataConfig(workers=1),
        teacher=StageConfig(
            method=PixelConfig(),
            encoder=encoder,
            optim=optim,
            loop=LoopConfig(steps=500, batch_size=16, save_every=100),
        ),
        student=StageConfig(
            method=SaltConfig(),
            encoder=encoder,
            optim=optim,
            loop=LoopConfig(steps=1000, batch_size=16, save_every=100),
        ),
    )
