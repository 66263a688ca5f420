"""Nearest neighbours against a plain loop over rows."""

import math

import numpy as np
import pytest
import torch

from vsalt.evaluation.knn import K_GRID, fit_knn, try_knn, votes


def plain_votes(train: np.ndarray, labels: list[int], x: np.ndarray, k: int, num_classes: int):
    similarities = []
    for index, row in enumerate(train):
        cosine = float(row @ x) / math.sqrt(float(row @ row) * float(x @ x))
        similarities.append((-cosine, index))
    total = [0.0] * num_classes
    for negative, index in sorted(similarities)[:k]:
        total[labels[index]] += math.exp((-negative - 1) / 0.07)
    return total


def made_up(num_rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(num_rows, 6, generator=generator) + 0.5
    return features, torch.randint(3, (num_rows,), generator=generator)


@pytest.mark.parametrize("k", [1, 4, 30, 1000])
def test_votes_are_those_of_a_loop(k: int) -> None:
    features, labels = made_up(30, 0)
    new, _ = made_up(11, 1)
    head = fit_knn(features, labels, num_classes=3, k=k)
    scores = head.scores(new)
    for x, score in zip(new.double().numpy(), scores, strict=True):
        expected = plain_votes(features.double().numpy(), labels.tolist(), x, k, 3)
        np.testing.assert_allclose(score, expected, rtol=1e-9)
    assert torch.equal(head.predict(new), scores.argmax(1))


def test_equally_near_rows_count_from_the_first() -> None:
    features = torch.tensor([[1.0, 0.0]] * 3)
    head = fit_knn(features, torch.tensor([2, 0, 1]), num_classes=3, k=1)
    assert head.predict(torch.tensor([[3.0, 0.0]])).tolist() == [2]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = made_up(30, 0)
    new, _ = made_up(11, 1)
    head = fit_knn(features, labels, num_classes=3, k=5)
    whole = votes(head, new, ks=(1, 5))
    monkeypatch.setattr("vsalt.evaluation.knn._CHUNK_SIZE", 4)
    torch.testing.assert_close(votes(head, new, ks=(1, 5)), whole, rtol=1e-12, atol=0)


def test_trials_cover_the_ks_that_fit() -> None:
    features, labels = made_up(30, 0)
    new, new_labels = made_up(20, 1)
    trials = try_knn(features, labels, new, new_labels, num_classes=3)
    assert [trial.settings["k"] for trial in trials] == [1, 3, 5, 10, 20]
    assert K_GRID[-1] == 200
    for trial in trials:
        head = fit_knn(features, labels, num_classes=3, k=int(trial.settings["k"]))
        right = (head.predict(new) == new_labels).double().mean()
        assert trial.accuracy == pytest.approx(float(right))
        losses = []
        for score, label in zip(head.scores(new), new_labels, strict=True):
            share = float(score[label] / score.sum())
            losses.append(-math.log((trial.settings["k"] * share + 1) / (trial.settings["k"] + 3)))
        assert trial.cross_entropy == pytest.approx(sum(losses) / len(losses))
