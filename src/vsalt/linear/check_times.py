"""Checks of when features are learned: formulas against the ODE and against kept numbers."""

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np

from vsalt.linear.asymptotics import laurent_remainder, laurent_time
from vsalt.linear.check_gains import DEPTHS, PROBLEM
from vsalt.linear.check_row import Row, absolute_error, methods_for, relative_error, row
from vsalt.linear.closed_form import critical_time
from vsalt.linear.dynamics import hitting_times, integrated_critical_time
from vsalt.linear.frozen import stopped_teacher
from vsalt.linear.measures import rho_exponent
from vsalt.linear.methods import Ema, Jepa, Network, Salt
from vsalt.linear.problem import Problem

FAST = Ema(time=1e-4)


def time_rows() -> Iterator[Row]:
    """Yield all checks of times."""
    yield from _integrated()
    yield from _stopped_teacher()
    yield from _paper_sum()
    yield from _fast_average()
    golden = golden_numbers()
    yield from _golden_times(golden["critical_times"])
    yield from _kappa(golden["jepa_kappa"])


def golden_numbers() -> dict[str, Any]:
    """Return the kept numbers; the file says where they come from."""
    found: dict[str, Any] = json.loads(
        files("vsalt.linear").joinpath("golden.json").read_text(encoding="utf-8")
    )
    return found


def _integrated() -> Iterator[Row]:
    networks = [(f"L={L}", Network(depth=L, eps=1e-2)) for L in DEPTHS]
    networks.append(("L=2, predictor of 2 layers", Network(depth=2, eps=1e-2, predictor_depth=2)))
    for label, network in networks:
        for name, method in methods_for(PROBLEM, network).items():
            if isinstance(method, Ema):
                continue
            error = relative_error(
                critical_time(PROBLEM, network, method),
                integrated_critical_time(PROBLEM, network, method),
            )
            yield row("critical time", f"{name}, {label}, formula against ODE", error)


def _stopped_teacher() -> Iterator[Row]:
    network = Network(depth=3, eps=1e-2)
    student = Salt(stopped_teacher(PROBLEM, network, 20.0))
    error = relative_error(
        critical_time(PROBLEM, network, student),
        integrated_critical_time(PROBLEM, network, student),
    )
    yield row("critical time", "salt, L=3, teacher stopped at t=20, formula against ODE", error)


def _paper_sum() -> Iterator[Row]:
    """The sum of arXiv 2407.03475, Theorem 4.5, and the part that it leaves as O(log eps)."""
    for depth in DEPTHS:
        network = Network(depth=depth, eps=1e-2)
        whole = laurent_time(PROBLEM, depth, 1e-2) + laurent_remainder(PROBLEM, depth, 1e-2, 0.9)
        reached = hitting_times(PROBLEM, network, Jepa(), 0.9 * PROBLEM.rho**depth)
        error = relative_error(whole, reached)
        yield row("critical time", f"jepa, L={depth}, Laurent sum with its remainder", error)


def _fast_average() -> Iterator[Row]:
    for depth in DEPTHS:
        network = Network(depth=depth, eps=1e-2)
        error = relative_error(
            integrated_critical_time(PROBLEM, network, FAST),
            critical_time(PROBLEM, network, Jepa()),
        )
        yield row("fast EMA is JEPA", f"L={depth}, critical times at T={FAST.time:g}", error)


def _golden_times(golden: dict[str, Any]) -> Iterator[Row]:
    rho = golden["rho"]
    problem = Problem(np.full(len(rho), golden["lambda"]), rho)
    for case in golden["rows"]:
        depth, eps, name = case["depth"], case["eps"], case["method"]
        network = Network(depth=depth, eps=eps)
        method = methods_for(problem, network)[name]
        found = critical_time(problem, network, method, fraction=golden["fraction"])
        error = relative_error(found, case["times"])
        yield row("critical time", f"{name}, L={depth}, eps={eps:g}, against quadrature", error)


def _kappa(golden: dict[str, Any]) -> Iterator[Row]:
    """JEPA's kappa depends on L and x = u0 / rho only, so one start serves for all x."""
    start, x = 0.05, np.array(golden["x"])
    problem = Problem(np.ones(len(x)), start / x)
    for case in golden["rows"]:
        depth = case["depth"]
        network = Network(depth=depth, eps=start**depth)

        def times(problem: Problem, network: Network = network) -> np.ndarray:
            return critical_time(problem, network, Jepa(), fraction=golden["fraction"])

        error = absolute_error(rho_exponent(problem, times), case["kappa"])
        yield row("kappa", f"jepa, L={depth}, x from {x[0]:g} to {x[-1]:g}", error)
