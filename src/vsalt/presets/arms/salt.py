"""Arm `salt`: the preset as it is, a teacher on pixels and a student of its latents."""

from vsalt.config import SaltRunConfig


def salt(base: SaltRunConfig) -> SaltRunConfig:
    """Return the preset's own stages."""
    return base
