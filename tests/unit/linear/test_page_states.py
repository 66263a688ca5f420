"""States of the page: addresses, ready-made pairs, and what is said of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.javascript import evaluate
from vsalt.linear.closed_form import critical_time
from vsalt.linear.frozen import stop_time, stopped_teacher
from vsalt.linear.methods import Jepa, Mae, Network, Salt
from vsalt.linear.page.render import SCRIPTS, part
from vsalt.linear.problem import Problem

WITHOUT_BROWSER = "".join(part(name) for name in SCRIPTS[:-2])
DEFAULT = "presetState(PRESETS[0])"


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    expression = (
        "PRESETS.map(preset => { const results = compute(presetState(preset), false); return {"
        "name: preset.name, state: results.state, sentence: sentence(results),"
        "gains: gainsSentence(results), teacher: teacherSentence(results),"
        "first: METHODS.map(kind => whoIsFirst(results.methods[kind].times).first)}; })"
    )
    answer: list[dict[str, Any]] = evaluate(
        WITHOUT_BROWSER, expression, tmp_path_factory.mktemp("presets")
    )
    return answer


def python_firsts(state: dict[str, Any]) -> list[str]:
    """Who is first by MAE, JEPA and SALT, computed by the library."""
    la, lb, ra, rb = (float(state[key]) for key in ("la", "lb", "ra", "rb"))
    problem = Problem([la, lb], [ra, rb])
    eps, P = 10.0 ** state["eps"], state["P"]
    network = Network(depth=state["L"], eps=eps, predictor_depth=P)
    teacher = Network(depth=state["LT"], eps=eps, predictor_depth=P)
    stop = np.inf if state["stop"] > 100 else stop_time(problem, teacher, 1.0) * state["stop"] / 100
    salt = Salt(stopped_teacher(problem, teacher, stop))
    times = [critical_time(problem, network, method) for method in (Mae(), Jepa(), salt)]
    return ["A" if one < other else "B" for one, other in times]


def test_ready_made_pairs_do_what_their_names_say(presets: list[dict[str, Any]]) -> None:
    # A is the predictable feature, B the stronger one; MAE, JEPA, SALT, EMA.
    expected = {
        "JEPA flips it, a frozen teacher does not": "BABA",
        "A frozen teacher flips it too": "BAAA",
        "Tiny start: the frozen teacher alone": "BBAB",
        "A teacher stopped early does not": "BABA",
        "A slow average does not": "BAAB",
        "Deep: noise is shut out": "BABA",
    }
    assert {one["name"]: "".join(one["first"]) for one in presets} == expected
    for one in presets:
        assert one["first"][:3] == python_firsts(one["state"])


def test_the_default_shows_the_message(presets: list[dict[str, Any]]) -> None:
    assert presets[0]["sentence"] == (
        "MAE learns B, the stronger one, first; JEPA learns A, the more predictable one, first; "
        "a frozen converged teacher does not flip this pair: SALT learns B, the stronger one, "
        "first."
    )
    # (0.9 / 0.45)^e with e = 6/7, 6/7 (1 + 3/4) / 1 ... of L = 6 and a teacher of depth 3, and 6.
    ratios = [2 ** (6 / 7), 2 ** (6 / 7 * (1 + 3 / 4)), 2**6]
    for ratio in ratios:
        assert f" {float(f'{ratio:.3g}'):g} : 1" in presets[0]["gains"]
    assert "= 0.75; here 0.5 < 0.595." in presets[0]["teacher"]


def test_what_other_pairs_make_of_the_sentence(presets: list[dict[str, Any]]) -> None:
    assert "flips this pair as well: SALT learns A" in presets[1]["sentence"]
    assert presets[2]["sentence"].startswith("MAE and JEPA both learn B, the stronger one, first;")
    assert "a frozen early-stopped teacher does not flip this pair" in presets[3]["sentence"]
    assert "a moving average with T = 10⁵ learns B" in presets[4]["sentence"]
    assert "JEPA learns only A, the more predictable one;" in presets[5]["sentence"]


def test_sets_of_features_are_described(tmp_path: Path) -> None:
    expression = (
        "SETS.slice(1).map(set => compute({...presetState(PRESETS[1]), set}, false))"
        ".map(results => [sentence(results), results.features])"
    )
    (equal, features), (independent, mixed), (inverse, _) = evaluate(
        WITHOUT_BROWSER, expression, tmp_path
    )
    assert "MAE learns all within 2 % of the same time; JEPA goes by predictability" in equal
    assert "MAE goes by strength; JEPA leans towards predictability; SALT leans" in independent
    assert "MAE goes by strength" in inverse
    assert [len(features), len(mixed)] == [12, 12]
    lambdas, rhos = ([one[name] for one in mixed] for name in ("lambda", "rho"))
    assert abs(np.corrcoef(np.log(lambdas), rhos)[0, 1]) < 0.1


def test_every_state_comes_back_from_its_address(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    ranges = evaluate(WITHOUT_BROWSER, "SLIDERS", tmp_path)
    states = []
    for index in range(40):
        state: dict[str, Any] = {"set": ("pair", "inverse")[index % 2], "axis": "common"}
        for key, one in ranges.items():
            steps = round((one["high"] - one["low"]) / one["step"])
            state[key] = round(one["low"] + one["step"] * int(rng.integers(0, steps + 1)), 6)
        states.append(state)
    expression = f"{json.dumps(states)}.map(one => parseHash(stateHash(one), {DEFAULT}))"
    for state, back in zip(states, evaluate(WITHOUT_BROWSER, expression, tmp_path), strict=True):
        assert back == {"state": state, "problems": []}


def test_an_address_that_cannot_be_is_named_and_left(tmp_path: Path) -> None:
    address = "#L=17&eps=0&foo=3&set=all&la=x&ra=&stop=85&T"
    expression = f"parseHash({json.dumps(address)}, {DEFAULT})"
    found = evaluate(WITHOUT_BROWSER, expression, tmp_path)
    default = evaluate(WITHOUT_BROWSER, DEFAULT, tmp_path)
    assert found["state"] == {**default, "stop": 85}
    assert found["problems"] == [
        "L=17 (1 to 8)",
        "eps=0 (0.00001 to 0.1)",
        "foo=3 (no control has this name)",
        "set=all (one of pair, equal, independent, inverse)",
        "la=x (0.05 to 2)",
        "ra= (0.05 to 1)",
        "T (0.01 to 10000000)",
    ]


def test_curves_rise_from_the_start_to_the_end(tmp_path: Path) -> None:
    expression = f"compute({DEFAULT}, true).methods"
    methods = evaluate(WITHOUT_BROWSER, expression, tmp_path)
    assert set(methods) == {"mae", "jepa", "salt", "ema"}
    for method in methods.values():
        for curve, time, final in zip(
            method["curves"], method["times"], method["finals"], strict=True
        ):
            times, shares = np.array(curve).T
            assert np.all(np.diff(times) > 0)
            assert np.all(np.diff(shares) > 0)
            assert shares[0] == pytest.approx(1e-3 / final, rel=1e-2)
            assert shares[-1] == pytest.approx(1, rel=2e-4)
            learned = (1e-3 + 0.9 * (final - 1e-3)) / final
            assert np.interp(time, times, shares) == pytest.approx(learned, abs=0.01)


def test_numbers_are_written_short(tmp_path: Path) -> None:
    given = [0.5, 1e-4, 12.345, 9999.9, 23100, 1e6, 0]
    found = evaluate(WITHOUT_BROWSER, f"{json.dumps(given)}.map(short)", tmp_path)
    assert found == ["0.5", "1·10⁻⁴", "12.3", "10000", "2.31·10⁴", "1·10⁶", "0"]
    assert evaluate(WITHOUT_BROWSER, "[Infinity, NaN].map(short)", tmp_path) == ["never", "–"]
