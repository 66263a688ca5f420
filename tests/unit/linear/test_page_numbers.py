"""The page's JavaScript computes what the Python library computes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.javascript import evaluate
from vsalt.linear.closed_form import critical_time, final_gain, learned_gain
from vsalt.linear.dynamics import hitting_times
from vsalt.linear.frozen import stop_time, stopped_teacher
from vsalt.linear.measures import earliness_correlation
from vsalt.linear.methods import Ema, Jepa, Mae, Method, Network, Salt
from vsalt.linear.page.render import part
from vsalt.linear.page.self_test import self_test_rows
from vsalt.linear.problem import Problem

FORMULAS = part("gains.js")
AVERAGE = FORMULAS + part("moving_average.js")
NUM_CASES = 600


def plain(problem: Problem, network: Network, method: dict[str, Any]) -> dict[str, Any]:
    """The same case as the scripts take it."""
    return {
        "feature": {"lambda": float(problem.lambda_[0]), "rho": float(problem.rho[0])},
        "network": {
            "depth": network.depth,
            "predictorDepth": network.predictor_depth,
            "eps": network.eps,
        },
        "method": method,
    }


def random_setting(rng: np.random.Generator) -> tuple[Problem, Network]:
    # Rather more than the sliders reach; a part of the features is never learned.
    problem = Problem([rng.uniform(0.02, 3)], [rng.uniform(0.02, 1)])
    network = Network(
        depth=int(rng.integers(1, 9)),
        eps=float(10 ** rng.uniform(-6, -0.7)),
        predictor_depth=int(rng.integers(1, 5)),
    )
    return problem, network


def random_method(rng: np.random.Generator, index: int) -> tuple[Method, dict[str, Any]]:
    gain = float(rng.uniform(0.01, 1))
    return (
        (Mae(), {"kind": "mae"}),
        (Jepa(), {"kind": "jepa"}),
        (Salt(np.array([gain])), {"kind": "salt", "gain": gain}),
    )[index % 3]


def test_times_and_final_gains_agree_to_1e_9(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    cases, expected = [], []
    for index in range(NUM_CASES):
        problem, network = random_setting(rng)
        method, written = random_method(rng, index)
        fraction = float(rng.uniform(0.01, 0.999))
        cases.append({**plain(problem, network, written), "fraction": fraction})
        time = critical_time(problem, network, method, fraction=fraction)
        expected.append([time[0], final_gain(problem, network, method)[0]])
    expression = (
        f"{json.dumps(cases)}.map(({{feature, network, method, fraction}}) => "
        "[criticalTime(feature, network, method, fraction), finalGain(feature, network, method)])"
    )
    found = np.array(evaluate(FORMULAS, expression, tmp_path), dtype=float)
    assert 0 < np.isinf(found).sum() < NUM_CASES / 4
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-9, atol=0)


def test_a_stopped_teacher_agrees_to_1e_9(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    cases, expected = [], []
    for _ in range(20):
        problem, network = random_setting(rng)
        time = float(10 ** rng.uniform(0, 3))
        cases.append({**plain(problem, network, {}), "time": time})
        expected.append(stopped_teacher(problem, network, time)[0])
    expression = (
        f"{json.dumps(cases)}.map(({{feature, network, time}}) => "
        "teacherGain(feature, network, time))"
    )
    found = np.array(evaluate(FORMULAS, expression, tmp_path), dtype=float)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0)


def test_the_teacher_s_whole_training_ends_when_it_has_learned_all(tmp_path: Path) -> None:
    problem = Problem([0.8, 1.0, 0.3], [0.9, 0.45, 0.7])
    network = Network(depth=3, eps=1e-2)
    features = [
        {"lambda": float(one), "rho": float(other)}
        for one, other in zip(problem.lambda_, problem.rho, strict=True)
    ]
    setting = {"depth": 3, "predictorDepth": 1, "eps": 1e-2}
    expression = f"teacherTime({json.dumps(features)}, {json.dumps(setting)}, 0.9)"
    found = evaluate(FORMULAS, expression, tmp_path)
    assert found == pytest.approx(stop_time(problem, network, 1.0), rel=1e-12)


def test_the_moving_average_agrees_with_the_integrated_flow(tmp_path: Path) -> None:
    cases, expected = [], []
    for depth, eps, predictor_depth, average in (
        (1, 1e-3, 1, 0.1),
        (3, 1e-2, 1, 10.0),
        (3, 1e-2, 1, 1e6),
        (5, 1e-2, 1, 100.0),
        (4, 1e-2, 2, 1e3),
    ):
        problem = Problem([0.8], [0.9])
        network = Network(depth=depth, eps=eps, predictor_depth=predictor_depth)
        method = Ema(time=average)
        gains = learned_gain(eps, final_gain(problem, network, method))
        expected.append(hitting_times(problem, network, method, gains)[0])
        cases.append({**plain(problem, network, {}), "average": average})
    expression = (
        f"{json.dumps(cases)}.map(({{feature, network, average}}) => "
        "averageCurve(feature, network, average, 0.9).learned)"
    )
    found = evaluate(AVERAGE, expression, tmp_path)
    np.testing.assert_allclose(found, expected, rtol=2e-7, atol=0)


def test_order_correlations_agree(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    times = rng.uniform(1, 10, size=12)
    times[[2, 7]] = np.inf
    values = rng.integers(0, 5, size=12).astype(float)
    written = json.dumps([1e300 if np.isinf(time) else time for time in times])
    expression = (
        f"earlinessCorrelation({written}.map(t => t < 1e300 ? t : Infinity), "
        f"{json.dumps(values.tolist())})"
    )
    found = evaluate(FORMULAS, expression, tmp_path)
    assert found == pytest.approx(earliness_correlation(times, values), abs=1e-12)


def test_the_table_holds_on_this_machine_and_finds_a_wrong_number(tmp_path: Path) -> None:
    rows = self_test_rows()
    wrong = json.loads(json.dumps(rows))
    wrong[0]["time"] *= 1 + 1e-8
    wrong[5]["final"] *= 1 + 1e-8
    script = AVERAGE + part("table.js")
    expression = f"[{json.dumps(rows)}, {json.dumps(wrong)}].map(tableErrors)"
    good, bad = evaluate(script, expression, tmp_path)
    assert good == []
    assert len(bad) == 2
    assert bad[0].startswith("mae, L = 1")


def test_the_table_has_every_method_and_a_time_that_is_never_reached() -> None:
    rows = self_test_rows()
    assert {row["method"]["kind"] for row in rows} == {"mae", "jepa", "salt", "ema", "teacher"}
    assert sum(row.get("time", 0) is None for row in rows) >= 1
    assert all(row["allowed"] <= 1e-6 for row in rows)
