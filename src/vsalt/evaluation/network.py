"""A saved probe and its encoder as one network: from 8-bit clips to scores of classes.

Shapes: B rows, S windows of a row, T frames, H x W pixels, F channels of a feature, C classes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from vsalt.config import from_dict
from vsalt.data.config import ClipConfig
from vsalt.errors import ConfigError, WeightsError
from vsalt.evaluation.attentive import new_classifier
from vsalt.evaluation.attentive_prober import DEPTHS, antialias_of
from vsalt.evaluation.heads import ATTENTIVE
from vsalt.evaluation.probe import ProbeOptions
from vsalt.evaluation.saved import SavedHead
from vsalt.evaluation.subjects import trained
from vsalt.models.config import FeaturePooling
from vsalt.models.pooler import AttentiveClassifier
from vsalt.models.vit import Encoder
from vsalt.models.weights import load_strictly
from vsalt.training.locate import LoadedEncoder


class StandardisedLinear(nn.Module):
    """`weight @ ((x - mean) / scale) + bias` in float32, as `LinearHead` computes it in float64."""

    def __init__(self, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.mean = nn.Parameter(mean.float())
        self.scale = nn.Parameter(scale.float())
        self.weight = nn.Parameter(weight.float())
        self.bias = nn.Parameter(bias.float())

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B C"]:
        """Return the scores."""
        scaled = (features - self.mean) / self.scale
        return nn.functional.linear(scaled, self.weight, self.bias)


class ProbeNetwork(nn.Module):
    """An encoder and a classifier on it.

    Of several windows, a pooled probe takes the mean of the features, an attentive one all tokens.

    Args:
        encoder: in eval mode.
        head: an `AttentiveClassifier` of tokens, or a linear map of pooled features.
        layers: blocks whose outputs it sees side by side.
        pooling: of pooled features; tokens for attentive heads.
        num_windows: S; where it is 1, clips have no axis of windows.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        *,
        layers: tuple[int, ...],
        pooling: FeaturePooling,
        num_windows: int,
    ) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.layers, self.pooling, self.num_windows = layers, pooling, num_windows

    def forward(self, clips: Shaped[Tensor, "B *_ 3 T H W"]) -> Float[Tensor, "B C"]:
        """Return the scores (logits) of rows, given as (B, 3, T, H, W) or (B, S, 3, T, H, W)."""
        several = self.num_windows > 1
        flat = clips.flatten(0, 1) if several else clips
        outputs = self.encoder.features(flat, layers=self.layers, pooling=self.pooling)
        # Tokens lie one after the other, pooled features side by side.
        features = torch.cat(outputs, dim=1)
        if several:
            features = features.unflatten(0, (-1, self.num_windows))
            attends = self.pooling == "tokens"
            features = features.flatten(1, 2) if attends else features.mean(dim=1)
        scores: Tensor = self.head(features)
        return scores


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedNetwork:
    """A saved probe as a network, and what it must be given.

    Attributes:
        network: in eval mode.
        classifier: its head, if that is attentive.
        clip: of a window.
        antialias: how frames are shrunk.
        num_windows: S.
        num_views: crops of a window, over which the probe's probabilities are averaged.
        layers: blocks that it sees.
        classes: names, in the order of the scores.
    """

    network: ProbeNetwork
    classifier: AttentiveClassifier | None
    clip: ClipConfig
    antialias: bool
    num_windows: int
    num_views: int
    layers: tuple[int, ...]
    classes: tuple[str, ...]


def saved_network(head: SavedHead, loaded: LoadedEncoder) -> SavedNetwork:
    """Return a saved probe on its encoder.

    Args:
        head: of `read_head`, for this encoder.
        loaded: the encoder.

    Raises:
        ConfigError: if the probe is of nearest neighbours, which are no network.
        WeightsError: if the head's weights do not fit.
    """
    options = from_dict(ProbeOptions, head.options)
    clip = from_dict(ClipConfig, head.encoder["clip"])
    if options.kind == "knn":
        raise ConfigError(
            [f"{head.probe} is a probe of kind knn, which is no network; fit --kind linear"]
        )
    if options.kind in ATTENTIVE:
        return _attentive(head, options, loaded, clip)
    extract = options.extract
    network = ProbeNetwork(
        loaded.encoder,
        _linear(head),
        layers=extract.layers,
        pooling=extract.pooling,
        num_windows=extract.windows.per_row,
    )
    return SavedNetwork(
        network=network.eval(),
        classifier=None,
        clip=clip,
        antialias=head.encoder["antialias"],
        num_windows=extract.windows.per_row,
        num_views=1,
        layers=extract.layers,
        classes=head.classes,
    )


def _linear(head: SavedHead) -> StandardisedLinear:
    try:
        return StandardisedLinear(
            *(head.tensors[name] for name in ("mean", "scale", "weight", "bias"))
        )
    except KeyError as error:
        raise WeightsError(f"{head.probe} has no tensor {error} for this head") from error


def _attentive(
    head: SavedHead, options: ProbeOptions, loaded: LoadedEncoder, clip: ClipConfig
) -> SavedNetwork:
    config = options.attentive
    subject = trained(head.encoder["name"], loaded)
    classifier = new_classifier(
        loaded.encoder,
        config,
        depth=DEPTHS[options.kind],  # type: ignore[index]
        num_classes=len(head.classes),
        seed=options.seed,
    )
    load_strictly(classifier, head.tensors, str(head.probe))
    network = ProbeNetwork(
        loaded.encoder,
        classifier,
        layers=config.layers,
        pooling="tokens",
        num_windows=config.segments,
    )
    return SavedNetwork(
        network=network.eval(),
        classifier=classifier.eval(),
        clip=config.clip(clip),
        antialias=antialias_of(subject, config),
        num_windows=config.segments,
        num_views=config.views,
        layers=config.layers,
        classes=head.classes,
    )
