"""Settings of the methods: one dataclass each, told apart by `name`.

Beside its settings a method says `needs_teacher`, whether it learns from a frozen encoder that must
be given; `loss_selects`, whether a lower val_loss means a better encoder, so that a run stands for
its best checkpoint and not its latest; and `kept_weights`, where the encoder lies that users keep.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from vsalt.errors import report_problems

TokenLoss = Literal["mse", "l1"]
TRAINED_ENCODER = "encoder"
"""Prefix in model.safetensors of the encoder that the optimiser trains."""


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
    loss_selects: ClassVar[bool] = True

    @property
    def kept_weights(self) -> str:
        """Prefix in model.safetensors of the encoder that users keep."""
        return TRAINED_ENCODER


@dataclass(frozen=True, kw_only=True)
class SaltConfig:
    """Predict a frozen teacher's latents of hidden tubelets: SALT's second stage.

    The last two settings are about the teacher and are no part of the loss.
    """

    name: Literal["salt"] = "salt"
    """Which method."""
    loss: TokenLoss = "l1"
    """Distance between prediction and target."""
    target_norm: Literal["layer_norm", "none"] = "layer_norm"
    """How a target token is standardised."""
    teacher_layer: int = -1
    """The teacher's block that gives the targets, from 0, or from -1 backwards. The last one's
    output goes through the teacher's final norm, any other's does not; blocks after it are not
    computed."""
    teacher_frames: Literal["first", "mean"] = "first"
    """For a teacher of single frames (--teacher hf:…): encode the first frame of a tubelet, or all
    of them, and take the mean of their tokens."""
    needs_teacher: ClassVar[bool] = True
    loss_selects: ClassVar[bool] = True

    @property
    def kept_weights(self) -> str:
        """Prefix in model.safetensors of the encoder that users keep."""
        return TRAINED_ENCODER


@dataclass(frozen=True, kw_only=True)
class VjepaConfig:
    """Predict the latents of a moving average of the encoder itself: V-JEPA."""

    name: Literal["vjepa"] = "vjepa"
    """Which method."""
    loss: TokenLoss = "l1"
    """Distance between prediction and target."""
    target_norm: Literal["layer_norm", "none"] = "layer_norm"
    """How a target token is standardised."""
    momentum: float = 0.998
    """Share of its own weights that the moving average keeps at the first step."""
    momentum_final: float = 1.0
    """The same at the end of the schedule, reached linearly; optim.schedule-stretch moves it."""
    kept: Literal["target", "student"] = "target"
    """Which encoder probes and embeddings take: the moving average, as V-JEPA, or the trained."""
    needs_teacher: ClassVar[bool] = False
    loss_selects: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the settings."""
        report_problems(
            [
                f"method.{name.replace('_', '-')} is {getattr(self, name)}; it must be in [0, 1]"
                for name in ("momentum", "momentum_final")
                if not 0 <= getattr(self, name) <= 1
            ]
        )

    @property
    def kept_weights(self) -> str:
        """Prefix in model.safetensors of the encoder that users keep."""
        return "carried.target" if self.kept == "target" else TRAINED_ENCODER


@dataclass(frozen=True, kw_only=True)
class ImportedConfig:
    """No method: the weights were brought in by `vsalt import`, and are not trained here."""

    name: Literal["imported"] = "imported"
    """Where the weights come from."""
    needs_teacher: ClassVar[bool] = False
    loss_selects: ClassVar[bool] = False

    @property
    def kept_weights(self) -> str:
        """Prefix in model.safetensors of the encoder that users keep."""
        return TRAINED_ENCODER


MethodConfig: TypeAlias = PixelConfig | SaltConfig | VjepaConfig | ImportedConfig
METHODS: dict[str, type[PixelConfig] | type[SaltConfig] | type[VjepaConfig]] = {
    "pixel": PixelConfig,
    "salt": SaltConfig,
    "vjepa": VjepaConfig,
}
"""Those that a stage can be trained with."""
