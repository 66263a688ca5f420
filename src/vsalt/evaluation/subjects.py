"""The encoders of a probe, and the features of all rows under each of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vsalt.config import PretrainConfig
from vsalt.data.manifest import Row
from vsalt.models.vit import Encoder
from vsalt.models.weights import weights_hash
from vsalt.training.extract import ExtractConfig, Progress, extract_features, plan_windows
from vsalt.training.locate import LoadedEncoder
from vsalt.training.random_encoder import random_encoder


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """One encoder under test.

    Attributes:
        name: for tables.
        role: whether it was trained.
        encoder: in eval mode.
        config: of the stage that trained it; its clips are what it is given.
        sha256: hash of its weights.
        loaded: where it came from; None for a random initialisation.
    """

    name: str
    role: Literal["trained", "random-init"]
    encoder: Encoder
    config: PretrainConfig
    sha256: str
    loaded: LoadedEncoder | None = None


def trained(name: str, loaded: LoadedEncoder) -> Subject:
    """Return a loaded encoder as a subject."""
    return Subject(
        name=name,
        role="trained",
        encoder=loaded.encoder,
        config=loaded.config,
        sha256=loaded.sha256,
        loaded=loaded,
    )


def random_init(config: PretrainConfig, *, seed: int) -> Subject:
    """Return an encoder of the same configuration with weights drawn from the seed."""
    encoder = random_encoder(config.stage.encoder, seed=seed)
    return Subject(
        name="random init",
        role="random-init",
        encoder=encoder,
        config=config,
        sha256=weights_hash(encoder.state_dict()),
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
        alike[subject.config.clip, subject.config.data.antialias].append(index)
    found: dict[int, dict[int, Tensor]] = {index: {} for index in range(len(subjects))}
    errors: dict[int, str] = {}
    for round_, indices in enumerate(alike.values()):
        of_all = _of_all(on_progress, round_, len(alike))
        first = subjects[indices[0]].config
        plan = plan_windows(rows, first.clip, config.windows, limits=config.limits)
        for row in extract_features(
            [subjects[index].encoder for index in indices],
            rows,
            plan,
            clip=first.clip,
            config=config,
            antialias=first.data.antialias,
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
