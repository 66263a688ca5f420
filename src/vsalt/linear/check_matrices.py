"""Checks of the theory against matrices that are trained by gradient descent."""

from collections.abc import Iterator

import numpy as np

from vsalt.linear.check_gains import gain_exponent
from vsalt.linear.check_row import Row, absolute_error, methods_for, relative_error, row
from vsalt.linear.closed_form import critical_time, final_gain
from vsalt.linear.covariances import Covariances, Matrix
from vsalt.linear.descent import FrozenTeacher
from vsalt.linear.dynamics import integrate
from vsalt.linear.frozen import converged_teacher
from vsalt.linear.initialisations import Aligned, Initialisation, Orthogonal, random_orthogonal
from vsalt.linear.methods import Jepa, Mae, Method, Network, Salt
from vsalt.linear.networks import train, train_rounds
from vsalt.linear.problem import Features, Problem

PROBLEM = Problem([1.0, 0.7, 1.2], [0.9, 0.75, 0.6])
DEPTHS = (1, 2, 3)
START = 0.3
"""u0; small enough for a plateau, large enough for JEPA to leave it within 1e4 steps."""
_LEARNING_RATE = 0.01
_LONG = 400.0
_ALIGNED = Aligned()


def matrix_rows() -> Iterator[Row]:
    """Yield all checks of trained matrices."""
    yield from _descent()
    yield from _rotated()
    yield from _conservation()
    yield from _salt_is_mae()
    yield from _students()


def _network(depth: int) -> Network:
    return Network(depth=depth, eps=START**depth)


def _descent() -> Iterator[Row]:
    for depth in DEPTHS:
        network = _network(depth)
        for name, method in methods_for(PROBLEM, network).items():
            yield row("gradient descent", f"{name}, L={depth}", _misfit(network, method))
    # Deep JEPA would take 1e6 steps, and deep encoders take small ones.
    network = _network(5)
    for name, method in methods_for(PROBLEM, network).items():
        if isinstance(method, Mae | Salt):
            error = _misfit(network, method, learning_rate=0.005)
            yield row("gradient descent", f"{name}, L=5", error)


def _misfit(
    network: Network,
    method: Method,
    data: Problem | Covariances = PROBLEM,
    init: Initialisation = _ALIGNED,
    rng: np.random.Generator | None = None,
    learning_rate: float = _LEARNING_RATE,
) -> float:
    """Return the largest distance of trained gains from the ODE, in shares of the final gain."""
    run = train(
        data,
        network,
        method,
        learning_rate=learning_rate,
        times=_moments(network, method),
        init=init,
        rng=rng,
    )
    ode = integrate(PROBLEM, network, method, run.times)
    return absolute_error((run.encoder - ode.encoder) / final_gain(PROBLEM, network, method), 0.0)


def _moments(network: Network, method: Method) -> Features:
    """Return times up to half as long again as the slowest feature takes."""
    slowest = critical_time(PROBLEM, network, method if isinstance(method, Mae | Salt) else Jepa())
    return np.linspace(0.0, 1.5 * slowest.max(), 40)


def _rotated() -> Iterator[Row]:
    """Features along a random basis, and layers that start as random rotations."""
    rng = np.random.default_rng(0)
    data = Covariances.of(PROBLEM, _rotation(rng))
    network = _network(2)
    for name, method in methods_for(PROBLEM, network).items():
        label = f"{name}, L=2, rotated features and layers"
        yield row("gradient descent", label, _misfit(network, method, data, Orthogonal(), rng))


def _rotation(rng: np.random.Generator) -> Matrix:
    return random_orthogonal((len(PROBLEM), len(PROBLEM)), rng)


def _conservation() -> Iterator[Row]:
    """From an unequal start; from an equal one, layers stay equal to the last bit.

    The drift is that of finite steps and falls with the learning rate.
    """
    times = np.linspace(0.0, 100.0, 20)
    for depth in (1, 2):
        network = Network(depth=depth, eps=START**depth, predictor_start=0.4)
        for name, method in methods_for(PROBLEM, network).items():
            run = train(PROBLEM, network, method, learning_rate=0.002, times=times)
            yield row("conservation", f"{name}, L={depth}, matrices", float(run.drift.max()))


def _salt_is_mae() -> Iterator[Row]:
    """A frozen rotation passes everything on; only the layout of the outputs changes."""
    times = np.linspace(0.0, 30.0, 20)
    rng = np.random.default_rng(1)
    for depth in DEPTHS:
        salt, mae = (
            train(PROBLEM, _network(depth), method, learning_rate=_LEARNING_RATE, times=times)
            for method in (FrozenTeacher(_rotation(rng)), Mae())
        )
        error = relative_error(salt.encoder, mae.encoder)
        yield row("SALT of t = 1 is MAE", f"L={depth}, matrices", error)


def _students() -> Iterator[Row]:
    """The frozen matrices of a teacher of depth 1, and students of several depths."""
    long = np.array([_LONG])
    for depth in DEPTHS:
        teacher, student = train_rounds(
            PROBLEM, [_network(1), _network(depth)], learning_rate=0.02, times=[long, long]
        )
        exponent = gain_exponent(PROBLEM, student.encoder[-1])
        error = absolute_error(exponent, 1.5 * depth / (depth + 1))
        yield row("exponent of the student", f"L={depth}, matrices", error)
        gains = Salt(converged_teacher(PROBLEM, _network(1)))
        error = max(
            relative_error(teacher.encoder[-1], gains.gain),
            relative_error(student.encoder[-1], final_gain(PROBLEM, _network(depth), gains)),
        )
        yield row("fixed point", f"salt, L={depth} after a teacher of L=1, matrices", error)
