"""What transformers' V-JEPA 2 can hold of vsalt's networks, and vsalt of its.

Each function returns reasons, in sentences; none means that the other side computes the same.
"""

from typing import Any

from vsalt.models.pooler import AttentiveClassifier
from vsalt.models.predictor import Predictor
from vsalt.models.vit import NORM_EPS, Encoder

_PLAIN: dict[str, object] = {
    "in_chans": 3,
    "hidden_act": "gelu",
    "qkv_bias": True,
    "layer_norm_eps": NORM_EPS,
}


def encoder_reasons(encoder: Encoder, size: tuple[int, int]) -> list[str]:
    """Return why `VJEPA2Model` cannot hold an encoder for clips of a size."""
    config = encoder.config
    reasons = []
    if config.positions != "vjepa2":
        reasons.append(
            f"its positions are {config.positions}; transformers has only those of "
            "--encoder.positions vjepa2"
        )
    if config.tubelet[1] != config.tubelet[2]:
        reasons.append(f"its tubelets are {config.tubelet}; there they have square patches")
    if size[0] != size[1]:
        reasons.append(
            f"its clips are {size[0]} x {size[1]} pixels; there, tokens are numbered on a square "
            "grid, and on any other they would have wrong positions"
        )
    return reasons


def predictor_reasons(predictor: Predictor, encoder: Encoder) -> list[str]:
    """Return why `VJEPA2Model` cannot hold a predictor beside an encoder."""
    out = predictor.out.out_features
    if out != encoder.width:
        return [
            f"it predicts {out} values per token, and the encoder has {encoder.width} channels; "
            "there, a predictor's output has the encoder's width (a predictor of pixels, or of a "
            "teacher of another width, has not)"
        ]
    return []


def classifier_reasons(classifier: AttentiveClassifier, encoder: Encoder) -> list[str]:
    """Return why `VJEPA2ForVideoClassification` cannot hold an attentive probe on an encoder."""
    pooler = classifier.pooler
    advice = "fit the probe with --attentive.mode hf"
    own, heads = pooler.cross.attn.heads, encoder.config.architecture.heads
    reasons = []
    if own != heads:
        reasons.append(
            f"the probe has {own} attention heads, the encoder {heads}; there, both are the same: "
            + advice
        )
    eps = pooler.cross.norm1.eps
    if eps != NORM_EPS:
        reasons.append(
            f"the norms of the probe have eps {eps:g}, the encoder's {NORM_EPS:g}; there, both are "
            f"the same: {advice}"
        )
    return reasons


def reading_reasons(config: Any) -> list[str]:
    """Return why vsalt cannot hold a model of a `VJEPA2Config`."""
    reasons = [
        f"its {name} is {getattr(config, name)!r}; vsalt's networks have {allowed!r}"
        for name, allowed in _PLAIN.items()
        if getattr(config, name) != allowed
    ]
    if not isinstance(config.patch_size, int):
        reasons.append(f"its patch_size is {config.patch_size!r}; one number is needed")
    return reasons


def mlp_ratio(width: int, mlp_width: int) -> float:
    """Return the ratio that transformers turns into a hidden width by int(width * ratio).

    Example:
        >>> int(1408 * mlp_ratio(1408, 6144))
        6144
    """
    ratio = mlp_width / width
    # The quotient may be rounded down, and the product with it to just below the whole number.
    return ratio if int(width * ratio) == mlp_width else (mlp_width + 0.5) / width
