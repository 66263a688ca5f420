"""Attentive probes: a few transformer blocks with one learned query, trained on frozen tokens.

As in V-JEPA 2's evaluation, which SALT takes over (arXiv 2509.24317, appendix on evaluation):
AdamW with its default betas, weight decay on all parameters, learning rate falling along half a
cosine to 0 without warm-up, cross-entropy; probabilities are averaged over views.

Shapes: B rows, V views, M tokens, D channels, C classes.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vsalt.data.probe_clips import ProbeKey
from vsalt.errors import ConfigError
from vsalt.evaluation.attentive_config import AttentiveConfig
from vsalt.evaluation.tokens import TokenSource, chunked
from vsalt.models.pooler import POOLER_NORM_EPS, AttentiveClassifier, AttentivePooler
from vsalt.models.vit import NORM_EPS, Encoder
from vsalt.randomness import keyed_int, keyed_permutation
from vsalt.training.device import autocast

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentiveHead:
    """A trained probe and the settings it was trained with."""

    classifier: AttentiveClassifier
    settings: dict[str, float]

    @property
    def converged(self) -> bool:
        """It is trained for a number of epochs, not to a minimum."""
        return True

    def tensors(self) -> dict[str, Tensor]:
        """Return what has to be stored."""
        return {name: value.cpu() for name, value in self.classifier.state_dict().items()}


@dataclass(frozen=True, kw_only=True)
class HeadTraining:
    """How the probes of one or more encoders are trained together.

    Attributes:
        config: epochs, batch size, form of the probe.
        depth: blocks of the probe; 4, or 1 for the cross-attention alone.
        num_classes: C.
        seed: of initial weights and of the order of rows.
        rows_at_once: rows per forward pass; their gradients add up to the batch's.
        device: cpu or cuda.
        precision: fp32 or bf16.
    """

    config: AttentiveConfig
    depth: int
    num_classes: int
    seed: int
    rows_at_once: int
    device: str
    precision: str

    def new_classifier(self, encoder: Encoder) -> AttentiveClassifier:
        """Build a probe for an encoder, with initial weights keyed by the seed.

        Raises:
            ConfigError: if the heads do not divide the encoder's width.
        """
        hf = self.config.mode == "hf"
        heads = encoder.config.architecture.heads if hf else self.config.heads
        if encoder.width % heads:
            raise ConfigError(
                [
                    f"attentive.heads is {heads}, which does not divide the encoder's width "
                    f"{encoder.width}; give another --attentive.heads, or --attentive.mode hf"
                ]
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keyed_int("attentive head", self.seed, bits=56))
            eps = NORM_EPS if hf else POOLER_NORM_EPS
            pooler = AttentivePooler(encoder.width, heads, self.depth, eps=eps)
            classifier = AttentiveClassifier(pooler, self.num_classes)
        return classifier.to(self.device)

    def num_visits(self, num_rows: int) -> int:
        """Rows that a training of this many rows goes through."""
        return num_rows * self.config.epochs

    def train(
        self,
        source: TokenSource,
        encoders: Sequence[Encoder],
        rows: Int64[np.ndarray, "n"],
        labels: Int64[np.ndarray, "n"],
        settings: Sequence[Sequence[dict[str, float]]],
        on_progress: Progress | None = None,
    ) -> list[list[AttentiveHead]]:
        """Train one probe per encoder and settings, all in one pass over the tokens.

        Args:
            source: of the encoders' tokens.
            encoders: for their widths.
            rows: indices of the training rows.
            labels: their classes.
            settings: learning rate and weight decay of every probe, by encoder.
            on_progress: is called with the row visits done and their number.
        """
        heads = [
            _Learners(self.new_classifier(encoder), own)
            for encoder, own in zip(encoders, settings, strict=True)
        ]
        label_of = dict(zip(rows.tolist(), labels.tolist(), strict=True))
        steps = list(self._steps(rows))
        chunks = [chunk for step in steps for chunk in chunked(step, self.rows_at_once)]
        batches = zip(chunks, source.batches(chunks), strict=True)
        done, total = 0, self.num_visits(len(rows))
        for index, step in enumerate(steps):
            for learners in heads:
                learners.begin_step(index / len(steps))
            for _ in chunked(step, self.rows_at_once):
                keys, tokens = next(batches)
                truth = torch.tensor([label_of[key.row] for key in keys], device=self.device)
                for learners, own in zip(heads, tokens, strict=True):
                    self._backward(learners, own, truth, len(step))
                done += len(keys)
                if on_progress:
                    on_progress(done, total)
            for learners in heads:
                learners.end_step()
        # The source has nothing more to give; asking ends its workers.
        assert next(batches, None) is None
        return [learners.heads() for learners in heads]

    def _steps(self, rows: Int64[np.ndarray, "n"]) -> Iterator[list[ProbeKey]]:
        """The rows of every step: each epoch visits all rows in an order of its own."""
        for epoch in range(self.config.epochs):
            order = rows[keyed_permutation(len(rows), "attentive order", self.seed, epoch)]
            keys = [ProbeKey(epoch, int(row)) for row in order]
            yield from chunked(keys, self.config.batch_size)

    def _backward(
        self,
        learners: "_Learners",
        tokens: Float[Tensor, "B V M D"],
        labels: Int64[Tensor, "B"],
        batch_size: int,
    ) -> None:
        """Add the gradients of the batch's mean cross-entropy over rows; views are rows, too."""
        flat, truth = tokens.flatten(0, 1), labels.repeat_interleave(tokens.shape[1])
        for classifier in learners.classifiers:
            with autocast(self.device, self.precision):
                logits = classifier(flat)
            loss = nn.functional.cross_entropy(logits.float(), truth, reduction="sum")
            (loss / (batch_size * tokens.shape[1])).backward()

    @torch.no_grad()
    def answer(
        self,
        source: TokenSource,
        heads: Sequence[Sequence[AttentiveHead]],
        rows: Int64[np.ndarray, "m"],
        on_progress: Progress | None = None,
    ) -> list[list[Float[np.ndarray, "m C"]]]:
        """Return every probe's probabilities of the classes: the softmax, averaged over views.

        Args:
            source: of the encoders' tokens, with test windows and views.
            heads: by encoder.
            rows: indices of the rows to answer.
            on_progress: is called with the rows done and their number.
        """
        chunks = chunked([ProbeKey(0, int(row)) for row in rows], self.rows_at_once)
        found: list[list[list[Tensor]]] = [[[] for _ in own] for own in heads]
        done = 0
        for keys, tokens in zip(chunks, source.batches(chunks), strict=True):
            for own, answers, values in zip(heads, found, tokens, strict=True):
                for head, collected in zip(own, answers, strict=True):
                    collected.append(self._probabilities(head, values))
            done += len(keys)
            if on_progress:
                on_progress(done, len(rows))
        return [[torch.cat(collected).numpy() for collected in own] for own in found]

    def _probabilities(
        self, head: AttentiveHead, tokens: Float[Tensor, "B V M D"]
    ) -> Float[Tensor, "B C"]:
        with autocast(self.device, self.precision):
            logits = head.classifier.eval()(tokens.flatten(0, 1))
        shares = logits.float().softmax(dim=-1).unflatten(0, tokens.shape[:2])
        mean: Tensor = shares.mean(dim=1).cpu()
        return mean


class _Learners:
    """Probes of one encoder that start alike and differ in their optimiser's settings."""

    def __init__(
        self, classifier: AttentiveClassifier, settings: Sequence[dict[str, float]]
    ) -> None:
        self.settings = settings
        self.classifiers = [copy.deepcopy(classifier).train() for _ in settings]
        self.optimisers = [
            torch.optim.AdamW(
                own.parameters(), lr=each["lr"], weight_decay=each["weight_decay"], fused=True
            )
            for own, each in zip(self.classifiers, settings, strict=True)
        ]

    def begin_step(self, progress: float) -> None:
        """Set learning rates for a step, `progress` in [0, 1) of the way."""
        for optimiser, each in zip(self.optimisers, self.settings, strict=True):
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = each["lr"] * 0.5 * (1 + math.cos(math.pi * progress))

    def end_step(self) -> None:
        """Change the weights."""
        for optimiser in self.optimisers:
            optimiser.step()

    def heads(self) -> list[AttentiveHead]:
        """Return the probes."""
        return [
            AttentiveHead(classifier=own.eval(), settings=dict(each))
            for own, each in zip(self.classifiers, self.settings, strict=True)
        ]
