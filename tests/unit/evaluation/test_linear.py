"""The linear probe against scikit-learn and against its optimality condition."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from vsalt.evaluation.linear import L2_GRID, fit_linear, try_linear
from vsalt.evaluation.selection import Trial, best_trial


def made_up(num_rows: int, num_features: int, num_classes: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (num_rows,), generator=generator)
    labels[:num_classes] = torch.arange(num_classes)
    centres = torch.randn(num_classes, num_features, generator=generator)
    noise = torch.randn(num_rows, num_features, generator=generator)
    spread = torch.logspace(-2, 1, num_features)
    return (centres[labels] + 2 * noise) * spread + 5, labels


@pytest.mark.parametrize("l2", [100.0, 1.0, 1e-2, 1e-4])
@pytest.mark.parametrize(("num_rows", "num_features"), [(120, 10), (40, 60)])
def test_the_minimum_is_scikit_learns(l2: float, num_rows: int, num_features: int) -> None:
    features, labels = made_up(num_rows, num_features, 4)
    head = fit_linear(features, labels, num_classes=4, l2=l2)
    assert head.converged

    x = features.double().numpy()
    z = (x - x.mean(0)) / x.std(0)
    oracle = LogisticRegression(C=1 / (num_rows * l2), tol=1e-12, solver="newton-cholesky").fit(
        z, labels
    )
    tolerance = {"rtol": 0, "atol": 1e-5}
    np.testing.assert_allclose(head.weight, oracle.coef_, **tolerance)
    bias = oracle.intercept_ - oracle.intercept_.mean()
    np.testing.assert_allclose(head.bias, bias, **tolerance)
    new, _ = made_up(50, num_features, 4, seed=1)
    z_new = (new.double().numpy() - x.mean(0)) / x.std(0)
    probabilities = torch.softmax(head.scores(new), dim=1)
    np.testing.assert_allclose(probabilities, oracle.predict_proba(z_new), atol=1e-6)
    np.testing.assert_array_equal(head.predict(new), oracle.predict(z_new))


def test_nearly_dependent_features_are_fitted_to_the_end() -> None:
    """Deviations along principal axes that span seven decades, as those of encoders do."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(11, (150,), generator=generator)
    turn = torch.linalg.qr(torch.randn(192, 192, generator=generator, dtype=torch.float64)).Q
    latent = torch.randn(150, 192, generator=generator, dtype=torch.float64)
    features = (latent * torch.logspace(0, -7, 192, dtype=torch.float64)) @ turn
    head = fit_linear(features, labels, num_classes=11, l2=1e-4)
    assert head.converged
    z = (features - head.mean) / head.scale
    error = torch.softmax(z @ head.weight.T + head.bias, 1) - torch.eye(11)[labels]
    assert (error.T @ z / 150 + 1e-4 * head.weight).abs().max() <= 1e-7


def test_two_classes_have_the_gradient_zero() -> None:
    features, labels = made_up(60, 8, 2)
    l2 = 0.03
    head = fit_linear(features, labels, num_classes=2, l2=l2)
    z = (features.double() - head.mean) / head.scale
    error = torch.softmax(z @ head.weight.T + head.bias, 1) - torch.eye(2)[labels]
    assert (error.T @ z / 60 + l2 * head.weight).abs().max() <= 1e-6
    assert error.mean(0).abs().max() <= 1e-6


def test_constant_features_change_nothing() -> None:
    features, labels = made_up(60, 8, 3)
    constant = torch.tensor([0.0, 0.1, 1e6]).expand(60, 3)
    plain = fit_linear(features, labels, num_classes=3, l2=0.1)
    more = fit_linear(torch.cat([features, constant], 1), labels, num_classes=3, l2=0.1)
    assert torch.equal(more.scale[8:], torch.ones(3).double())
    torch.testing.assert_close(more.weight[:, :8], plain.weight, atol=1e-6, rtol=0)
    assert more.weight[:, 8:].abs().max() < 1e-6


def test_fits_are_bit_identical() -> None:
    features, labels = made_up(80, 12, 3)
    first = fit_linear(features, labels, num_classes=3, l2=0.01)
    again = fit_linear(features, labels, num_classes=3, l2=0.01)
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.bias, again.bias)


def test_a_class_without_rows_is_not_answered() -> None:
    features, labels = made_up(60, 8, 3)
    head = fit_linear(features, labels, num_classes=4, l2=0.1)
    assert set(head.predict(features).tolist()) <= {0, 1, 2}


def test_trials_score_every_strength_on_other_rows() -> None:
    features, labels = made_up(100, 10, 3)
    trials = try_linear(
        features[:70], labels[:70], features[70:], labels[70:], num_classes=3, grid=(1.0, 0.01)
    )
    assert [trial.settings["l2"] for trial in trials] == [1.0, 0.01]
    for trial in trials:
        cold = fit_linear(features[:70], labels[:70], num_classes=3, l2=trial.settings["l2"])
        right = (cold.predict(features[70:]) == labels[70:]).double().mean()
        assert trial.accuracy == pytest.approx(float(right))
        probability = torch.softmax(cold.scores(features[70:]), 1)[range(30), labels[70:]]
        assert trial.cross_entropy == pytest.approx(float(-probability.log().mean()), rel=1e-6)
    assert (L2_GRID[0], L2_GRID[-1], len(L2_GRID)) == (100.0, 1e-4, 13)


def test_the_best_trial_is_most_accurate_then_surest_then_first() -> None:
    worse = Trial(settings={"l2": 1.0}, accuracy=0.5, cross_entropy=0.1)
    unsure = Trial(settings={"l2": 2.0}, accuracy=0.7, cross_entropy=0.9)
    sure = Trial(settings={"l2": 3.0}, accuracy=0.7, cross_entropy=0.8)
    same = Trial(settings={"l2": 4.0}, accuracy=0.7, cross_entropy=0.8)
    assert best_trial([worse, unsure, sure, same]) is sure
    assert best_trial([worse, same, sure]) is same
