"""Gradient descent on the matrices of a linear network, for every method.

W = W_L ... W_1 is the encoder, V = V_P ... V_1 the predictor and G the target: 1 for an MAE, W for
JEPA, T for a frozen teacher, the product of averaged layers for EMA. The loss is
1/2 E||V W x - G y||², and no gradient flows through G (arXiv 2407.03475, its losses for G = 1 and
G = W). With D = V W E[x xᵀ] - G E[y xᵀ], the gradient in a layer is Aᵀ D Bᵀ, where A is the product
of all layers after it and B that of all before it; so it is D Wᵀ in V and Vᵀ D in W for one layer
each.

A step with learning rate lr takes the time lr of `vsalt.linear.dynamics`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from vsalt.errors import report_problems
from vsalt.linear.covariances import Covariances, Matrix
from vsalt.linear.initialisations import Weights
from vsalt.linear.methods import Ema, Jepa, Mae, Method, Salt


@dataclass(frozen=True, eq=False)
class FrozenTeacher:
    """SALT with an actual teacher: predict T y.

    `Salt` describes the teacher by the gains of its features only.

    Attributes:
        matrix: T, a trained encoder's product of layers, shape (outputs, inputs).
    """

    matrix: Matrix


MatrixMethod: TypeAlias = Method | FrozenTeacher


def fixed_target(data: Covariances, method: MatrixMethod) -> Matrix | None:
    """Return G, shape (outputs, inputs), or None where it follows the encoder.

    Raises:
        ConfigError: if a teacher does not fit the data.
    """
    d = len(data)
    match method:
        case Mae():
            return np.eye(d)
        case Salt():
            if len(method.gain) != d:
                report_problems([f"the teacher has {len(method.gain)} gains for {d} features"])
            return (data.basis * method.gain) @ data.basis.T
        case FrozenTeacher():
            if method.matrix.ndim != 2 or method.matrix.shape[1] != d:
                report_problems([f"the teacher is {method.matrix.shape} and takes {d} inputs"])
            return method.matrix
        case Jepa() | Ema():
            return None


def gradients(layers: Sequence[Matrix], inputs: Matrix, target_cross: Matrix) -> list[Matrix]:
    """Return the loss's gradient in every layer, from the first of W to the last of V.

    Args:
        layers: W_1 to W_L, then V_1 to V_P.
        inputs: E[x xᵀ].
        target_cross: G E[y xᵀ].
    """
    befores = [layers[0]]
    for layer in layers[1:]:
        befores.append(layer @ befores[-1])
    slope = befores[-1] @ inputs - target_cross
    found = []
    for index in range(len(layers) - 1, 0, -1):
        found.append(slope @ befores[index - 1].T)
        slope = layers[index].T @ slope
    found.append(slope)
    return found[::-1]


class Descent:
    """The matrices on their way.

    Attributes:
        num_steps: steps done.
    """

    def __init__(
        self,
        data: Covariances,
        method: MatrixMethod,
        weights: Weights,
        *,
        learning_rate: float,
        predictor_rate: float = 1.0,
    ) -> None:
        """Start from given matrices, which are left as they are.

        Args:
            data: covariances of x and y.
            method: what is predicted.
            weights: the matrices at the start.
            learning_rate: lr of the encoder, above 0; EMA's time must not be below it.
            predictor_rate: learning rate of the predictor over that of the encoder, alpha.

        Raises:
            ConfigError: if the learning rate or a shape is wrong.
        """
        self._data = data
        self._fixed = fixed_target(data, method)
        report_problems(_problems(data, method, weights, self._fixed, learning_rate))
        self._encoder = [layer.copy() for layer in weights.encoder]
        self._predictor = [layer.copy() for layer in weights.predictor]
        self._layers = [*self._encoder, *self._predictor]
        self._rates = [learning_rate] * len(self._encoder)
        self._rates += [learning_rate * predictor_rate] * len(self._predictor)
        self._alpha = predictor_rate
        self._decay = 1 - learning_rate / method.time if isinstance(method, Ema) else 0.0
        self._average = (
            [layer.copy() for layer in weights.encoder]
            if isinstance(method, Ema)
            else self._encoder
        )
        self._fixed_cross = None if self._fixed is None else self._fixed @ data.cross
        self._start = self._conserved()
        self.num_steps = 0

    def advance(self, num_steps: int) -> None:
        """Do this many steps."""
        inputs, cross = self._data.inputs, self._data.cross
        for _ in range(num_steps):
            target_cross = self._fixed_cross
            if target_cross is None:
                target_cross = _product(self._average) @ cross
            for layer, rate, slope in zip(
                self._layers,
                self._rates,
                gradients(self._layers, inputs, target_cross),
                strict=True,
            ):
                layer -= rate * slope
            if self._average is not self._encoder:
                for mean, layer in zip(self._average, self._encoder, strict=True):
                    mean *= self._decay
                    mean += (1 - self._decay) * layer
        self.num_steps += num_steps

    @property
    def encoder(self) -> Matrix:
        """W, a copy."""
        return _product(self._encoder).copy()

    @property
    def predictor(self) -> Matrix:
        """V, a copy."""
        return _product(self._predictor).copy()

    @property
    def target(self) -> Matrix:
        """G, a copy."""
        return (_product(self._average) if self._fixed is None else self._fixed).copy()

    @property
    def weights(self) -> Weights:
        """A copy of all matrices."""
        return Weights(
            encoder=tuple(layer.copy() for layer in self._encoder),
            predictor=tuple(layer.copy() for layer in self._predictor),
        )

    def is_finite(self) -> bool:
        """Return whether all weights still are finite."""
        return all(np.isfinite(layer).all() for layer in self._layers)

    def drift(self) -> float:
        """Return how far what gradient flow conserves has moved, as the largest entry.

        Conserved are W_(a+1)ᵀ W_(a+1) - W_a W_aᵀ, the same of V's layers, and
        V_1ᵀ V_1 - alpha W_L W_Lᵀ: v² - alpha u² of a feature.
        """
        pairs = zip(self._conserved(), self._start, strict=True)
        return max((float(np.abs(now - start).max()) for now, start in pairs), default=0.0)

    def _conserved(self) -> list[Matrix]:
        found = []
        for index, (before, after) in enumerate(pairwise(self._layers)):
            is_border = index == len(self._encoder) - 1
            weight = self._alpha if is_border else 1.0
            found.append(after.T @ after - weight * (before @ before.T))
        return found


def _product(layers: Sequence[Matrix]) -> Matrix:
    """Return the product; of a single layer the layer itself."""
    return reduce(lambda whole, layer: layer @ whole, layers)


def _problems(
    data: Covariances,
    method: MatrixMethod,
    weights: Weights,
    fixed: Matrix | None,
    learning_rate: float,
) -> list[str]:
    problems = []
    if not learning_rate > 0:
        problems.append(f"learning_rate is {learning_rate}; it must be above 0")
    if isinstance(method, Ema) and method.time < learning_rate:
        problems.append(
            f"an average of time {method.time} cannot follow steps of {learning_rate}; "
            "lower learning_rate"
        )
    if weights.encoder[0].shape[1] != len(data):
        problems.append(f"the encoder takes {weights.encoder[0].shape[1]} values, not {len(data)}")
    num_outputs = len(weights.encoder[-1]) if fixed is None else len(fixed)
    if len(weights.predictor[-1]) != num_outputs:
        problems.append(
            f"the predictor gives {len(weights.predictor[-1])} values for a target of {num_outputs}"
        )
    return problems
