"""The measures against plain loops written from the papers' formulas, and closed forms."""

import math

import numpy as np
import pytest
import torch

from support.slow_measures import slow_lidar, slow_rankme
from vsalt.training import measures


def random_features(*shape: int, seed: int = 0) -> torch.Tensor:
    """Features of very different scales, which fill no space evenly."""
    generator = torch.Generator().manual_seed(seed)
    scales = 2.0 ** -torch.arange(shape[-1], dtype=torch.float32)
    return torch.randn(shape, generator=generator) * scales + 0.3


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (7, 7), (1, 5)])
def test_rankme_is_the_formula(shape: tuple[int, int]) -> None:
    features = random_features(*shape)
    expected = slow_rankme(features.double().numpy())
    assert measures.rankme(features) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 5, 16])
def test_orthonormal_rows_have_their_number_as_rank(rank: int) -> None:
    basis, _ = torch.linalg.qr(torch.randn(16, rank, generator=torch.Generator().manual_seed(rank)))
    assert measures.rankme(basis.T) == pytest.approx(rank, rel=1e-4)
    assert measures.rankme(basis.T.repeat(9, 1)) == pytest.approx(rank, rel=1e-4)


def test_collapsed_features_have_rank_one() -> None:
    row = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    # The 1e-7 of the formula is all that is left for 31 directions: 31e-7 ln(1e7) = 5e-5.
    assert measures.rankme(row.repeat(50, 1)) == pytest.approx(1.0, abs=2e-4)
    assert measures.rankme(torch.zeros(50, 32)) == pytest.approx(1.0, abs=2e-4)
    assert measures.lidar(row.repeat(5, 2, 1)) == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize("shape", [(6, 2, 10), (30, 3, 8), (4, 5, 4)])
@pytest.mark.parametrize("delta", [1e-4, 0.1])
def test_lidar_is_the_formula(shape: tuple[int, int, int], delta: float) -> None:
    features = random_features(*shape)
    expected = slow_lidar(features.double().numpy(), delta)
    assert expected > 1.3
    assert measures.lidar(features, delta) == pytest.approx(expected, rel=1e-5)


def test_lidar_of_clips_in_the_corners_of_a_simplex() -> None:
    """n class means, equally far from each other, span n - 1 equal directions around their mean."""
    for num_clips in (2, 3, 8):
        clips = torch.eye(num_clips)[:, None].repeat(1, 2, 1)
        assert measures.lidar(clips) == pytest.approx(num_clips - 1, rel=1e-4)


def test_lidar_needs_classes_and_samples() -> None:
    for shape in ((1, 2, 3), (2, 1, 3)):
        with pytest.raises(ValueError, match=f"got {shape[0]} of {shape[1]}"):
            measures.lidar(torch.zeros(shape))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_have_no_rank(bad: float) -> None:
    features = torch.ones(4, 3)
    features[1, 1] = bad
    assert math.isnan(measures.rankme(features))
    assert math.isnan(measures.lidar(features.view(2, 2, 3)))


def test_deviation_and_dead_dimensions_channel_by_channel() -> None:
    features = random_features(20, 9)
    features[:, 4] = 2.5
    features[:, 7] = 1.0 + 1e-5 * features[:, 0]
    rows = features.double().numpy()
    rms = math.sqrt(sum(x * x for row in rows for x in row) / rows.size)
    deviations = []
    for c in range(9):
        mean = sum(rows[:, c]) / 20
        deviations.append(math.sqrt(sum((x - mean) ** 2 for x in rows[:, c]) / 20))
    found = measures.feature_deviation(features).item()
    assert found == pytest.approx(sum(deviations) / 9 / rms, rel=1e-5)
    dead = sum(deviation < 1e-3 * rms for deviation in deviations)
    assert measures.dead_dimensions(features).item() == dead == 2


def test_deviation_of_collapsed_and_of_centred_features() -> None:
    assert measures.feature_deviation(torch.full((10, 4), 3.0)).item() == 0
    assert measures.feature_deviation(torch.zeros(10, 4)).item() == 0
    assert measures.dead_dimensions(torch.full((10, 4), 3.0)).item() == 4
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert measures.feature_deviation(7 * signs).item() == pytest.approx(1.0)


def test_cosine_and_variance_token_by_token() -> None:
    predictions, targets = random_features(15, 6, seed=1), random_features(15, 6, seed=2)
    cosines = [
        float(p @ t) / math.sqrt(float(p @ p) * float(t @ t))
        for p, t in zip(predictions.double(), targets.double(), strict=True)
    ]
    found = measures.cosine(predictions, targets).item()
    assert found == pytest.approx(sum(cosines) / 15, rel=1e-5)
    assert measures.cosine(-targets, targets).item() == pytest.approx(-1.0)
    variance = np.mean([np.var(column) for column in targets.double().numpy().T])
    assert measures.target_variance(targets).item() == pytest.approx(variance, rel=1e-5)
