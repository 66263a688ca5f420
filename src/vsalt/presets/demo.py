"""Preset `demo`: the whole path in a few minutes on two CPU cores, on the synthetic set."""

from vsalt.config import SaltRunConfig, StageConfig
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.models.config import EncoderConfig, PredictorConfig
from vsalt.objectives.config import PixelConfig, SaltConfig
from vsalt.training.config import LoopConfig, OptimConfig


def demo() -> SaltRunConfig:
    """A ViT of 6 blocks of width 128 on 16 frames of 64 x 64 pixels, every frame.

    Flips are off: left and right are classes of the synthetic set.
    """
    encoder = EncoderConfig(size="Ti", width=128, depth=6, heads=4, mlp_width=512)
    predictor = PredictorConfig(width=96, depth=3, heads=4)
    optim = OptimConfig(lr=1e-3, lr_start=1e-4, lr_batch_size=32, clip_norm=1.0)
    return SaltRunConfig(
        clip=ClipConfig(num_frames=16, size=(64, 64), frame_step=1),
        data=DataConfig(workers=1, flip=0.0),
        teacher=StageConfig(
            method=PixelConfig(),
            encoder=encoder,
            predictor=predictor,
            optim=optim,
            loop=LoopConfig(steps=100, batch_size=32, save_every=50),
        ),
        student=StageConfig(
            method=SaltConfig(),
            encoder=encoder,
            predictor=predictor,
            optim=optim,
            loop=LoopConfig(steps=200, batch_size=32, save_every=50),
        ),
    )
