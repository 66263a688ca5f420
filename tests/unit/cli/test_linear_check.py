"""`vsalt linear check`: rows, their errors, both outputs, and what is said without scipy."""

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vsalt.cli.main import main
from vsalt.linear import check, check_gains, check_times
from vsalt.linear.check_gains import gain_rows
from vsalt.linear.check_row import Row, absolute_error, relative_error, row
from vsalt.linear.check_times import golden_numbers, time_rows
from vsalt.linear.methods import Network
from vsalt.linear.tolerances import ALLOWED

GOOD = Row(name="kappa: jepa, L=3", error=1e-3, allowed=2e-2)
BAD = Row(name="fixed point: mae, L=1", error=3e-6, allowed=1e-6)
ENDLESS = Row(name="critical time: mae, L=2", error=math.inf, allowed=1e-6)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """What the verb finds in place of the real rows."""
    found: list[Row] = []
    monkeypatch.setattr(check, "check_rows", lambda: iter(found))
    return found


def test_json_is_a_list_of_rows_and_nothing_else(
    rows: list[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    rows += [GOOD]
    assert main(["linear", "check", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == [
        {"name": "kappa: jepa, L=3", "error": 0.001, "allowed": 0.02}
    ]
    assert printed.err == ""


def test_an_error_that_is_too_large_is_named_and_fails(
    rows: list[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    rows += [GOOD, BAD]
    assert main(["linear", "check"]) == 1
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == "1 of 2 errors are too large: fixed point: mae, L=1"
    assert text.count("too large") == 2
    assert main(["linear", "check", "--json"]) == 1


def test_an_error_without_a_number_is_null_and_fails(
    rows: list[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    rows += [ENDLESS]
    assert main(["linear", "check", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["error"] is None


def test_the_last_line_tells_how_many_hold(
    rows: list[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    rows += [GOOD, GOOD]
    assert main(["linear", "check"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "all 2 errors are within what is allowed"


def test_without_scipy_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert main(["linear", "check", "--json"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "pip install 'vsalt[linear]'" in printed.err


def test_help_needs_no_scipy(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['scipy'] = None\n"
        "from vsalt.cli.main import main; main(['linear', 'check', '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout


def test_the_table_of_allowed_errors() -> None:
    assert dict(ALLOWED) == {
        "fixed point": 1e-6,
        "critical time": 1e-6,
        "gradient descent": 2e-2,
        "conservation": 1e-4,
        "SALT of t = 1 is MAE": 1e-12,
        "fast EMA is JEPA": 1e-4,
        "rounds of freezing": 1e-12,
        "kappa": 2e-2,
        "exponent of the student": 1e-6,
    }


def test_errors_are_the_largest_and_never_no_number() -> None:
    assert relative_error([1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1)
    assert absolute_error([1.0, 2.2], 2.0) == pytest.approx(1.0)
    assert relative_error([np.inf, 1.0], [np.inf, 1.0]) == math.inf
    assert absolute_error([np.nan], [1.0]) == math.inf
    assert not row("kappa", "x", math.nan).ok
    assert row("kappa", "x", 2e-2).ok
    with pytest.raises(KeyError):
        row("a claim without a tolerance", "x", 0.0)


def test_formulas_ode_and_kept_numbers_agree() -> None:
    found = [*gain_rows(), *time_rows()]
    _hold(found)
    assert {row.name.partition(":")[0] for row in found} == set(ALLOWED) - {"gradient descent"}


@pytest.mark.slow
def test_everything_agrees_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["linear", "check", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(set(row) == {"name", "error", "allowed"} for row in rows)
    _hold([Row(**row) for row in rows])
    claims = Counter(row["name"].partition(":")[0] for row in rows)
    assert set(claims) == set(ALLOWED)
    assert claims["gradient descent"] >= 12


def _hold(rows: list[Row]) -> None:
    assert len(rows) >= 20
    assert len({row.name for row in rows}) == len(rows)
    assert [row for row in rows if not row.ok] == []


@pytest.mark.parametrize("claim", ["fixed point: mae", "fixed point: jepa", "rounds of freezing"])
def test_a_wrong_formula_is_found(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gain = check_gains.final_gain
    exponent = check_gains.round_exponent
    monkeypatch.setattr(check_gains, "final_gain", lambda *args: gain(*args) * (1 + 2e-6))
    monkeypatch.setattr(
        check_gains, "round_exponent", lambda *args, **kwargs: exponent(*args, **kwargs) + 2e-12
    )
    rows: Iterator[Row] = gain_rows()
    assert not next(row for row in rows if row.name.startswith(claim)).ok


def test_wrong_times_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = check_times.critical_time
    monkeypatch.setattr(
        check_times, "critical_time", lambda *args, **kwargs: exact(*args, **kwargs) * (1 + 2e-6)
    )
    rows = [row for row in time_rows() if row.name.startswith("critical time")]
    wrong = [row for row in rows if not row.ok]
    # The paper's sum does not go through the function.
    assert len(wrong) == len(rows) - 4


def test_kept_times_are_integrals_of_the_speed() -> None:
    """Those of one rho again, by another quadrature than the one that they were made with."""
    from scipy.integrate import quad

    golden = golden_numbers()["critical_times"]
    assert golden_numbers()["source"] == "derived, see docs/explanation/linear-theory.md"
    for case in golden["rows"]:
        if case["method"] == "salt" or case["eps"] != 1e-2:
            continue
        L, rho, time = case["depth"], golden["rho"][2], case["times"][2]
        network = Network(depth=L, eps=case["eps"])
        is_jepa = case["method"] == "jepa"
        final = rho**L if is_jepa else rho ** (L / (L + 1))
        end = (network.eps + golden["fraction"] * (final - network.eps)) ** (1 / L)

        def slowness(u: float, L: int = L, rho: float = rho, is_jepa: bool = is_jepa) -> float:
            return 1 / (u**L * ((u**L if is_jepa else 1.0) - u ** (L + 1) / rho))

        reference = quad(slowness, network.layer_start, end, epsabs=0, epsrel=1e-11, limit=200)[0]
        assert time == pytest.approx(reference, rel=1e-10), case
