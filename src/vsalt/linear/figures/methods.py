"""The methods that figures compare, by name, for a problem and a network."""

from dataclasses import replace

from vsalt.linear.closed_form import critical_time
from vsalt.linear.dynamics import integrated_critical_time
from vsalt.linear.frozen import frozen_rounds
from vsalt.linear.methods import Ema, Jepa, Mae, Method, Network, Salt
from vsalt.linear.problem import Features, Problem

MAE, SALT, SALT_TWICE, JEPA, EMA = "MAE", "SALT", "SALT ×2", "JEPA", "EMA"

FRACTION = 0.9
"""Share of the way from eps to the final gain at which a feature counts as learned."""


def method(name: str, problem: Problem, network: Network, *, ema_time: float = 1.0) -> Method:
    """Return a method by name; teachers are converged, of the student's own depth.

    SALT ×2 is taught by a SALT student: the third round of freezing, where an MAE is the first.
    Teachers start balanced, however the student does.
    """
    teacher = replace(network, predictor_rate=1.0, predictor_start=None)
    match name:
        case "MAE":
            return Mae()
        case "SALT":
            return Salt(frozen_rounds(problem, teacher, 1)[-1])
        case "SALT ×2":
            return Salt(frozen_rounds(problem, teacher, 2)[-1])
        case "JEPA":
            return Jepa()
        case "EMA":
            return Ema(time=ema_time)
    raise ValueError(f"no method is called {name}")


def learning_times(name: str, problem: Problem, depth: int, eps: float) -> Features:
    """Return the exact critical times of a method but EMA."""
    network = Network(depth=depth, eps=eps)
    return critical_time(problem, network, method(name, problem, network), fraction=FRACTION)


def ema_times(problem: Problem, network: Network, ema_time: float) -> Features:
    """Return the critical times under a moving average, integrated."""
    return integrated_critical_time(problem, network, Ema(time=ema_time), fraction=FRACTION)
