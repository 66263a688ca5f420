"""Which features each method would learn first, and what a stopped teacher would pass on.

Encoder, teacher and student have the same depth and start; time is that of
`vsalt.linear.dynamics`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from vsalt.linear.closed_form import critical_time, final_gain
from vsalt.linear.dynamics import Times
from vsalt.linear.frozen import converged_teacher, stop_time, stopped_teacher
from vsalt.linear.measures import earliness_correlation
from vsalt.linear.methods import Jepa, Mae, Method, Network, Salt
from vsalt.linear.problem import Features, Problem


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecast:
    """What one method does with the features.

    Attributes:
        name: mae, jepa, salt, or salt@share of a stopped teacher.
        times: when each feature has come 0.9 of its way; inf: never.
        gain: the encoder's gain of each feature at the end.
        stop: of a stopped teacher; None for all others.
    """

    name: str
    times: Times
    gain: Features
    stop: "Stop | None" = None

    @property
    def ranks(self) -> list[int | None]:
        """The order of learning from 1; None: never learned."""
        ranks = rankdata(self.times, method="ordinal")
        finite = np.isfinite(self.times)
        return [int(rank) if ok else None for rank, ok in zip(ranks, finite, strict=True)]

    def earliness(self, values: Features) -> float | None:
        """Return Spearman's correlation of being early with values.

        None for under 3 features, and where there is no order, as where none is ever learned.
        """
        found = earliness_correlation(self.times, values) if len(values) > 2 else np.nan
        return found if np.isfinite(found) else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Stop:
    """A teacher (an MAE) that was stopped.

    Attributes:
        share: of its features that it had learned.
        time: when that was.
        time_share: of the time in which it learns all features that it ever learns.
        gain: t of every feature.
        passed_on: whether each feature's gain was above half of its final one.
    """

    share: float
    time: float
    time_share: float
    gain: Features
    passed_on: np.ndarray


def forecasts(problem: Problem, network: Network, shares: Sequence[float] = ()) -> list[Forecast]:
    """Return what MAE, JEPA, SALT of a converged teacher and of stopped ones learn, and when.

    Args:
        problem: the features.
        network: of all encoders.
        shares: a teacher is stopped when it has learned this share of its features.
    """
    found = [
        _forecast("mae", problem, network, Mae()),
        _forecast("jepa", problem, network, Jepa()),
        _forecast("salt", problem, network, Salt(converged_teacher(problem, network))),
    ]
    for share in shares:
        stop = _stop(problem, network, share)
        found.append(_forecast(f"salt@{share:g}", problem, network, Salt(stop.gain), stop))
    return found


def _forecast(
    name: str, problem: Problem, network: Network, method: Method, stop: Stop | None = None
) -> Forecast:
    return Forecast(
        name=name,
        times=critical_time(problem, network, method),
        gain=final_gain(problem, network, method),
        stop=stop,
    )


def _stop(problem: Problem, network: Network, share: float) -> Stop:
    times = critical_time(problem, network, Mae())
    last = float(times[np.isfinite(times)].max(initial=0.0))
    # Some features are never learned where rho is very small; there is nothing to wait for.
    time = min(stop_time(problem, network, share), last)
    gain = stopped_teacher(problem, network, time)
    return Stop(
        share=share,
        time=time,
        time_share=time / last if last else 1.0,
        gain=gain,
        passed_on=gain > converged_teacher(problem, network) / 2,
    )
