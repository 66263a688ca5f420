"""Scores against scikit-learn and torchmetrics, intervals against closed forms and plain loops."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, recall_score
from torchmetrics.classification import MulticlassAccuracy

from vsalt.evaluation.metrics import (
    accuracy_interval,
    chance_of,
    group_bootstrap,
    measure,
    wilson,
)

CLASSES = ("a", "b", "c", "d")


def made_up(num_rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.choice(3, num_rows, p=[0.6, 0.3, 0.1])
    predicted = np.where(generator.random(num_rows) < 0.5, labels, generator.choice(4, num_rows))
    return labels, predicted


def test_scores_are_those_of_public_libraries() -> None:
    labels, predicted = made_up()
    found = measure(labels, predicted, classes=CLASSES)
    y, p = torch.tensor(labels), torch.tensor(predicted)
    assert found.num_rows == 200
    assert found.accuracy == pytest.approx(float(MulticlassAccuracy(4, average="micro")(p, y)))
    present = labels < 3
    assert present.all()
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = balanced_accuracy_score(labels, predicted)
    assert found.balanced_accuracy == pytest.approx(expected)
    matrix = confusion_matrix(labels, predicted, labels=range(4))
    np.testing.assert_array_equal(found.confusion, matrix)
    recalls = recall_score(labels, predicted, labels=range(3), average=None)
    assert [entry.recall for entry in found.classes[:3]] == pytest.approx(list(recalls))
    assert found.classes[3].recall is None
    assert [entry.num_rows for entry in found.classes] == list(matrix.sum(1))
    assert [entry.num_predicted for entry in found.classes] == list(matrix.sum(0))


@pytest.mark.parametrize(("right", "total"), [(0, 7), (7, 7), (3, 10), (45, 46), (500, 1000)])
def test_wilson_is_scipys(right: int, total: int) -> None:
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    found = wilson(right, total)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found.method == "wilson"


def test_bootstrap_is_a_plain_one_over_groups() -> None:
    generator = np.random.default_rng(1)
    groups = generator.integers(12, size=150) * 7
    correct = generator.random(150) < groups / 84
    found = group_bootstrap(correct, groups, num_resamples=4000)

    names = np.unique(groups)
    shares = []
    for _ in range(4000):
        drawn = generator.choice(names, len(names))
        rows = np.concatenate([np.flatnonzero(groups == name) for name in drawn])
        shares.append(correct[rows].mean())
    low, high = np.percentile(shares, [2.5, 97.5])
    # Both quantiles have a standard error of about 0.005 here.
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)
    assert found.method == "group bootstrap"


def test_bootstrap_depends_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    groups, correct = generator.integers(40, size=300), generator.random(300) < 0.5
    first = group_bootstrap(correct, groups, seed=3)
    assert group_bootstrap(correct, groups, seed=3) == first
    assert group_bootstrap(correct, groups, seed=4) != first
    monkeypatch.setattr("vsalt.evaluation.metrics._WORDS_AT_ONCE", 400)
    assert group_bootstrap(correct, groups, seed=3) == first


def test_groups_widen_the_interval() -> None:
    """Twenty groups that are all right or all wrong carry the knowledge of twenty rows."""
    groups = np.repeat(np.arange(20), 50)
    correct = groups % 2 == 0
    grouped, single = accuracy_interval(correct, groups), accuracy_interval(correct, None)
    assert grouped.high - grouped.low > 5 * (single.high - single.low)
    lonely = accuracy_interval(correct, np.zeros(1000, dtype=np.int64))
    assert lonely == single


def test_chance_is_even_guessing_and_the_majority_of_training() -> None:
    parts = [
        (np.array([0, 0, 1]), np.array([0, 1, 1, 1])),
        (np.array([1, 1, 0]), np.array([0, 1])),
    ]
    chance = chance_of(parts, 4)
    assert chance.uniform == 0.25
    assert chance.majority == pytest.approx((1 + 1) / 6)
