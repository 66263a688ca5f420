"""Attentive probes: a few transformer blocks with one learned query, trained on frozen tokens.

As in V-JEPA 2's evaluation, which SALT takes over (arXiv 2509.24317, appendix on evaluation):
AdamW with its default betas, weight decay on all parameters, learning rate falling along half a
cosine to 0 without warm-up, cross-entropy; probabilities are averaged over views. (There the first
step has the rate after one step already and the last one 0; here the first has the full rate.)

Shapes: B rows, V views, M tokens, D channels, C classes.
"""

import contextlib
import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vsalt.data.probe_clips import ProbeKey
from vsalt.errors import ConfigError
from vsalt.evaluation.attentive_config import AttentiveConfig
from vsalt.evaluation.tokens import TokenBatch, TokenSource, chunked
from vsalt.models.pooler import POOLER_NORM_EPS, AttentiveClassifier, AttentivePooler
from vsalt.models.vit import NORM_EPS, Encoder
from vsalt.randomness import keyed_int, keyed_permutation
from vsalt.training.device import autocast
from vsalt.training.extract import Progress

PAPER_HEADS = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentiveHead:
    """A trained probe.

    Attributes:
        classifier: in eval mode.
        settings: learning rate and weight decay it was trained with.
        losses: mean cross-entropy of the training rows in each epoch, in nats; it ends with the
            first epoch in which it was not finite.
    """

    classifier: AttentiveClassifier
    settings: dict[str, float]
    losses: tuple[float, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether training did not diverge; it is for a number of epochs, not to a minimum."""
        return all(map(math.isfinite, self.losses))

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
        classifier = new_classifier(
            encoder, self.config, depth=self.depth, num_classes=self.num_classes, seed=self.seed
        )
        return classifier.to(self.device)

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

        Rows whose clips cannot be read have no part in their step. A probe whose loss is not
        finite is left as it is from that epoch on.

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
        num_steps = math.ceil(len(rows) / self.config.batch_size)
        done, total = 0, len(rows) * self.config.epochs
        with contextlib.closing(source.batches(self._all_chunks(rows))) as batches:
            for epoch in range(self.config.epochs):
                for index, step in enumerate(self._steps(rows, epoch)):
                    for learners in heads:
                        learners.begin_step((epoch + index / num_steps) / self.config.epochs)
                    for keys in chunked(step, self.rows_at_once):
                        truth = [label_of[key.row] for key in keys]
                        self._learn(heads, next(batches), truth, len(step))
                        done += len(keys)
                        if on_progress:
                            on_progress(done, total)
                    for learners in heads:
                        learners.end_step()
                for learners in heads:
                    learners.end_epoch(len(rows))
        return [learners.heads() for learners in heads]

    def _steps(self, rows: Int64[np.ndarray, "n"], epoch: int) -> Iterator[list[ProbeKey]]:
        """The rows of an epoch's steps: all rows, in an order of the epoch's own."""
        order = rows[keyed_permutation(len(rows), "attentive order", self.seed, epoch)]
        return chunked([ProbeKey(epoch, int(row)) for row in order], self.config.batch_size)

    def _all_chunks(self, rows: Int64[np.ndarray, "n"]) -> Iterator[list[ProbeKey]]:
        for epoch in range(self.config.epochs):
            for step in self._steps(rows, epoch):
                yield from chunked(step, self.rows_at_once)

    def _learn(
        self,
        heads: Sequence["_Learners"],
        batch: TokenBatch,
        labels: Sequence[int],
        batch_size: int,
    ) -> None:
        """Add the gradients of some rows of a step to every probe."""
        truth = torch.tensor(labels, device=self.device)
        weight = torch.tensor(batch.readable, device=self.device).float() / batch_size
        for learners, tokens in zip(heads, batch.tokens, strict=True):
            for index in learners.alive:
                with autocast(self.device, self.precision):
                    logits = learners.classifiers[index](tokens[:, 0])
                losses = nn.functional.cross_entropy(logits.float(), truth, reduction="none")
                # A product with 0 would let a loss that is not finite through.
                loss = torch.where(weight > 0, weight * losses, 0.0).sum()
                loss.backward()
                learners.sums[index] += loss.detach() * batch_size

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
        keys = [ProbeKey(0, int(row)) for row in rows]
        shape = (len(rows), self.num_classes)
        found = [[np.zeros(shape, dtype=np.float32) for _ in own] for own in heads]
        done = 0
        with contextlib.closing(source.batches(chunked(keys, self.rows_at_once))) as batches:
            for batch in batches:
                end = done + len(batch.readable)
                for own, answers, values in zip(heads, found, batch.tokens, strict=True):
                    for head, array in zip(own, answers, strict=True):
                        array[done:end] = self._probabilities(head, values)
                done = end
                if on_progress:
                    on_progress(done, len(rows))
        return found

    def _probabilities(
        self, head: AttentiveHead, tokens: Float[Tensor, "B V M D"]
    ) -> Float[Tensor, "B C"]:
        with autocast(self.device, self.precision):
            logits = head.classifier.eval()(tokens.flatten(0, 1))
        shares = logits.float().softmax(dim=-1).unflatten(0, tokens.shape[:2])
        mean: Tensor = shares.mean(dim=1).cpu()
        return mean


def new_classifier(
    encoder: Encoder, config: AttentiveConfig, *, depth: int, num_classes: int, seed: int
) -> AttentiveClassifier:
    """Build a probe for an encoder on the CPU, with initial weights keyed by the seed.

    Raises:
        ConfigError: if the heads do not divide the encoder's width.
    """
    hf = config.mode == "hf"
    heads = encoder.config.architecture.heads if hf else config.heads or PAPER_HEADS
    if encoder.width % heads:
        raise ConfigError(
            [
                f"attentive.heads is {heads}, which does not divide the encoder's width "
                f"{encoder.width}; give another --attentive.heads, or --attentive.mode hf"
            ]
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_int("attentive head", seed, bits=56))
        eps = NORM_EPS if hf else POOLER_NORM_EPS
        pooler = AttentivePooler(encoder.width, heads, depth, eps=eps)
        return AttentiveClassifier(pooler, num_classes)


class _Learners:
    """Probes of one encoder that start alike and differ in their optimiser's settings.

    Attributes:
        alive: indices of the probes whose loss has been finite so far.
        sums: of each probe's losses over the rows of this epoch, on the device.
    """

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
        self.alive = list(range(len(settings)))
        self.losses: list[list[float]] = [[] for _ in settings]
        self._reset()

    def begin_step(self, progress: float) -> None:
        """Set learning rates for a step, `progress` in [0, 1) of the way."""
        for index in self.alive:
            optimiser = self.optimisers[index]
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                rate = self.settings[index]["lr"]
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * progress))

    def end_step(self) -> None:
        """Change the weights."""
        for index in self.alive:
            self.optimisers[index].step()

    def end_epoch(self, num_rows: int) -> None:
        """Note the losses of the epoch; probes whose loss is not finite learn no more."""
        means = (torch.stack(self.sums) / num_rows).tolist()
        for index in self.alive:
            self.losses[index].append(means[index])
        self.alive = [index for index in self.alive if math.isfinite(means[index])]
        self._reset()

    def heads(self) -> list[AttentiveHead]:
        """Return the probes."""
        return [
            AttentiveHead(classifier=own.eval(), settings=dict(each), losses=tuple(losses))
            for own, each, losses in zip(self.classifiers, self.settings, self.losses, strict=True)
        ]

    def _reset(self) -> None:
        device = next(self.classifiers[0].parameters()).device
        self.sums = [torch.zeros((), device=device) for _ in self.settings]
