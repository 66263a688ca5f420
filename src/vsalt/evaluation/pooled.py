"""Probes on pooled features: every row becomes one vector, on which heads are fitted exactly."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vsalt.data.manifest import Row
from vsalt.evaluation.heads import FittedPart, PooledKind, Say
from vsalt.evaluation.knn import KnnHead, fit_knn, try_knn
from vsalt.evaluation.linear import L2_GRID, LinearHead, fit_linear, try_linear
from vsalt.evaluation.protocol import Part, Task
from vsalt.evaluation.selection import best_trial
from vsalt.evaluation.subjects import Subject, SubjectFeatures, extract_all
from vsalt.training.extract import ExtractConfig, Progress

NUM_FITS = len(L2_GRID) + 1
"""Of a linear head: one for each candidate, and the one that is kept."""


class PooledProber:
    """Extracts the features of all rows once, then fits a head for every subject and part.

    Args:
        kind: of the heads.
        subjects: what makes the features.
        config: how features are computed.
        extract: called as `extract_all` is.
        say: is called with what a user should know while it runs.
    """

    def __init__(
        self,
        kind: PooledKind,
        subjects: Sequence[Subject],
        config: ExtractConfig,
        extract: Callable[..., SubjectFeatures] = extract_all,
        say: Say = print,
    ) -> None:
        self.kind = kind
        self.subjects = subjects
        self.config = config
        self.extract = extract
        self.say = say
        self.passed_over: dict[int, str] = {}
        self._found: SubjectFeatures | None = None

    def check(self, task: Task) -> None:  # noqa: ARG002
        """Refuse settings that do not fit the subjects.

        Raises:
            ConfigError: if an encoder has not the blocks that are asked for.
        """
        for subject in self.subjects:
            subject.features(self.config)

    def read(self, rows: Sequence[Row], on_progress: Progress | None) -> dict[int, str]:
        """Extract the features of all rows; return why some cannot be read, by index."""
        self._found = self.extract(self.subjects, rows, self.config, on_progress=on_progress)
        return self._found.errors

    def fit(self, task: Task, on_progress: Progress | None) -> list[list[FittedPart]]:
        """Fit the heads of every subject, one per part, to a task of the readable rows.

        Progress is counted in fits, those of candidates included.
        """
        assert self._found is not None, "read the rows first"
        labels = torch.from_numpy(task.labels)
        self.say(f"fitting {self.kind} probes of {', '.join(own.name for own in self.subjects)}")
        num_heads = len(self.subjects) * len(task.parts)
        total = num_heads * (NUM_FITS if self.kind == "linear" else 1)
        done = itertools.count(1)

        def on_fit() -> None:
            if on_progress:
                on_progress(next(done), total)

        return [
            [
                fit_part(
                    self.kind,
                    features,
                    labels,
                    part,
                    num_classes=len(task.classes),
                    on_fit=on_fit,
                )
                for part in task.parts
            ]
            for features in self._found.features
        ]

    def num_features(self, index: int) -> int:
        """Length of the features of a subject."""
        assert self._found is not None, "read the rows first"
        return self._found.features[index].shape[1]


def fit_part(
    kind: PooledKind,
    features: Float[Tensor, "rows F"],
    labels: Int64[Tensor, "rows"],
    part: Part,
    *,
    num_classes: int,
    on_fit: Callable[[], None] = lambda: None,
) -> FittedPart:
    """Choose the hyper-parameter, refit on all training rows, and answer the test rows.

    Args:
        kind: of the head.
        features: of all rows of the task.
        labels: of all rows of the task; those of the part's test rows are not looked at.
        part: which rows are for what.
        num_classes: C.
        on_fit: is called after every fit: of a candidate, and of the head.
    """
    fit, selection, train, test = (
        torch.from_numpy(rows) for rows in (part.fit, part.selection, part.train, part.test)
    )
    data = (features[fit], labels[fit], features[selection], labels[selection])
    head: LinearHead | KnnHead
    if kind == "linear":
        trials = try_linear(*data, num_classes=num_classes, on_fit=on_fit)
        l2 = best_trial(trials).settings["l2"]
        head = fit_linear(features[train], labels[train], num_classes=num_classes, l2=l2)
    else:
        trials = try_knn(*data, num_classes=num_classes)
        k = int(best_trial(trials).settings["k"])
        head = fit_knn(features[train], labels[train], num_classes=num_classes, k=k)
    on_fit()
    return FittedPart(
        head=head,
        trials=tuple(trials),
        selected_on="selection",
        probabilities=head.probabilities(features[test]).numpy(),
    )


def load_head(
    kind: PooledKind, tensors: dict[str, Tensor], settings: dict[str, float], num_classes: int
) -> LinearHead | KnnHead:
    """Rebuild a head from what `tensors` and `settings` returned.

    Raises:
        KeyError: if a tensor or setting is missing.
    """
    if kind == "linear":
        names = ("mean", "scale", "weight", "bias")
        parts = {name: tensors[name].double() for name in names}
        return LinearHead(**parts, l2=settings["l2"], converged=True)
    return KnnHead(
        features=torch.nn.functional.normalize(tensors["features"].double(), dim=1),
        labels=tensors["labels"],
        num_classes=num_classes,
        k=int(settings["k"]),
    )


def answer(
    head: LinearHead | KnnHead,
    subject: Subject,
    rows: Sequence[Row],
    config: ExtractConfig,
    on_progress: Progress | None,
) -> tuple[Float[np.ndarray, "readable C"], dict[int, str]]:
    """Return a stored head's probabilities for the readable rows, and why others cannot be read."""
    found = extract_all([subject], rows, config, on_progress=on_progress)
    if not found.rows:
        return np.zeros((0, 0), dtype=np.float64), found.errors
    return head.probabilities(found.features[0]).numpy(), found.errors
