"""How the matrices of a linear network start.

Layers of the encoder start at the scale u0 = eps^(1/L) and those of the predictor at v0, both of
which `vsalt.linear.methods.Network` holds. With Q the product of the encoder's layers at unit
scale, features stay decoupled if V W starts as the target is oriented: V = v0 O Qᵀ, where the
target is O diag(t). So V is v0 Qᵀ for an MAE (O = 1), v0 O Qᵀ for a frozen teacher and v0 times
the identity for JEPA, whose target turns with the encoder (O = Q).
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from vsalt.errors import report_problems
from vsalt.linear.covariances import Matrix
from vsalt.linear.methods import Network


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """The matrices of a network, of any widths that fit each other, the first layer first.

    Attributes:
        encoder: W_1 to W_L.
        predictor: V_1 to V_P.
    """

    encoder: tuple[Matrix, ...]
    predictor: tuple[Matrix, ...]

    def __post_init__(self) -> None:
        """Check that there are layers, and that they fit."""
        layers = (*self.encoder, *self.predictor)
        if not self.encoder or not self.predictor:
            report_problems(["encoder and predictor need at least one matrix each"])
        shapes = [layer.shape for layer in layers]
        if any(before[0] != after[1] for before, after in pairwise(shapes)):
            report_problems([f"each layer must take what the one before gives, not {shapes}"])


@runtime_checkable
class Initialisation(Protocol):
    """A way to start."""

    def draw(
        self,
        network: Network,
        num_inputs: int,
        orientation: Matrix | None,
        rng: np.random.Generator | None,
    ) -> Weights:
        """Return the matrices at the start.

        Args:
            network: depths and scales.
            num_inputs: values of x.
            orientation: O of the target, shape (outputs, num_inputs), with orthonormal columns;
                None: the target is the network's own encoder.
            rng: where random matrices come from.

        Raises:
            ConfigError: if a random start gets no `rng`.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Every layer of the encoder is u0 times the identity; V follows the target.

    Attributes:
        width: of all layers but the inputs and a given target; None: that of the inputs.
    """

    width: int | None = None

    def draw(
        self,
        network: Network,
        num_inputs: int,
        orientation: Matrix | None,
        rng: np.random.Generator | None,  # noqa: ARG002
    ) -> Weights:
        """Return the matrices at the start; see `Initialisation`."""
        shapes = _shapes(network, num_inputs, self.width, orientation)
        encoder = [np.eye(*shape) for shape in shapes[: network.depth]]
        return _scaled(network, encoder, _matched(network, encoder, orientation))


@dataclass(frozen=True, kw_only=True)
class Orthogonal:
    """Every layer of the encoder is u0 times a random orthogonal matrix.

    Attributes:
        predictor: "matched": V follows encoder and target, so that features stay decoupled;
            "independent": random orthogonal matrices too.
        width: as in `Aligned`.
    """

    predictor: Literal["matched", "independent"] = "matched"
    width: int | None = None

    def draw(
        self,
        network: Network,
        num_inputs: int,
        orientation: Matrix | None,
        rng: np.random.Generator | None,
    ) -> Weights:
        """Return the matrices at the start; see `Initialisation`."""
        shapes = _shapes(network, num_inputs, self.width, orientation)
        rng = _required(rng)
        encoder = [random_orthogonal(shape, rng) for shape in shapes[: network.depth]]
        if self.predictor == "matched":
            return _scaled(network, encoder, _matched(network, encoder, orientation))
        predictor = [random_orthogonal(shape, rng) for shape in shapes[network.depth :]]
        return _scaled(network, encoder, predictor)


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Independent normal entries of variance scale² / width, so that a layer scales by about u0.

    Wide (width 128 for 6 features) its columns are nearly orthogonal; narrow they are not.
    `Network(predictor_start=0.0)` starts V at 0.

    Attributes:
        predictor: "gaussian", or "identity": v0 times the identity.
        width: as in `Aligned`.
    """

    predictor: Literal["gaussian", "identity"] = "gaussian"
    width: int | None = None

    def draw(
        self,
        network: Network,
        num_inputs: int,
        orientation: Matrix | None,
        rng: np.random.Generator | None,
    ) -> Weights:
        """Return the matrices at the start; see `Initialisation`."""
        shapes = _shapes(network, num_inputs, self.width, orientation)
        rng = _required(rng)
        encoder = [_normal(shape, rng) for shape in shapes[: network.depth]]
        if self.predictor == "identity":
            return _scaled(network, encoder, [np.eye(*shape) for shape in shapes[network.depth :]])
        return _scaled(network, encoder, [_normal(shape, rng) for shape in shapes[network.depth :]])


def random_orthogonal(shape: tuple[int, int], rng: np.random.Generator) -> Matrix:
    """Draw a matrix with orthonormal columns, or rows if it is wider than high, uniformly."""
    long, short = max(shape), min(shape)
    q, r = np.linalg.qr(rng.standard_normal((long, short)))
    # Signs of r's diagonal are the algorithm's choice; without them the matrix is uniform.
    matrix: Matrix = q * np.sign(np.diag(r))
    return matrix if shape[0] >= shape[1] else matrix.T


def _normal(shape: tuple[int, int], rng: np.random.Generator) -> Matrix:
    return rng.standard_normal(shape) / math.sqrt(max(shape))


def _shapes(
    network: Network, num_inputs: int, width: int | None, orientation: Matrix | None
) -> list[tuple[int, int]]:
    """Return the shapes of all layers, encoder and predictor."""
    inner = num_inputs if width is None else width
    if inner < num_inputs:
        report_problems([f"width is {inner}; it must be at least that of the inputs, {num_inputs}"])
    num_outputs = inner if orientation is None else len(orientation)
    widths = [num_inputs, *[inner] * (network.depth + network.predictor_depth - 1), num_outputs]
    return [(after, before) for before, after in pairwise(widths)]


def _matched(network: Network, encoder: list[Matrix], orientation: Matrix | None) -> list[Matrix]:
    """Return a predictor that turns the encoder's output as the target is turned."""
    inner = np.eye(len(encoder[-1]))
    last = inner
    if orientation is not None:
        whole = encoder[0]
        for layer in encoder[1:]:
            whole = layer @ whole
        last = orientation @ whole.T
    return [*[inner] * (network.predictor_depth - 1), last]


def _scaled(network: Network, encoder: list[Matrix], predictor: list[Matrix]) -> Weights:
    u0, v0 = network.layer_start, network.predictor_layer_start
    return Weights(
        encoder=tuple(u0 * layer for layer in encoder),
        predictor=tuple(v0 * layer for layer in predictor),
    )


def _required(rng: np.random.Generator | None) -> np.random.Generator:
    if rng is None:
        report_problems(["a random start needs rng, such as numpy.random.default_rng(0)"])
        raise AssertionError("report_problems returns only inside collect_problems")
    return rng
