"""Loss and health of the features over the held-out clips."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vsalt.data.config import Shape
from vsalt.data.types import Batch
from vsalt.objectives.protocol import Objective, ObjectiveOutput
from vsalt.training.device import autocast
from vsalt.training.health import rounded, to_host
from vsalt.training.measures import lidar, rankme

MIN_CLIPS = 4
"""Held-out clips from which on the rank of their features is computed."""


def validate(
    objective: Objective, holdout: Mapping[Shape, Iterable[Batch]], device: str, precision: str
) -> dict[str, float]:
    """Return what a val record holds, without gradient and with one transfer per shape.

    A clip's features are the means of its context tokens, one per mask kind. Those of the first
    shape are measured: images and videos differ from each other whatever the encoder does.

    Args:
        objective: the method, in eval mode.
        holdout: the held-out clips of each shape.
        device: where to compute.
        precision: "fp32" or "bf16".

    Returns:
        `val_loss`, the mean over clips (nan without clips); of several shapes also the mean over
        those of each, `val_loss_video` and `val_loss_image`; with at least 4 clips `val_rankme`,
        over all features; and with at least 2 mask kinds also `val_lidar`, a clip being a class.
        Values may be nan.
    """
    heard = {
        shape: _hear(objective, batches, device, precision) for shape, batches in holdout.items()
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
    """Of all batches of a shape: each one's summed loss, the clips, and their features if any."""

    sums: list[float]
    num_clips: int
    features: Float[Tensor, "n q D"] | None


def _hear(objective: Objective, batches: Iterable[Batch], device: str, precision: str) -> _Heard:
    losses: list[Tensor] = []
    features: list[Tensor] = []
    num_clips = 0
    with torch.no_grad():
        for batch in batches:
            with autocast(device, precision):
                output = objective.loss(batch.to(device))
            losses.append(output.loss_sum)
            num_clips += output.num_clips
            if output.context:
                features.append(clip_features(output))
            del output
    if not losses:
        return _Heard([], 0, None)
    sums, *ranked = to_host([torch.stack(losses), *([torch.cat(features)] if features else [])])
    return _Heard(sums.tolist(), num_clips, ranked[0] if ranked else None)


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
