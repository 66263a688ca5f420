"""Health of training: what is measured beside the loss, when, and how it reaches the log.

`Health` listens to the outputs of the objective. All that it keeps stays on the device until the
values are logged or saved, and then comes in one transfer; no step waits for it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vsalt.data.config import Shape
from vsalt.data.shapes_by_step import StepShapes
from vsalt.objectives.protocol import ObjectiveOutput
from vsalt.training.alarms import Alarms, StepLosses
from vsalt.training.config import LoopConfig
from vsalt.training.measures import (
    cosine,
    dead_dimensions,
    feature_deviation,
    gram,
    rankme_of_gram,
    target_variance,
)

MAX_TOKENS = 512
"""Tokens of a micro-batch that are measured at most, shared evenly by the mask kinds.

The eigenvalues of RankMe are found on the host, in time that grows with the cube of this."""
MIN_ROWS = 16
"""Tokens from which on a micro-batch is measured: fewer look collapsed whatever they are."""
MAX_PENDING = 128
"""Steps whose losses wait on the device at most, however rarely they are logged."""

_DIGITS = 6


class _Pending(NamedTuple):
    """A step whose losses are still on the device."""

    step: int
    shape: Shape
    lr: float
    rows: tuple[int, ...]
    loss: Float[Tensor, ""]
    grad_norm: Float[Tensor, ""]
    clip_losses: Float[Tensor, " B"]


class Health:
    """Measures the first micro-batch of some steps, and hands every step's losses to the alarms.

    Where images are mixed with videos, steps of videos are measured and no others.

    Args:
        loop: resolved config; says which steps are measured.
        alarms: judge the values.
        shapes: the shape of every step.
    """

    def __init__(self, loop: LoopConfig, alarms: Alarms, shapes: StepShapes) -> None:
        assert loop.health_every % loop.log_every == 0, "resolve the config first"
        self.alarms = alarms
        self._loop = loop
        self._shapes = shapes
        self._pending: list[_Pending] = []
        self._clip_losses: list[Tensor] = []
        self._seen: dict[str, Tensor] = {}
        self._seen_rows: tuple[int, ...] = ()

    def begin_step(self) -> None:
        """Forget the clips of the step before."""
        self._clip_losses = []

    def hear(self, step: int, output: ObjectiveOutput) -> None:
        """Take what is needed of a micro-batch's output.

        Args:
            step: optimiser steps done when this one is over.
            output: of the step's next micro-batch.
        """
        due = self._shapes.at(step - 1) == self._shapes.measured and self._shapes.due(
            step - 1, self._loop.health_every, self._loop.end
        )
        if due and not self._clip_losses:
            self._seen = observe(output)
        self._clip_losses.append(output.clip_losses)

    def hear_others(self, clip_losses: Float[Tensor, " B"]) -> None:
        """Take the losses of the step's clips that other processes have computed.

        They come after those of this process, which are the first of the step. Features are
        measured of this process's clips only.
        """
        self._clip_losses.append(clip_losses)

    def end_step(
        self,
        step: int,
        lr: float,
        rows: Sequence[int],
        loss: Float[Tensor, ""],
        norms: Mapping[str, Float[Tensor, ""]],
    ) -> None:
        """Remember the losses of a step that was done.

        Args:
            step: optimiser steps done.
            lr: learning rate of the step.
            rows: catalogue rows of its clips, in the order of the micro-batches.
            loss: its mean over the clips.
            norms: gradient norms before clipping.
        """
        norm = torch.stack(list(norms.values())).max()
        clip_losses = torch.cat(self._clip_losses)
        self._seen_rows = tuple(rows[: len(self._clip_losses[0])])
        shape = self._shapes.at(step - 1)
        self._pending.append(_Pending(step, shape, lr, tuple(rows), loss, norm, clip_losses))
        if len(self._pending) == MAX_PENDING:
            self.flush()

    def finite_clips(self) -> list[bool]:
        """Return for each clip of the current step whether its own loss is finite."""
        return torch.isfinite(torch.cat(self._clip_losses)).tolist()

    def collect(self, step: int, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return a step's record as plain numbers, with its health, after judging both.

        Args:
            step: optimiser steps done.
            record: numbers and scalars on the device.
        """
        scalars = {name: value for name, value in record.items() if isinstance(value, Tensor)}
        host = self._transfer([*scalars.values(), *self._seen.values()])
        plain = [value.item() for value in host[: len(scalars)]]
        values = {**record, **dict(zip(scalars, plain, strict=True))}
        seen = dict(zip(self._seen, host[len(scalars) :], strict=True))
        self._seen = {}
        if not seen:
            return values
        measured = {name: _finish(name, value) for name, value in seen.items()}
        self.alarms.judge_features(step, measured, self._seen_rows)
        return values | {name: finite_or_none(value) for name, value in measured.items()}

    def flush(self) -> None:
        """Hand all losses that are still on the device to the alarms."""
        self._transfer([])

    def _transfer(self, others: Sequence[Tensor]) -> list[Tensor]:
        """Judge the pending steps, and return other tensors, by one transfer for all."""
        pending, self._pending = self._pending, []
        words = [
            tensor for step in pending for tensor in (step.loss, step.grad_norm, step.clip_losses)
        ]
        host = to_host([*words, *others])
        for number, step in enumerate(pending):
            loss, norm, clip_losses = host[3 * number : 3 * number + 3]
            self.alarms.judge_step(
                StepLosses(
                    step=step.step,
                    shape=step.shape,
                    lr=step.lr,
                    rows=step.rows,
                    loss=loss.item(),
                    grad_norm=norm.item(),
                    clip_losses=tuple(clip_losses.tolist()),
                )
            )
        return host[len(words) :]


