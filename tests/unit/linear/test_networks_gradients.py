"""Steps of gradient descent against torch's autograd on the loss of the samples themselves."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from vsalt.linear.covariances import Covariances, Matrix
from vsalt.linear.descent import Descent, FrozenTeacher, MatrixMethod
from vsalt.linear.initialisations import Weights
from vsalt.linear.methods import Ema, Jepa, Mae, Salt

RATE, ALPHA, STEPS = 0.05, 0.5, 4
INPUTS, WIDTHS, CODE = 4, (5, 6), 3
TEACHER = np.random.default_rng(9).standard_normal((2, INPUTS))
GAINS = np.array([0.5, 0.0, 1.0, 2.0])
# Where x and y have their features; no alignment is needed for the gradients to be right.
BASIS = np.linalg.qr(np.random.default_rng(8).standard_normal((INPUTS, INPUTS)))[0]
METHODS = {
    "mae": Mae(),
    "jepa": Jepa(),
    "salt": Salt(GAINS),
    "frozen": FrozenTeacher(TEACHER),
    "ema": Ema(time=0.2),
}


def samples() -> tuple[Matrix, Matrix]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, INPUTS))
    return x, x @ rng.standard_normal((INPUTS, INPUTS)) + rng.standard_normal((50, INPUTS))


def weights(depth: int, predictor_depth: int, outputs: int) -> Weights:
    """Layers of all widths different."""
    rng = np.random.default_rng(1)
    encoder = [INPUTS, *WIDTHS[: depth - 1], CODE]
    predictor = [CODE, *[7] * (predictor_depth - 1), outputs]

    def layers(widths: list[int]) -> tuple[Matrix, ...]:
        return tuple(
            0.4 * rng.standard_normal((after, before)) for before, after in pairwise(widths)
        )

    return Weights(encoder=layers(encoder), predictor=layers(predictor))


def torch_steps(start: Weights, name: str) -> list[Matrix]:
    """Return all layers after some steps, by autograd; the target has no gradient."""
    x, y = (torch.from_numpy(z) for z in samples())
    encoder = [torch.tensor(layer, requires_grad=True) for layer in start.encoder]
    predictor = [torch.tensor(layer, requires_grad=True) for layer in start.predictor]
    average = [layer.detach().clone() for layer in encoder]
    salt = torch.from_numpy(BASIS @ np.diag(GAINS) @ BASIS.T)

    def through(z: torch.Tensor, layers: list[torch.Tensor]) -> torch.Tensor:
        for layer in layers:
            z = z @ layer.T
        return z

    for _ in range(STEPS):
        target = {
            "mae": lambda: y,
            "jepa": lambda: through(y, encoder).detach(),
            "salt": lambda: y @ salt.T,
            "frozen": lambda: y @ torch.from_numpy(TEACHER).T,
            "ema": lambda: through(y, average),
        }[name]()
        error = through(through(x, encoder), predictor) - target
        loss = error.square().sum(dim=1).mean() / 2
        slopes = torch.autograd.grad(loss, [*encoder, *predictor])
        with torch.no_grad():
            for index, layer in enumerate([*encoder, *predictor]):
                layer -= (RATE if index < len(encoder) else ALPHA * RATE) * slopes[index]
            for mean, layer in zip(average, encoder, strict=True):
                mean.lerp_(layer, RATE / 0.2)
    return [layer.detach().numpy() for layer in [*encoder, *predictor]]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("predictor_depth", [1, 2])
def test_steps_are_those_of_autograd(name: str, depth: int, predictor_depth: int) -> None:
    method: MatrixMethod = METHODS[name]
    outputs = {"mae": INPUTS, "salt": INPUTS, "frozen": len(TEACHER)}.get(name, CODE)
    start = weights(depth, predictor_depth, outputs)
    descent = Descent(
        Covariances.of_samples(*samples(), BASIS),
        method,
        start,
        learning_rate=RATE,
        predictor_rate=ALPHA,
    )
    descent.advance(STEPS)
    found = descent.weights
    expected = torch_steps(start, name)
    for layer, other, first in zip(
        [*found.encoder, *found.predictor],
        expected,
        [*start.encoder, *start.predictor],
        strict=True,
    ):
        np.testing.assert_allclose(layer, other, rtol=1e-12, atol=1e-13)
        assert np.abs(layer - first).max() > 1e-3  # all layers have moved
