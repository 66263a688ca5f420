"""Actual deep linear networks: matrices, trained by gradient descent, to lay over the theory.

`train` gives what `vsalt.linear.dynamics.integrate` gives, and `hitting_times` what its namesake
there gives, measured on matrices. Time is that of `vsalt.linear.dynamics`: n steps of learning rate
lr are t = n lr. A feature's gain is the norm of what a matrix makes of the feature's unit vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vsalt.errors import NonFiniteError, report_problems
from vsalt.linear.covariances import Covariances, Matrix
from vsalt.linear.descent import Descent, FrozenTeacher, MatrixMethod, fixed_target
from vsalt.linear.dynamics import Curves, Times
from vsalt.linear.initialisations import Aligned, Initialisation, Weights
from vsalt.linear.methods import Mae, Network
from vsalt.linear.problem import Features, Problem

_ALIGNED = Aligned()


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedRun:
    """Gains over time, as in `vsalt.linear.dynamics.Trajectory`, and the matrices behind them.

    Attributes:
        times: when, each a whole number of steps times the learning rate.
        encoder: ||W b|| of every feature b.
        predictor: ||V W b|| / ||W b||; 0 where W b is.
        target: ||G b||.
        encoders: W at each time, shape (times, width, inputs); any of them can teach.
        drift: `Descent.drift` at each time.
        weights: all matrices at the last time.
    """

    times: Times
    encoder: Curves
    predictor: Curves
    target: Curves
    encoders: npt.NDArray[np.float64]
    drift: Times
    weights: Weights

    @property
    def teacher(self) -> FrozenTeacher:
        """The last encoder, as the teacher of another network."""
        return FrozenTeacher(self.encoders[-1])


def train(
    data: Problem | Covariances,
    network: Network,
    method: MatrixMethod,
    *,
    learning_rate: float,
    times: Times,
    init: Initialisation | Weights = _ALIGNED,
    rng: np.random.Generator | None = None,
) -> TrainedRun:
    """Train matrices by full-batch gradient descent and record their gains.

    Args:
        data: covariances, or a problem whose features are the axes.
        network: depths, scales and the predictor's relative learning rate.
        method: what is predicted.
        learning_rate: lr; 0.01 keeps gains within 1e-2 of gradient flow for covariances of about 1.
        times: when to record, rising from 0 or later; each is taken at the nearest step.
        init: how the matrices start, or the matrices themselves.
        rng: for random starts.

    Raises:
        ConfigError: if settings do not fit each other.
        NonFiniteError: if the weights become infinite.

    Example:
        >>> from vsalt.linear.methods import Mae
        >>> run = train(Problem([1.0], [0.5]), Network(depth=1, eps=0.1), Mae(),
        ...             learning_rate=0.01, times=np.array([0.0, 30.0]))
        >>> run.encoder.round(3).tolist()  # ends at rho^(1/2)
        [[0.1], [0.707]]
    """
    covariances = _covariances(data)
    descent = _begin(covariances, network, method, learning_rate, init, rng)
    steps = _steps(times, learning_rate)
    encoders, predictors, targets, drift = [], [], [], []
    for step in steps:
        with np.errstate(over="ignore", invalid="ignore"):
            descent.advance(step - descent.num_steps)
        _require_finite(descent)
        encoders.append(descent.encoder)
        predictors.append(descent.predictor @ descent.encoder)
        targets.append(descent.target)
        drift.append(descent.drift())
    encoder, whole = (_gains(np.stack(m), covariances.basis) for m in (encoders, predictors))
    return TrainedRun(
        times=np.array(steps) * learning_rate,
        encoder=encoder,
        predictor=np.divide(whole, encoder, out=np.zeros_like(whole), where=encoder > 0),
        target=_gains(np.stack(targets), covariances.basis),
        encoders=np.stack(encoders),
        drift=np.array(drift),
        weights=descent.weights,
    )


def train_rounds(
    data: Problem | Covariances,
    networks: Sequence[Network],
    *,
    learning_rate: float,
    times: Sequence[Times],
    init: Initialisation = _ALIGNED,
    rng: np.random.Generator | None = None,
) -> list[TrainedRun]:
    """Train networks in a row: an MAE, then each on the frozen last encoder of the one before.

    Args:
        data: covariances, or a problem whose features are the axes.
        networks: one for each round, at least one; teacher and student may differ in depth.
        learning_rate: lr of every round.
        times: when to record, for each round; its last time is where the round stops.
        init: how the matrices of every round start.
        rng: for random starts; all rounds draw from it in turn.

    Raises:
        ConfigError: if settings do not fit each other.
        NonFiniteError: if the weights become infinite.
    """
    if not networks or len(networks) != len(times):
        report_problems(
            [
                f"there are {len(networks)} networks and {len(times)} lists of times; each round "
                "has one of both"
            ]
        )
    runs: list[TrainedRun] = []
    for network, moments in zip(networks, times, strict=True):
        runs.append(
            train(
                data,
                network,
                runs[-1].teacher if runs else Mae(),
                learning_rate=learning_rate,
                times=moments,
                init=init,
                rng=rng,
            )
        )
    return runs


def hitting_times(
    data: Problem | Covariances,
    network: Network,
    method: MatrixMethod,
    gains: Features,
    *,
    learning_rate: float,
    limit: float,
    init: Initialisation | Weights = _ALIGNED,
    rng: np.random.Generator | None = None,
) -> Features:
    """Return when the encoder's gain of each feature first reaches a given one.

    Between two steps the gain is taken as linear.

    Args:
        data: covariances, or a problem whose features are the axes.
        network: depths, scales and the predictor's relative learning rate.
        method: what is predicted.
        gains: one gain for each feature, as `vsalt.linear.closed_form.learned_gain` gives them.
        learning_rate: lr.
        limit: time after which features that are not learned are given up.
        init: how the matrices start, or the matrices themselves.
        rng: for random starts.

    Returns:
        Times; 0 for gains that are not above the start, inf for those that are never reached.

    Raises:
        ConfigError: if settings do not fit each other.
        NonFiniteError: if the weights become infinite.
    """
    covariances = _covariances(data)
    descent = _begin(covariances, network, method, learning_rate, init, rng)
    now = _gains(descent.encoder, covariances.basis)
    found = np.where(gains <= now, 0.0, np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        while np.isinf(found).any() and descent.num_steps * learning_rate < limit:
            before = now
            descent.advance(1)
            now = _gains(descent.encoder, covariances.basis)
            hit = np.isinf(found) & (now >= gains)
            if hit.any():
                share = (gains[hit] - before[hit]) / (now[hit] - before[hit])
                found[hit] = (descent.num_steps - 1 + share) * learning_rate
    _require_finite(descent)
    return found


def _begin(
    covariances: Covariances,
    network: Network,
    method: MatrixMethod,
    learning_rate: float,
    init: Initialisation | Weights,
    rng: np.random.Generator | None,
) -> Descent:
    if not isinstance(init, Weights):
        init = init.draw(network, len(covariances), _orientation(covariances, method), rng)
    depths = (len(init.encoder), len(init.predictor))
    if depths != (network.depth, network.predictor_depth):
        report_problems(
            [
                f"the weights have {depths[0]} layers and {depths[1]} of a predictor, the network "
                f"{network.depth} and {network.predictor_depth}"
            ]
        )
    return Descent(
        covariances,
        method,
        init,
        learning_rate=learning_rate,
        predictor_rate=network.predictor_rate,
    )


def _orientation(covariances: Covariances, method: MatrixMethod) -> Matrix | None:
    """Return O of the target O diag(t): what is left of it when all its gains are made 1."""
    target = fixed_target(covariances, method)
    if isinstance(method, FrozenTeacher):
        left, _, right = np.linalg.svd(method.matrix, full_matrices=False)
        turned: Matrix = left @ right
        return turned
    # Gains given as numbers are along the features themselves, as is y.
    return None if target is None else np.eye(len(covariances))


def _require_finite(descent: Descent) -> None:
    if not descent.is_finite():
        raise NonFiniteError(
            f"the weights are not finite after {descent.num_steps} steps; lower learning_rate"
        )


def _steps(times: Times, learning_rate: float) -> list[int]:
    moments = np.asarray(times, dtype=np.float64)
    if moments.ndim != 1 or not moments.size or moments[0] < 0 or np.any(np.diff(moments) < 0):
        report_problems(["times must be a list that rises from 0 or later"])
    return [int(step) for step in np.rint(moments / learning_rate)]


def _covariances(data: Problem | Covariances) -> Covariances:
    return data if isinstance(data, Covariances) else Covariances.of(data)


def _gains(matrices: Matrix, basis: Matrix) -> npt.NDArray[np.float64]:
    """Return the norms of all matrices' columns along the features."""
    norms: npt.NDArray[np.float64] = np.linalg.norm(matrices @ basis, axis=-2)
    return norms