def observe(output: ObjectiveOutput) -> dict[str, Tensor]:
    """Reduce an output, on its device, to what the measures need.

    Returns:
        Scalars, and for `rankme` and `rankme_clips` the Gram matrix of tokens and of the clips'
        mean features. What the method does not give, or for fewer than 16 tokens, is absent.
    """
    return {**_observe_context(output), **_observe_targets(output)}


def _observe_context(output: ObjectiveOutput) -> dict[str, Tensor]:
    if count_rows(output.context) < MIN_ROWS:
        return {}
    share = MAX_TOKENS // len(output.context)
    tokens = torch.cat([sample(context, share) for context in output.context.values()])
    clips = [context.float().mean(dim=1) for context in output.context.values()]
    return {
        "rankme": gram(tokens),
        "rankme_clips": gram(torch.stack(clips).mean(dim=0)),
        "feature_deviation": feature_deviation(tokens),
        "dead_dimensions": dead_dimensions(tokens),
    }


def _observe_targets(output: ObjectiveOutput) -> dict[str, Tensor]:
    if count_rows(output.targets) < MIN_ROWS:
        return {}
    share = MAX_TOKENS // len(output.targets)
    targets = {name: sample(target, share) for name, target in output.targets.items()}
    found = {
        "cosine": [
            cosine(sample(output.predictions[name], share), target)
            for name, target in targets.items()
        ],
        "target_variance": [target_variance(target) for target in targets.values()],
        "target_deviation": [feature_deviation(target) for target in targets.values()],
    }
    return {name: torch.stack(values).mean() for name, values in found.items()}


def count_rows(tokens: Mapping[str, Float[Tensor, "B _ D"]]) -> int:
    """Return the number of tokens of all mask kinds together."""
    return sum(kind.shape[0] * kind.shape[1] for kind in tokens.values())


def sample(tokens: Float[Tensor, "B K D"], most: int) -> Float[Tensor, "n D"]:
    """Return at most `most` of a micro-batch's tokens, evenly strided, in float32."""
    rows = tokens.flatten(0, 1)
    if len(rows) > most:
        rows = rows[torch.arange(most, device=rows.device) * len(rows) // most]
    return rows.float()


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copy tensors of any shapes to the CPU by one transfer; they come as float64."""
    if not tensors:
        return []
    flat = torch.cat([tensor.detach().double().flatten() for tensor in tensors]).cpu()
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def rounded(value: float) -> float:
    """Round to six digits: more would only show the order in which a sum was taken."""
    return float(f"{value:.{_DIGITS}g}")


def finite_or_none(value: float | int) -> float | int | None:
    """Return None for what JSON has no word for."""
    return value if math.isfinite(value) else None


def _finish(name: str, value: Tensor) -> float | int:
    if name == "dead_dimensions":
        return int(value)
    return rounded(rankme_of_gram(value) if value.ndim == 2 else value.item())
