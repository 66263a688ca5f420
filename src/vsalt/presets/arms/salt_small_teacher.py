"""Arm `salt-small-teacher`: a teacher of half the usual one's depth and width."""

from dataclasses import replace

from vsalt.config import SaltRunConfig


def salt_small_teacher(base: SaltRunConfig) -> SaltRunConfig:
    """Half the blocks, channels, heads and MLP channels of the preset's teacher; its predictor.

    An odd number of heads is rounded down; there is always one.
    """
    encoder = base.teacher.encoder
    numbers = encoder.architecture
    half = replace(
        encoder,
        width=numbers.width // 2,
        depth=max(1, numbers.depth // 2),
        heads=max(1, numbers.heads // 2),
        mlp_width=max(1, numbers.mlp_width // 2),
    )
    return replace(base, teacher=replace(base.teacher, encoder=half))
