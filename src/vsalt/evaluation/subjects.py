"""What a probe looks at: encoders and floors, and the features of all rows under each of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vsalt.config import PretrainConfig
from vsalt.data.config import ClipConfig
from vsalt.data.manifest import Row
from vsalt.models.vit import Encoder
from vsalt.models.weights import weights_hash
from vsalt.training.extract import (
    ClipFeatures,
    ExtractConfig,
    Progress,
    encoder_features,
    extract_features,
    plan_windows,
)
from vsalt.training.locate import LoadedEncoder, stage_of
from vsalt.training.random_encoder import random_encoder

Role = Literal["trained", "random-init", "floor"]
"""floor: features without a network, which an encoder has to beat to be worth its training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """Something that turns clips into features.

    Attributes:
        name: for tables.
        role: what it is.
        stage: of a trained one what it is to its run: teacher, assistant or student.
        sha256: hash of all that the features of given clips depend on: weights, or a floor's rule.
        clip: what clips it is given.
        antialias: how their frames are shrunk.
        checkpoint: folder of its weights, if it was loaded.
        step: optimiser steps of its training.
        seen: files that list the rows which training may have drawn; None: nothing was trained.
    """

    name: str
    role: Role
    sha256: str
    clip: ClipConfig
    antialias: bool
    stage: str | None = None
    checkpoint: Path | None = None
    step: int | None = None
    seen: tuple[Path, ...] | None = None

    def features(self, config: ExtractConfig) -> ClipFeatures:
        """Return what makes the features of clips.

        Raises:
            ConfigError: if the settings do not fit.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, eq=False)
class EncoderSubject(Subject):
    """An encoder under test.

    Attributes:
        encoder: in eval mode.
    """

    encoder: Encoder

    def features(self, config: ExtractConfig) -> ClipFeatures:
        """Return what makes the pooled features of clips.

        Raises:
            ConfigError: if the encoder has not the blocks that are asked for.
        """
        return encoder_features(self.encoder, config)


def trained(name: str, loaded: LoadedEncoder) -> EncoderSubject:
    """Return a loaded encoder as a subject."""
    return EncoderSubject(
        name=name,
        role="trained",
        stage=stage_of(loaded.checkpoint),
        sha256=loaded.sha256,
        clip=loaded.config.clip,
        antialias=loaded.config.data.antialias,
        checkpoint=loaded.checkpoint.path,
        step=loaded.checkpoint.step,
        seen=loaded.seen,
        encoder=loaded.encoder,
    )


def random_init(config: PretrainConfig, *, seed: int) -> EncoderSubject:
    """Return an encoder of a stage's configuration with weights drawn from the seed."""
    encoder = random_encoder(config.stage.encoder, seed=seed)
    return EncoderSubject(
        name="random init",
        role="random-init",
        sha256=weights_hash(encoder.state_dict()),
        clip=config.clip,
        antialias=config.data.antialias,
        encoder=encoder,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class SubjectFeatures:
    """Features of the readable rows under every subject.

    Attributes:
        rows: indices of the rows that could be read.
        features: one matrix per subject, (readable rows, F of the subject).
        errors: why the other rows could not be read, by index.
    """

    rows: tuple[int, ...]
    features: tuple[Float[Tensor, "readable _"], ...]
    errors: dict[int, str]


def extract_all(
    subjects: Sequence[Subject],
    rows: Sequence[Row],
    config: ExtractConfig,
    *,
    on_progress: Progress | None = None,
) -> SubjectFeatures:
    """Extract the features of all rows; subjects that take the same clips share their decoding.

    The feature of a row is the mean over its windows. A row counts as unreadable if the clips of
    any subject cannot be read.
    """
    alike: dict[object, list[int]] = defaultdict(list)
    for index, subject in enumerate(subjects):
        alike[subject.clip, subject.antialias].append(index)
    found: dict[int, dict[int, Tensor]] = {index: {} for index in range(len(subjects))}
    errors: dict[int, str] = {}
    for round_, indices in enumerate(alike.values()):
        of_all = _of_all(on_progress, round_, len(alike))
        first = subjects[indices[0]]
        plan = plan_windows(rows, first.clip, config.windows, limits=config.limits)
        for row in extract_features(
            [subjects[index].features(config) for index in indices],
            rows,
            plan,
            clip=first.clip,
            config=config,
            antialias=first.antialias,
            on_progress=of_all,
        ):
            if row.error is not None:
                errors.setdefault(row.index, row.error)
            for index, features in zip(indices, row.features, strict=False):
                found[index][row.index] = features.mean(dim=0)
    readable = tuple(index for index in range(len(rows)) if index not in errors)
    return SubjectFeatures(
        rows=readable,
        features=tuple(_stack(found[index], readable) for index in range(len(subjects))),
        errors=errors,
    )


def _of_all(on_progress: Progress | None, round_: int, num_rounds: int) -> Progress | None:
    if on_progress is None:
        return None
    call = on_progress
    return lambda done, total: call(round_ * total + done, num_rounds * total)


def _stack(features: dict[int, Tensor], rows: Sequence[int]) -> Float[Tensor, "readable F"]:
    return torch.stack([features[row] for row in rows]) if rows else torch.empty(0, 0)
