"""Presets `paper-vit*`: SALT's own settings (arXiv 2509.24317, table of hyper-parameters).

80,000 steps of a ViT-L teacher (ViT-B for the ViT-B student), then 160,000 of the student, 3072
clips per step. Deviation: masks follow the `budget` policy (docs/explanation/method.md).
"""

from vsalt.config import SaltRunConfig, StageConfig
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.models.config import EncoderConfig, SizeName
from vsalt.objectives.config import PixelConfig, SaltConfig
from vsalt.training.config import LoopConfig, OptimConfig


def paper(student: SizeName) -> SaltRunConfig:
    """Return the published recipe for a student of size B, L, H, g or G."""
    teacher: SizeName = "B" if student == "B" else "L"
    optim = OptimConfig(warmup_steps=10_000)
    loop = LoopConfig(
        steps=80_000, batch_size=3072, micro_batch_size=24, save_every=2000, log_every=20
    )
    return SaltRunConfig(
        clip=ClipConfig(num_frames=16, size=(224, 224), frame_step=4, spacing="linspace"),
        data=DataConfig(workers=12, antialias=False),
        teacher=StageConfig(
            method=PixelConfig(), encoder=EncoderConfig(size=teacher), optim=optim, loop=loop
        ),
        student=StageConfig(
            method=SaltConfig(),
            encoder=EncoderConfig(size=student),
            optim=optim,
            loop=LoopConfig(
                steps=160_000, batch_size=3072, micro_batch_size=24, save_every=2000, log_every=20
            ),
        ),
    )
