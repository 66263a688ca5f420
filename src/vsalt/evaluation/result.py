"""What a probe finds, as plain values that `probe.json` holds."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from vsalt.evaluation.heads import Kind, Selected
from vsalt.evaluation.metrics import Chance, Metrics
from vsalt.evaluation.selection import Trial
from vsalt.evaluation.subjects import Role
from vsalt.evaluation.transductive import Exposure


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """One part (the test split, or a fold) of one encoder.

    Attributes:
        name: "test", or the value of the fold.
        settings: the chosen hyper-parameters, by name.
        selected_on: the rows they were chosen on.
        converged: whether the final fit reached its minimum, or did not diverge.
        losses: mean training cross-entropy by epoch, in nats; empty for exact fits.
        accuracy: on the part's test rows.
        balanced_accuracy: mean recall over the classes among them.
        trials: the candidates' scores on these rows.
    """

    name: str
    settings: dict[str, float]
    selected_on: Selected
    converged: bool
    losses: tuple[float, ...]
    accuracy: float
    balanced_accuracy: float
    trials: tuple[Trial, ...]


@dataclass(frozen=True, kw_only=True)
class EncoderResult:
    """All parts of one encoder, or of a floor.

    Attributes:
        name: as the user gave it.
        role: whether it was trained, is the random initialisation beside the first encoder, or is
            no network at all.
        stage: of a trained one what it is to its run: teacher, assistant or student.
        checkpoint: folder of its weights, if they were loaded.
        step: optimiser steps of its training.
        sha256: hash of its weights; of a floor, `rule_hash`.
        clip: settings of the clips it was given.
        antialias: how their frames were shrunk.
        num_features: F; of attentive probes, the channels of a token.
        exposure: what pretraining has seen of the test rows.
        metrics: over the predictions of all parts together.
        parts: one by one.
    """

    name: str
    role: Role
    stage: str | None
    checkpoint: str | None
    step: int | None
    sha256: str
    clip: dict[str, Any]
    antialias: bool
    num_features: int
    exposure: Exposure
    metrics: Metrics
    parts: tuple[PartResult, ...]


@dataclass(frozen=True, kw_only=True)
class PartSize:
    """Rows of a part."""

    name: str
    num_fit: int
    num_selection: int
    num_test: int


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A row that takes no part because its video cannot be read."""

    path: str
    error: str


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """A probe of one or more encoders on one task.

    Attributes:
        vsalt: version of the program.
        kind: of the heads.
        source: the data.
        options: all settings.
        num_rows: rows that take part.
        classes: names, in the order of the class indices.
        parts: their sizes.
        left_out: rows that take no part, by reason.
        unreadable: the rows among them whose video cannot be read.
        passed_over: rows of which training clips were passed over, and why.
        num_groups: groups among the rows; None without groups.
        num_test_groups: groups among the test rows, which the interval resamples.
        num_shared_test_rows: test rows whose group has training rows, too.
        chance: accuracies without looking.
        encoders: in the order given, then the random initialisation, then the floors.
    """

    vsalt: str
    kind: Kind
    source: str
    options: dict[str, Any]
    num_rows: int
    classes: tuple[str, ...]
    parts: tuple[PartSize, ...]
    left_out: dict[str, int]
    unreadable: tuple[Unreadable, ...]
    passed_over: tuple[Unreadable, ...]
    num_groups: int | None
    num_test_groups: int | None
    num_shared_test_rows: int
    chance: Chance
    encoders: tuple[EncoderResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return nested dicts and lists of plain values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How good a saved probe is on other rows.

    Attributes:
        metrics: over the readable rows.
        classes: names.
        left_out: rows that are not scored, by reason.
        num_groups: groups among the rows, which the interval resamples; None without groups.
        pretraining: what the encoder's pretraining has seen of these rows.
        probe: what the probe itself was trained on, or chosen by, of them.
    """

    metrics: Metrics
    classes: tuple[str, ...]
    left_out: dict[str, int]
    num_groups: int | None
    pretraining: Exposure
    probe: Exposure
