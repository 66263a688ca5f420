"""The network of a saved attentive probe, for looking at what it looks at."""

from typing import NamedTuple

from vsalt.config import from_dict
from vsalt.errors import ConfigError
from vsalt.evaluation.attentive import HeadTraining
from vsalt.evaluation.attentive_prober import DEPTHS
from vsalt.evaluation.probe import ProbeOptions
from vsalt.evaluation.saved import SavedHead
from vsalt.models.pooler import AttentiveClassifier
from vsalt.models.vit import Encoder
from vsalt.models.weights import load_strictly


class ProbeNetwork(NamedTuple):
    """An attentive probe.

    Attributes:
        classifier: in eval mode, on the CPU.
        layers: blocks of the encoder whose tokens it gets.
        segments: windows of a video whose tokens it was trained on together.
    """

    classifier: AttentiveClassifier
    layers: tuple[int, ...]
    segments: int


def probe_network(head: SavedHead, encoder: Encoder) -> ProbeNetwork:
    """Build the network of a saved head.

    Args:
        head: of `read_head`, for this encoder.
        encoder: what it was fitted to.

    Raises:
        ConfigError: the head is of another kind.
        WeightsError: its weights do not fit.
    """
    options = from_dict(ProbeOptions, head.options)
    kind = options.kind
    if kind == "linear" or kind == "knn":
        raise ConfigError(
            [f"probe {head.probe} is of kind {kind}, which looks at no token more than at others; "
             "fit one of kind attentive"]
        )  # fmt: skip
    training = HeadTraining(
        config=options.attentive,
        depth=DEPTHS[kind],
        num_classes=len(head.classes),
        seed=options.seed,
        rows_at_once=1,
        device="cpu",
        precision="fp32",
    )
    classifier = training.new_classifier(encoder)
    load_strictly(classifier, head.tensors, str(head.probe))
    return ProbeNetwork(classifier.eval(), options.attentive.layers, options.attentive.segments)
