"""Models of data: closed forms against samples."""

import numpy as np
import pytest

from vsalt.errors import ConfigError
from vsalt.linear.generative import (
    Autoregression,
    Generator,
    RandomMasking,
    TwoViews,
    sampled_problem,
)
from vsalt.linear.problem import Problem

NUM_SAMPLES = 200_000
TWO_VIEWS = TwoViews(signal=np.array([1.0, 0.5, 3.0]), noise=np.array([0.1, 1.0, 6.0]))
SERIES = Autoregression(
    memory=np.array([0.95, 0.5, 0.8]),
    signal=np.array([1.0, 4.0, 0.5]),
    noise=np.array([0.0, 0.5, 0.3]),
    lag=2,
)
MASKING = RandomMasking(spectrum=np.array([3.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05]), keep=0.25)


def sampled(model: Generator) -> Problem:
    return sampled_problem(*model.sample(NUM_SAMPLES, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("model", "error"), [(TWO_VIEWS, 0.007), (SERIES, 0.03)], ids=["views", "series"]
)
def test_samples_have_the_covariances_of_the_closed_form(model: Generator, error: float) -> None:
    exact, found = model.problem(), sampled(model)
    assert isinstance(model, Generator)
    assert found.lambda_ == pytest.approx(exact.lambda_, rel=error)
    assert found.rho == pytest.approx(exact.rho, rel=error)


def test_samples_of_masked_signals_have_the_covariances_of_the_closed_form() -> None:
    exact, found = MASKING.problem(), sampled(MASKING)
    assert found.lambda_ == pytest.approx(exact.lambda_, abs=0.009)
    assert found.variance == pytest.approx(exact.variance, abs=0.009)
    assert found.rho == pytest.approx(exact.rho, abs=0.03)


@pytest.mark.parametrize("model", [TWO_VIEWS, SERIES, MASKING], ids=["views", "series", "masking"])
def test_features_are_aligned(model: Generator) -> None:
    """The whole covariances are diagonal, which the theory needs."""
    x, y = model.sample(NUM_SAMPLES, np.random.default_rng(1))
    scale = np.sqrt(np.outer(np.mean(x**2, axis=0), np.mean(x**2, axis=0)))
    for other in (x, y):
        whole = other.T @ x / NUM_SAMPLES / scale
        # Frequencies of a masked signal are uncorrelated, not independent.
        assert np.abs(whole - np.diag(np.diag(whole))).max() < 0.02


def test_two_views_take_any_lambda_and_rho() -> None:
    problem = Problem([1.0, 0.3, 0.0], [1.0, 0.2, 0.0])
    model = TwoViews.of(problem)
    assert model.noise == pytest.approx([0.0, 1.2, 1.0])
    assert model.problem().lambda_ == pytest.approx(problem.lambda_)
    assert model.problem().rho == pytest.approx(problem.rho)
    with pytest.raises(ConfigError, match="rho of at most 1"):
        TwoViews.of(Problem([1.0], [1.1]))


def test_rho_of_two_views_is_that_of_the_signal_to_noise_ratio() -> None:
    ratio = TWO_VIEWS.signal / TWO_VIEWS.noise
    assert TWO_VIEWS.problem().rho == pytest.approx(ratio / (1 + ratio))


def test_masked_signals_never_have_conflicts_and_rho_above_one() -> None:
    problem = MASKING.problem()
    assert np.all(np.diff(problem.lambda_) < 0)
    assert np.all(np.diff(problem.rho) < 0)
    assert problem.rho[0] > 1
    s, q, length = MASKING.spectrum, MASKING.keep, MASKING.length
    full = np.concatenate([s, s[-2:0:-1]])  # both signs of frequencies
    assert len(full) == length
    assert problem.rho == pytest.approx(s / (q * s + (1 - q) * full.mean()))


def test_covariances_of_a_masked_signal_by_matrices() -> None:
    """The same in the basis of times: E[x xᵀ] = q² C + q (1-q) diag(C), E[y xᵀ] = q C."""
    s, q = MASKING.spectrum, MASKING.keep
    kernel = np.fft.irfft(s, n=MASKING.length)
    C = np.array([np.roll(kernel, shift) for shift in range(MASKING.length)])
    x = q**2 * C + q * (1 - q) * np.diag(np.diag(C))
    expected = np.sort(np.linalg.eigvalsh(x))
    found = MASKING.problem().variance
    assert np.sort(np.concatenate([found, found[1:-1]])) == pytest.approx(expected)
    cross = np.sort(np.linalg.eigvalsh(q * C))
    lambda_ = MASKING.problem().lambda_
    assert np.sort(np.concatenate([lambda_, lambda_[1:-1]])) == pytest.approx(cross)


def test_without_masks_and_noise_everything_is_predictable() -> None:
    whole = RandomMasking(spectrum=MASKING.spectrum, keep=1.0)
    assert whole.problem().rho == pytest.approx(np.ones(7))
    static = Autoregression(memory=np.array([1.0]), signal=np.array([2.0]), noise=np.array([0.0]))
    assert static.problem().rho.tolist() == [1.0]
    x, y = static.sample(10, np.random.default_rng(0))
    assert x == pytest.approx(y)


def test_noiseless_series_have_their_autocorrelation_as_rho() -> None:
    a = np.linspace(0.35, 0.95, 5)
    model = Autoregression(memory=a, signal=a**-2, noise=np.zeros(5), lag=1)
    assert model.problem().rho == pytest.approx(a)
    assert model.problem().lambda_ == pytest.approx(1 / a)
    later = Autoregression(memory=a, signal=a**-2, noise=np.zeros(5), lag=3)
    assert later.problem().rho == pytest.approx(a**3)


def test_negative_sample_covariances_count_as_noise() -> None:
    x = np.array([[1.0, 1.0], [-1.0, -1.0]])
    found = sampled_problem(x, x * [1.0, -1.0])
    assert found.lambda_.tolist() == [1.0, 0.0]
    assert found.variance.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TwoViews(signal=np.array([1.0]), noise=np.array([-1.0])), "noise must be"),
        (lambda: TwoViews(signal=np.array([1.0]), noise=np.ones(2)), "one number for each feature"),
        (
            lambda: TwoViews(signal=np.ones((2, 2)), noise=np.ones((2, 2))),
            "one number for each feature",
        ),
        (lambda: RandomMasking(spectrum=np.ones(4), keep=0.0), "keep is 0.0"),
        (lambda: RandomMasking(spectrum=np.ones(1), keep=0.5), "at least two frequencies"),
        (lambda: RandomMasking(spectrum=-np.ones(4), keep=0.5), "spectrum must be at least 0"),
        (
            lambda: Autoregression(memory=np.array([1.5]), signal=np.ones(1), noise=np.ones(1)),
            "memory must be at most 1",
        ),
        (
            lambda: Autoregression(
                memory=np.array([0.5]), signal=np.ones(1), noise=np.ones(1), lag=0
            ),
            "lag is 0",
        ),
    ],
)
def test_what_is_no_model_is_refused(make: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()
