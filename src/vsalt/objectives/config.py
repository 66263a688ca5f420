"""Settings of the methods: one dataclass each, told apart by `name`."""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

TokenLoss = Literal["mse", "l1"]


@dataclass(frozen=True, kw_only=True)
class PixelConfig:
    """Reconstruct pixels of hidden tubelets: SALT's first stage, V-Pixel."""

    name: Literal["pixel"] = "pixel"
    """Which method."""
    loss: TokenLoss = "mse"
    """Distance between prediction and target."""
    normalise: Literal["per_channel", "joint", "none"] = "per_channel"
    """How the pixels of a tubelet are standardised."""
    needs_teacher: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class SaltConfig:
    """Predict a frozen teacher's latents of hidden tubelets: SALT's second stage."""

    name: Literal["salt"] = "salt"
    """Which method."""
    loss: TokenLoss = "l1"
    """Distance between prediction and target."""
    target_norm: Literal["layer_norm", "none"] = "layer_norm"
    """How a target token is standardised."""
    needs_teacher: ClassVar[bool] = True


MethodConfig: TypeAlias = PixelConfig | SaltConfig
METHODS: dict[str, type[PixelConfig] | type[SaltConfig]] = {
    "pixel": PixelConfig,
    "salt": SaltConfig,
}
