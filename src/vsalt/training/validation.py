"""Loss and health of the features over the held-out clips.

Of several processes each takes every so-and-so-many-th batch. What they find is put together in the
order of the batches, so the sums are those of one process.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from vsalt.data.config import Shape
from vsalt.data.types import Batch
from vsalt.objectives.protocol import Objective, ObjectiveOutput
from vsalt.training.device import autocast
from vsalt.training.distributed import ALONE, Ranks
from vsalt.training.health import rounded, to_host
from vsalt.training.measures import lidar, rankme

T = TypeVar("T")

MIN_CLIPS = 4
"""Held-out clips from which on the rank of their features is computed."""


@runtime_checkable
class DividedBatches(Protocol):
    """Every so-and-so-many-th batch, then batches of others, so that all have equally many.

    Attributes:
        num_own: how many of them are this process's own.
    """

    @property
    def num_own(self) -> int:
        """See above."""
        ...

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        ...


def validate(
    objective: Objective,
    holdout: Mapping[Shape, Iterable[Batch]],
    device: str,
    precision: str,
    *,
    loss: Callable[[Batch], ObjectiveOutput] | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Return what a val record holds, without gradient and with one transfer per shape.

    A clip's features are the means of its context tokens, one per mask kind. Those of the first
    shape are measured: images and videos differ from each other whatever the encoder does.

    Args:
        objective: the method, in eval mode.
        holdout: the held-out clips of each shape; of several processes `DividedBatches`.
        device: where to compute.
        precision: "fp32" or "bf16".
        loss: the objective's, as several processes compute it.
        ranks: the processes of the run, all of which call this and are told the same.

    Returns:
        `val_loss`, the mean over clips (nan without clips); of several shapes also the mean over
        those of each, `val_loss_video` and `val_loss_image`; with at least 4 clips `val_rankme`,
        over all features; and with at least 2 mask kinds also `val_lidar`, a clip being a class.
        Values may be nan.
    """
    compute = loss or objective.loss
    heard = {
        shape: _join(ranks.gather(_hear(compute, batches, device, precision)))
        for shape, batches in holdout.items()
    }
    num_clips = sum(part.num_clips for part in heard.values())
    if not num_clips:
        return {"val_loss": math.nan}
    found = {"val_loss": sum(loss for part in heard.values() for loss in part.sums) / num_clips}
    if len(heard) > 1:
        for shape, part in heard.items():
            found[f"val_loss_{shape}"] = sum(part.sums) / part.num_clips
    features = next(iter(heard.values())).features
    return found if features is None else found | _ranks(features)


class _Heard(NamedTuple):
    """Of some batches of a shape: each one's summed loss and clips, and their features if any."""

    sums: list[float]
    counts: list[int]
    features: Float[Tensor, "n q D"] | None

    @property
    def num_clips(self) -> int:
        return sum(self.counts)


def _hear(
    compute: Callable[[Batch], ObjectiveOutput],
    batches: Iterable[Batch],
    device: str,
    precision: str,
) -> _Heard:
    num_own = batches.num_own if isinstance(batches, DividedBatches) else None
    losses: list[Tensor] = []
    features: list[Tensor] = []
    counts: list[int] = []
    with torch.no_grad():
        for number, batch in enumerate(batches):
            with autocast(device, precision):
                output = compute(batch.to(device))
            if num_own is None or number < num_own:
                losses.append(output.loss_sum)
                counts.append(output.num_clips)
                if output.context:
                    features.append(clip_features(output))
            del output
    if not losses:
        return _Heard([], [], None)
    sums, *ranked = to_host([torch.stack(losses), *([torch.cat(features)] if features else [])])
    return _Heard(sums.tolist(), counts, ranked[0] if ranked else None)


def _join(parts: list[_Heard]) -> _Heard:
    """Put what the processes have heard into the order of the batches."""
    if len(parts) == 1:
        return parts[0]
    features = [[] if part.features is None else part.features.split(part.counts) for part in parts]
    in_order = list(_interleave(features))
    return _Heard(
        sums=list(_interleave([part.sums for part in parts])),
        counts=list(_interleave([part.counts for part in parts])),
        features=torch.cat(in_order) if in_order else None,
    )


def _interleave(parts: Sequence[Sequence[T]]) -> Iterator[T]:
    """Deal out what was dealt to several, one each in turn."""
    for row in itertools.zip_longest(*([(item,) for item in part] for part in parts)):
        for item in row:
            if item is not None:
                yield item[0]


def clip_features(output: ObjectiveOutput) -> Float[Tensor, "B q D"]:
    """Return the mean context token of each clip under each of the q mask kinds."""
    return torch.stack([tokens.float().mean(dim=1) for tokens in output.context.values()], dim=1)


def _ranks(features: Float[Tensor, "n q D"]) -> dict[str, float]:
    num_clips, num_masks, _ = features.shape
    ranks: dict[str, float] = {}
    if num_clips >= MIN_CLIPS:
        ranks["val_rankme"] = rounded(rankme(features.flatten(0, 1)))
        if num_masks > 1:
            ranks["val_lidar"] = rounded(lidar(features))
    return ranks
