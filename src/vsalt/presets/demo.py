"""Presets `demo` and `demo-long`, and what `vsalt demo` makes around them: all of its numbers.

Made for two CPU cores, on made-up videos.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from vsalt.config import SaltRunConfig, StageConfig
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.synthetic_config import SynthConfig
from vsalt.masking.config import CausalConfig
from vsalt.models.config import EncoderConfig, PredictorConfig
from vsalt.objectives.config import MethodConfig, PixelConfig, SaltConfig
from vsalt.training.config import LoopConfig, OptimConfig

MASKS = CausalConfig(ratio=0.5)
"""The first half of a clip is seen and the second is predicted, which only motion tells: of all
masks that were tried, these teach most in minutes (docs/results/demo-search.md)."""


@dataclass(frozen=True, kw_only=True)
class DemoPlan:
    """What `vsalt demo` makes.

    Attributes:
        duration: how long all of it takes on two cores, in words.
        train: returns the configuration of both stages.
        num_clips: videos.
        test_every: every n-th scene of them is of the test split.
        num_labels: training videos whose labels the probes get to see; encoders see none.
        size: height and width of the videos in pixels.
        num_frames: frames of a video.
        fps: frames per second.
        shows: what the videos show.
    """

    duration: str
    train: Callable[[], SaltRunConfig]
    num_clips: int = 4096
    test_every: int = 4
    num_labels: int = 1024
    size: int = 32
    num_frames: int = 16
    fps: int = 12
    shows: SynthConfig = field(
        default_factory=lambda: SynthConfig(background_contrast=0.0, colours="grey")
    )


def demo() -> SaltRunConfig:
    """A ViT of 2 blocks of width 96 on 8 frames of 32 x 32 pixels, in minutes."""
    return _config(teacher_steps=1200, student_steps=1600)


def demo_long() -> SaltRunConfig:
    """The same, five times as long."""
    return _config(teacher_steps=6000, student_steps=8000)


SHORT = DemoPlan(duration="about 4 minutes", train=demo)
LONG = DemoPlan(duration="about 16 minutes", train=demo_long)


def _config(*, teacher_steps: int, student_steps: int) -> SaltRunConfig:
    """Flips are off: left and right are classes of the synthetic set. Crops are off, too."""
    return SaltRunConfig(
        clip=ClipConfig(num_frames=8, size=(32, 32), frame_step=2),
        data=DataConfig(
            workers=1, cache="ram", crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.0
        ),
        teacher=_stage(PixelConfig(normalise="none"), teacher_steps, predictor_depth=2),
        student=_stage(SaltConfig(), student_steps, predictor_depth=1),
    )


def _stage(method: MethodConfig, steps: int, *, predictor_depth: int) -> StageConfig:
    return StageConfig(
        method=method,
        masks=MASKS,
        encoder=EncoderConfig(
            size="Ti", width=96, depth=2, heads=4, mlp_width=384, tubelet=(2, 8, 8)
        ),
        predictor=PredictorConfig(width=64, depth=predictor_depth, heads=4),
        optim=OptimConfig(
            lr=2e-3, lr_start=2e-4, lr_batch_size=32, weight_decay_final=0.04, clip_norm=1.0
        ),
        loop=LoopConfig(steps=steps, batch_size=32, save_every=max(1, steps // 6)),
    )
