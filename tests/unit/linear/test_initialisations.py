"""How networks start: shapes, scales and the orientation of the predictor."""

import numpy as np
import pytest

from vsalt.errors import ConfigError
from vsalt.linear.covariances import Matrix
from vsalt.linear.initialisations import (
    Aligned,
    Gaussian,
    Initialisation,
    Orthogonal,
    Weights,
    random_orthogonal,
)
from vsalt.linear.methods import Network

NETWORK = Network(depth=3, eps=1e-3, predictor_depth=2)
INITS = [
    Aligned(width=5),
    Orthogonal(width=5),
    Orthogonal(width=5, predictor="independent"),
    Gaussian(width=5),
    Gaussian(width=5, predictor="identity"),
]


def product(layers: tuple[Matrix, ...]) -> Matrix:
    whole = np.eye(layers[0].shape[1])
    for layer in layers:
        whole = layer @ whole
    return whole


@pytest.mark.parametrize("init", INITS, ids=repr)
@pytest.mark.parametrize("outputs", [None, 3, 7])
def test_layers_fit_inputs_width_and_target(init: Initialisation, outputs: int | None) -> None:
    rng = np.random.default_rng(0)
    orientation = None if outputs is None else random_orthogonal((outputs, 3), rng)
    weights = init.draw(NETWORK, 3, orientation, rng)
    assert [layer.shape for layer in weights.encoder] == [(5, 3), (5, 5), (5, 5)]
    assert [layer.shape for layer in weights.predictor] == [(5, 5), (outputs or 5, 5)]


@pytest.mark.parametrize("init", [Aligned(width=5), Orthogonal(width=5)], ids=repr)
def test_a_matched_start_is_balanced_and_oriented_as_the_target(init: Initialisation) -> None:
    rng = np.random.default_rng(0)
    orientation = random_orthogonal((4, 3), rng)
    weights = init.draw(NETWORK, 3, orientation, rng)
    # u0 = 0.1 in each of five layers.
    whole = product((*weights.encoder, *weights.predictor))
    np.testing.assert_allclose(whole, 1e-5 * orientation, atol=1e-18)
    np.testing.assert_allclose(np.linalg.norm(product(weights.encoder), axis=0), 1e-3)


@pytest.mark.parametrize("init", [Aligned(width=5), Orthogonal(width=5)], ids=repr)
def test_a_predictor_of_the_own_encoder_starts_as_the_identity(init: Initialisation) -> None:
    weights = init.draw(NETWORK, 3, None, np.random.default_rng(0))
    np.testing.assert_allclose(product(weights.predictor), 0.01 * np.eye(5), atol=1e-17)


def test_wide_gaussian_layers_scale_by_the_layers_start() -> None:
    weights = Gaussian(width=1000).draw(
        Network(depth=2, eps=0.01), 4, None, np.random.default_rng(0)
    )
    for layers in (weights.encoder[:1], weights.encoder, (*weights.encoder, *weights.predictor)):
        norms = np.linalg.norm(product(layers), axis=0)
        np.testing.assert_allclose(norms, 0.1 ** len(layers), rtol=0.12)


def test_a_network_can_start_with_a_predictor_of_another_scale() -> None:
    network = Network(depth=1, eps=0.1, predictor_start=0.0)
    weights = Gaussian().draw(network, 4, None, np.random.default_rng(0))
    assert not weights.predictor[0].any()
    assert weights.encoder[0].all()


@pytest.mark.parametrize("shape", [(4, 4), (6, 2), (2, 6)])
def test_random_orthogonal_matrices_keep_lengths(shape: tuple[int, int]) -> None:
    matrix = random_orthogonal(shape, np.random.default_rng(0))
    assert matrix.shape == shape
    gram = matrix.T @ matrix if shape[0] >= shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-14)


def test_random_orthogonal_matrices_have_no_preferred_sign() -> None:
    # LAPACK's own signs make the diagonal negative on average.
    rng = np.random.default_rng(0)
    corner = [random_orthogonal((3, 3), rng)[0, 0] for _ in range(2000)]
    assert abs(np.mean(corner)) < 0.05
    assert np.var(corner) == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("init", [Orthogonal(), Gaussian()], ids=repr)
def test_a_random_start_needs_a_generator(init: Initialisation) -> None:
    with pytest.raises(ConfigError, match="needs rng"):
        init.draw(NETWORK, 3, None, None)


def test_a_bottleneck_is_refused() -> None:
    with pytest.raises(ConfigError, match="width is 2"):
        Aligned(width=2).draw(NETWORK, 3, None, None)


def test_weights_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="one before"):
        Weights(encoder=(np.eye(3, 2), np.eye(3, 2)), predictor=(np.eye(3),))
    with pytest.raises(ConfigError, match="at least one matrix"):
        Weights(encoder=(), predictor=(np.eye(3),))
