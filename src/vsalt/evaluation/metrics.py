"""What a probe's predictions are worth: accuracies, confusion, interval and chance.

Shapes: n test rows, C classes.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

from vsalt.randomness import keyed_int

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95
_NORMAL_QUANTILE = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""
_WORDS_AT_ONCE = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % interval of an accuracy, and how it was found."""

    low: float
    high: float
    method: Literal["group bootstrap", "wilson"]


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """One class: its test rows, how many of them were found, and how often it was answered."""

    name: str
    num_rows: int
    num_predicted: int
    recall: float | None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Scores of predictions.

    Attributes:
        num_rows: n.
        accuracy: share of rows that are right.
        balanced_accuracy: mean recall over the classes that have rows.
        interval: of the accuracy.
        classes: in the order of the class indices.
        confusion: counts by true class, then predicted class, (C, C).
    """

    num_rows: int
    accuracy: float
    balanced_accuracy: float
    interval: Interval
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Chance:
    """Accuracies without looking: guessing evenly, and always answering the majority class."""

    uniform: float
    majority: float


def measure(
    labels: Int64[np.ndarray, "n"],
    predicted: Int64[np.ndarray, "n"],
    *,
    classes: tuple[str, ...],
    groups: Int64[np.ndarray, "n"] | None = None,
    seed: int = 0,
) -> Metrics:
    """Score predictions.

    Args:
        labels: true classes.
        predicted: predicted classes.
        classes: their names.
        groups: rows of one group are resampled together; without, the interval is Wilson's.
        seed: key of the bootstrap.

    Returns:
        The metrics; a class without rows has recall None.
    """
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    num_rows, num_predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    recalls = [
        int(confusion[index, index]) / int(count) if count else None
        for index, count in enumerate(num_rows)
    ]
    known = [recall for recall in recalls if recall is not None]
    correct = labels == predicted
    return Metrics(
        num_rows=len(labels),
        accuracy=float(correct.mean()),
        balanced_accuracy=sum(known) / len(known),
        interval=accuracy_interval(correct, groups, seed=seed),
        classes=tuple(
            ClassMetrics(name=name, num_rows=int(rows), num_predicted=int(answers), recall=recall)
            for name, rows, answers, recall in zip(
                classes, num_rows, num_predicted, recalls, strict=True
            )
        ),
        confusion=tuple(tuple(int(count) for count in line) for line in confusion),
    )


def accuracy_interval(
    correct: Bool[np.ndarray, "n"], groups: Int64[np.ndarray, "n"] | None, *, seed: int = 0
) -> Interval:
    """Return the bootstrap interval over groups if there are at least two, else Wilson's."""
    if groups is not None and len(np.unique(groups)) > 1:
        return group_bootstrap(correct, groups, seed=seed)
    return wilson(int(correct.sum()), len(correct))


def wilson(num_correct: int, num_rows: int) -> Interval:
    """Return Wilson's score interval for a share of independent rows.

    `(p + z^2/2n +- z sqrt(p (1-p)/n + z^2/4n^2)) / (1 + z^2/n)` with z = 1.96 (Wilson 1927).
    """
    z, n = _NORMAL_QUANTILE, num_rows
    share = num_correct / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
    return Interval(low=low, high=high, method="wilson")


def group_bootstrap(
    correct: Bool[np.ndarray, "n"],
    groups: Int64[np.ndarray, "n"],
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Return the percentile bootstrap interval of the accuracy, with groups as units.

    Each resample draws as many groups as there are, with replacement, and pools their rows. If
    every group is equally good, as with no error at all, the interval has no width.
    """
    _, index = np.unique(groups, return_inverse=True)
    sizes = np.bincount(index).astype(np.float64)
    right = np.bincount(index, weights=correct.astype(np.float64))
    words = np.random.Philox(key=keyed_int("probe bootstrap", seed, bits=128))
    at_once = max(1, _WORDS_AT_ONCE // len(sizes))
    shares = []
    for first in range(0, num_resamples, at_once):
        shape = (min(at_once, num_resamples - first), len(sizes))
        # Raw words keep one stream across numpy versions; the remainder's bias is below 1e-12.
        drawn = words.random_raw(shape) % np.uint64(len(sizes))
        shares.append(right[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(shares), [tail, 1 - tail])
    return Interval(low=float(low), high=float(high), method="group bootstrap")


def chance_of(
    parts: list[tuple[Int64[np.ndarray, "_"], Int64[np.ndarray, "_"]]], num_classes: int
) -> Chance:
    """Return chance accuracies over parts, each given by its training and test labels.

    `majority` is the share of test rows whose class is the most frequent one of the training rows
    of their part, the first among equals.
    """
    hits = sum(
        int((test == np.bincount(train, minlength=num_classes).argmax()).sum())
        for train, test in parts
    )
    return Chance(uniform=1 / num_classes, majority=hits / sum(len(test) for _, test in parts))
