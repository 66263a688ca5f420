"""Presets `paper-vit*`: SALT's own settings (arXiv 2509.24317, table 5), 3072 clips per step.

The teacher is a ViT-L (ViT-B for the ViT-B student). Masks are cut to the minimum of 24 clips, as
V-JEPA's are on each of its devices.
"""

from vsalt.config import SaltRunConfig, StageConfig
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.masking.config import MultiblockConfig
from vsalt.models.config import EncoderConfig, SizeName
from vsalt.objectives.config import MethodConfig, PixelConfig, SaltConfig
from vsalt.training.config import LoopConfig, OptimConfig

SIZES: dict[str, SizeName] = {"b": "B", "l": "L", "h": "H", "g": "g", "G": "G"}
"""Student sizes by their letter in a preset's name."""
SPLITS: dict[str, tuple[int, ...]] = {
    "": (80_000, 160_000),
    "-40k": (40_000, 200_000),
    "-3stage": (80_000, 80_000, 80_000),
    "-3stage-40k": (40_000, 80_000, 120_000),
}
"""Steps of every stage by the end of a preset's name: the main results, and the best split of two
and both of three stages in the table of step allocations (table 16)."""
MASKS = MultiblockConfig(policy="batch_min")
"""Of all stages; a micro-batch is one of its groups."""


def paper(student: SizeName, steps: tuple[int, ...] = SPLITS[""]) -> SaltRunConfig:
    """Return the published recipe.

    Args:
        student: B, L, H, g or G.
        steps: of every stage. Three mean that a first student, the assistant, is frozen and
            teaches a second one. It has the teacher's size; the paper has such runs of ViT-L only.
    """
    teacher: SizeName = "B" if student == "B" else "L"
    middle = [_stage(SaltConfig(), teacher, number) for number in steps[1:-1]]
    return SaltRunConfig(
        clip=ClipConfig(num_frames=16, size=(224, 224), frame_step=4, spacing="linspace"),
        data=DataConfig(workers=12, antialias=False),
        teacher=_stage(PixelConfig(), teacher, steps[0]),
        assistant=middle[0] if middle else None,
        student=_stage(SaltConfig(), student, steps[-1]),
    )


def _stage(method: MethodConfig, size: SizeName, steps: int) -> StageConfig:
    return StageConfig(
        method=method,
        masks=MASKS,
        encoder=EncoderConfig(size=size),
        optim=OptimConfig(warmup_steps=10_000),
        loop=LoopConfig(
            steps=steps,
            batch_size=3072,
            micro_batch_size=MASKS.group_size,
            save_every=2000,
            log_every=20,
        ),
    )
