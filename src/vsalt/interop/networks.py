"""What is exchanged with other formats: an encoder, and what may stand on it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from vsalt.config import PretrainConfig
from vsalt.models.config import ENCODERS, Architecture, EncoderConfig, PredictorConfig, SizeName
from vsalt.models.pooler import AttentiveClassifier
from vsalt.models.predictor import Predictor
from vsalt.models.vit import Block, Encoder
from vsalt.models.weights import load_strictly, part_of
from vsalt.training.checkpoint import Checkpoint, read_verified

PREDICTOR = "predictor"
"""Prefix of the predictor's tensors in a checkpoint's weights."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Networks:
    """Networks in eval mode that belong together.

    Attributes:
        encoder: what is kept.
        num_frames: frames of the clips that it is meant for.
        size: their height and width in pixels.
        predictor: from its tokens to what was to be predicted, if it is known.
        classifier: an attentive probe on its tokens, if there is one.
        classes: names of the classifier's classes, in the order of its scores.
    """

    encoder: Encoder
    num_frames: int
    size: tuple[int, int]
    predictor: Predictor | None = None
    classifier: AttentiveClassifier | None = None
    classes: tuple[str, ...] = ()


def read_predictor(checkpoint: Checkpoint, config: PretrainConfig) -> Predictor | None:
    """Return the predictor that lies beside a checkpoint's encoder; None if there is none.

    Args:
        checkpoint: of a stage, or imported.
        config: of the stage.

    Raises:
        WeightsError: if its weights are not those of its configuration.
    """
    tensors = part_of(read_verified(checkpoint), PREDICTOR)
    if not tensors:
        return None
    encoder = config.stage.encoder
    predictor = Predictor(
        config.stage.predictor.resolved(encoder.size, encoder.positions),
        in_width=encoder.architecture.width,
        out_width=tensors["out.bias"].shape[0],
        positions=encoder.positions,
    )
    load_strictly(predictor, tensors, f"the predictor of {checkpoint.path}")
    return predictor.eval()


def predictor_config(predictor: Predictor) -> PredictorConfig:
    """Return the numbers of a predictor."""
    first = predictor.blocks[0]
    assert isinstance(first, Block)
    return PredictorConfig(
        width=predictor.embed.out_features,
        depth=len(predictor.blocks),
        heads=first.attn.heads,
        mlp_width=first.mlp.fc1.out_features,
    )


def encoder_config(architecture: Architecture, tubelet: tuple[int, int, int]) -> EncoderConfig:
    """Return the config of an encoder with V-JEPA 2's positions.

    Its size is the one of these numbers, or of the nearest width; all numbers are written out.

    Raises:
        ConfigError: if the numbers do not fit each other.
    """
    sizes = {numbers: size for size, numbers in ENCODERS.items()}
    near = min(ENCODERS, key=lambda size: abs(ENCODERS[size].width - architecture.width))
    size: SizeName = sizes.get(architecture, near)  # type: ignore[assignment]
    return EncoderConfig(size=size, **architecture._asdict(), tubelet=tubelet, positions="vjepa2")


def built_encoder(config: EncoderConfig, tensors: Mapping[str, Tensor], source: str) -> Encoder:
    """Return an encoder in eval mode with these weights.

    Raises:
        WeightsError: if they are not those of the config.
    """
    encoder = Encoder(config)
    load_strictly(encoder, tensors, source)
    return encoder.eval()


def built_predictor(
    numbers: Architecture, encoder: Encoder, tensors: Mapping[str, Tensor], source: str
) -> Predictor:
    """Return a predictor of an encoder's own tokens, in eval mode, with these weights.

    Raises:
        ConfigError: if the numbers do not fit each other.
        WeightsError: if the weights are not those of such a predictor.
    """
    config = PredictorConfig(**numbers._asdict())
    predictor = Predictor(
        config.resolved(encoder.config.size, encoder.config.positions),
        in_width=encoder.width,
        out_width=encoder.width,
        positions=encoder.config.positions,
    )
    load_strictly(predictor, tensors, source)
    return predictor.eval()


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    Example:
        >>> count(1, "block"), count(12, "block")
        ('1 block', '12 blocks')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
