"""V-JEPA 2 in transformers and in vsalt: `VJEPA2Model`, `VJEPA2ForVideoClassification`.

What transformers can hold, and hence what is equal (float32): the encoder on all tokens of clips of
the square size in its config; the predictor on the encoder's tokens, one mask per call, our mask
token in its only slot; an attentive probe with the encoder's number of heads, on one segment.

    ours                         theirs
    encoder                      encoder
    predictor                    predictor
    classifier.pooler            pooler, self_attention_layers before the query's
    classifier.linear            classifier

There, a model always has a predictor. Where ours cannot be held, theirs has no blocks and answers
NaN, so that nobody takes its output for a prediction.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vsalt.errors import InteropError
from vsalt.interop.extras import quiet_transformers
from vsalt.interop.limits import (
    classifier_reasons,
    encoder_reasons,
    mlp_ratio,
    predictor_reasons,
    reading_reasons,
)
from vsalt.interop.matching import float32, refuse_rest, take_ours, to_theirs
from vsalt.interop.networks import (
    Networks,
    built_encoder,
    built_predictor,
    encoder_config,
    predictor_config,
)
from vsalt.interop.vjepa2_names import (
    HF,
    HF_BASE,
    HF_MASK_TOKENS,
    HF_QUERY,
    USED_MASK_TOKEN,
    hf_classifier,
)
from vsalt.models.config import Architecture
from vsalt.models.pooler import AttentiveClassifier, AttentivePooler
from vsalt.models.predictor import Predictor
from vsalt.models.vit import NORM_EPS, Encoder
from vsalt.models.weights import load_strictly

_NO_PREDICTOR = {
    "pred_hidden_size": 1,
    "pred_num_attention_heads": 1,
    "pred_num_hidden_layers": 0,
}


def to_hf(networks: Networks) -> Any:
    """Return the transformers model of our networks, in eval mode, with copies of the weights.

    Args:
        networks: with a classifier they become a `VJEPA2ForVideoClassification`, without one a
            `VJEPA2Model`. A predictor that cannot be held is left out (`left_out`).

    Raises:
        InteropError: if transformers cannot hold the encoder or the classifier, with the reasons.
        MissingExtraError: if transformers is not installed.

    Example:
        >>> to_hf(Networks(encoder=encoder, num_frames=16, size=(224, 224)))  # doctest: +SKIP
    """
    _check(networks)
    with quiet_transformers() as package:
        config = package.VJEPA2Config(**_settings(networks))
        kind = package.VJEPA2Model
        if networks.classifier is not None:
            kind = package.VJEPA2ForVideoClassification
        # Nothing is drawn for weights that are replaced at once.
        with torch.device("meta"):
            model = kind(config)
    model.load_state_dict(_their_tensors(networks), strict=True, assign=True)
    return model.requires_grad_(True).eval()


def left_out(networks: Networks) -> list[str]:
    """Return why the predictor of some networks will not be in their transformers model."""
    if networks.predictor is None:
        return ["there is none beside the encoder"]
    return predictor_reasons(networks.predictor, networks.encoder)


def from_hf(model: Any, source: str = "the model") -> Networks:
    """Return our networks with the weights of a transformers model.

    Of several mask tokens the predictor gets the one that transformers itself uses, number 1.

    Args:
        model: a `VJEPA2Model` or `VJEPA2ForVideoClassification`.
        source: what messages call it.

    Raises:
        InteropError: if vsalt cannot hold it, with the reasons.
        WeightsError: if its tensors are not those of its config.
    """
    config = model.config
    reasons = reading_reasons(config)
    if reasons:
        raise InteropError(_explained(f"vsalt cannot hold {source}", reasons))
    tensors = float32(model.state_dict())
    head = {name: tensors.pop(name) for name in list(tensors) if not name.startswith(HF_BASE)}
    if tensors:
        tensors = {name.removeprefix(HF_BASE): tensor for name, tensor in tensors.items()}
    else:
        tensors, head = head, {}
    encoder = _our_encoder(config, tensors, source)
    predictor = _our_predictor(config, encoder, tensors, source)
    refuse_rest(tensors, source)
    classifier = _our_classifier(config, head, source) if head else None
    names = config.id2label or {}
    return Networks(
        encoder=encoder,
        num_frames=config.frames_per_clip,
        size=(config.crop_size, config.crop_size),
        predictor=predictor,
        classifier=classifier,
        classes=tuple(names[index] for index in sorted(names)) if head else (),
    )


def _check(networks: Networks) -> None:
    reasons = encoder_reasons(networks.encoder, networks.size)
    if networks.classifier is not None:
        reasons += classifier_reasons(networks.classifier, networks.encoder)
    if reasons:
        raise InteropError(_explained("transformers' V-JEPA 2 cannot hold these networks", reasons))


def _explained(head: str, reasons: list[str]) -> str:
    return "\n".join([f"{head}:", *(f"  - {reason}" for reason in reasons)])


def _settings(networks: Networks) -> dict[str, Any]:
    """Return the arguments of `VJEPA2Config`."""
    encoder = networks.encoder.config
    numbers = encoder.architecture
    settings: dict[str, Any] = {
        "patch_size": encoder.tubelet[1],
        "crop_size": networks.size[0],
        "frames_per_clip": networks.num_frames,
        "tubelet_size": encoder.tubelet[0],
        "hidden_size": numbers.width,
        "num_attention_heads": numbers.heads,
        "num_hidden_layers": numbers.depth,
        "mlp_ratio": mlp_ratio(numbers.width, numbers.mlp_width),
        "layer_norm_eps": NORM_EPS,
        "pred_num_mask_tokens": 1,
    }
    if left_out(networks):
        settings |= _NO_PREDICTOR
    else:
        assert networks.predictor is not None
        own = predictor_config(networks.predictor).architecture
        settings |= {
            "pred_hidden_size": own.width,
            "pred_num_attention_heads": own.heads,
            "pred_num_hidden_layers": own.depth,
            "pred_mlp_ratio": mlp_ratio(own.width, own.mlp_width),
        }
    if networks.classifier is not None:
        settings["num_pooler_layers"] = len(networks.classifier.pooler.blocks)
        classes = networks.classes or tuple(
            f"class {index}" for index in range(networks.classifier.linear.out_features)
        )
        settings["id2label"] = dict(enumerate(classes))
        settings["label2id"] = {name: index for index, name in enumerate(classes)}
    return settings


def _their_tensors(networks: Networks) -> dict[str, Tensor]:
    encoder = networks.encoder
    found = to_theirs(encoder.state_dict(), HF.encoder(len(encoder.blocks)))
    if left_out(networks):
        found |= _nan_predictor(encoder.width)
    else:
        assert networks.predictor is not None
        found |= _their_predictor(networks.predictor)
    if networks.classifier is None:
        return float32(found)
    found = {f"{HF_BASE}{name}": tensor for name, tensor in found.items()}
    classifier = networks.classifier
    tensors = classifier.state_dict()
    found |= to_theirs(tensors, hf_classifier(len(classifier.pooler.blocks)))
    found[HF_QUERY] = tensors["pooler.query"].clone()[None, None]
    return float32(found)


def _their_predictor(predictor: Predictor) -> dict[str, Tensor]:
    tensors = predictor.state_dict()
    found = to_theirs(tensors, HF.predictor(len(predictor.blocks)))
    found[HF_MASK_TOKENS] = tensors["mask_token"].clone()[None, None, None]
    return found


def _nan_predictor(width: int) -> dict[str, Tensor]:
    """Return a predictor of no blocks and one channel that answers NaN."""
    shapes = {
        "embeddings.predictor_embeddings.weight": (1, width),
        "embeddings.predictor_embeddings.bias": (1,),
        "embeddings.mask_tokens": (1, 1, 1, 1),
        "layernorm.weight": (1,),
        "layernorm.bias": (1,),
        "proj.weight": (width, 1),
    }
    found = {f"predictor.{name}": torch.zeros(shape) for name, shape in shapes.items()}
    return found | {"predictor.proj.bias": torch.full((width,), torch.nan)}


def _our_encoder(config: Any, tensors: dict[str, Tensor], source: str) -> Encoder:
    numbers = Architecture(
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        int(config.hidden_size * config.mlp_ratio),
    )
    ours = encoder_config(numbers, (config.tubelet_size, config.patch_size, config.patch_size))
    taken = take_ours(tensors, HF.encoder(numbers.depth), source)
    return built_encoder(ours, taken, source)


def _our_predictor(
    config: Any, encoder: Encoder, tensors: dict[str, Tensor], source: str
) -> Predictor | None:
    depth = config.pred_num_hidden_layers
    taken = take_ours(tensors, HF.predictor(depth), source)
    slots = tensors.pop(HF_MASK_TOKENS)
    if depth == 0:
        return None
    taken["mask_token"] = slots[USED_MASK_TOKEN % len(slots), 0, 0]
    numbers = Architecture(
        config.pred_hidden_size,
        depth,
        config.pred_num_attention_heads,
        int(config.pred_hidden_size * config.pred_mlp_ratio),
    )
    return built_predictor(numbers, encoder, taken, source)


def _our_classifier(config: Any, tensors: Mapping[str, Tensor], source: str) -> AttentiveClassifier:
    rest = dict(tensors)
    depth = config.num_pooler_layers
    taken = take_ours(rest, hf_classifier(depth), source)
    taken["pooler.query"] = rest.pop(HF_QUERY)[0, 0]
    refuse_rest(rest, source)
    pooler = AttentivePooler(
        config.hidden_size, config.num_attention_heads, depth + 1, eps=config.layer_norm_eps
    )
    classifier = AttentiveClassifier(pooler, config.num_labels)
    load_strictly(classifier, taken, source)
    return classifier.eval()
