"""The numbers behind each figure, against the theory's laws and numbers found independently.

Numbers without a formula are those of separate runs of the ODE and of gradient descent.
"""

from typing import Any

import numpy as np
import pytest

from vsalt.linear.figures import (
    collapse,
    conflicts,
    critical_times,
    data_models,
    learning_curves,
    moving_averages,
    rho_exponents,
    rounds,
    sets,
    stopped_teachers,
    trained_networks,
)


def _panel(numbers: dict[str, Any], depth: int, method: str) -> dict[str, Any]:
    return next(p for p in numbers["panels"] if (p["L"], p["method"]) == (depth, method))


def test_f1_lines_of_equal_time_go_through_the_middle() -> None:
    numbers = sets.compute(num_features=25, teacher_depth=3)
    by_name = {row["name"]: row for row in numbers["sets"]}
    assert [row["name"] for row in numbers["sets"]][2:] == ["λ = ρ^-0.5", "λ = ρ^-1", "λ = ρ^-2"]
    for name in ("λ = ρ^-0.5", "λ = ρ^-1", "λ = ρ^-2"):
        assert by_name[name]["spearman"] == pytest.approx(-1)
    assert abs(by_name["λ independent of ρ"]["spearman"]) < 0.1
    row = by_name["λ = ρ^-1"]
    # lambda rho^(3/4) is the same all along SALT's line.
    speed = row["salt_curve"] * row["rho"] ** 0.75
    np.testing.assert_allclose(speed, speed[0])
    # With lambda = rho^-e, e above 3/4, noisy features lie above SALT's line and come first.
    assert row["lambda"][0] > row["salt_curve"][0]
    assert by_name["λ = ρ^-0.5"]["lambda"][0] < by_name["λ = ρ^-0.5"]["salt_curve"][0]


FAN = {
    ("MAE", 1): 0.940,
    ("MAE", 3): 1.009,
    ("MAE", 5): 1.019,
    ("SALT", 1): 1.254,
    ("SALT", 3): 1.647,
    ("SALT", 5): 1.780,
    ("JEPA", 1): 1.038,
    ("JEPA", 3): 1.631,
    ("JEPA", 5): 4.124,
}


def test_f2_fans() -> None:
    numbers = learning_curves.compute(rho=(0.5, 0.8, 0.95), num_points=40)
    for (method, depth), ratio in FAN.items():
        times = _panel(numbers, depth, method)["critical_time"]
        assert times[0] / times[-1] == pytest.approx(ratio, abs=6e-4), (method, depth)
    for depth in (1, 3, 5):
        jepa, ema = (_panel(numbers, depth, method)["critical_time"] for method in ("JEPA", "EMA"))
        assert np.all(ema > jepa)
        assert abs(np.log(ema[0] / ema[-1])) < abs(np.log(jepa[0] / jepa[-1]))


def test_f2_curves_rise_through_the_critical_point() -> None:
    numbers = learning_curves.compute(rho=(0.5, 0.95), depths=(3,), num_points=400)
    rho = numbers["rho"]
    for method, power in (("MAE", 3 / 4), ("SALT", 21 / 16), ("JEPA", 3), ("EMA", 3)):
        panel = _panel(numbers, 3, method)
        for index in range(2):
            share = 0.9 + 0.1 * 0.01 / rho[index] ** power
            found = np.interp(share, panel["gain_share"][:, index], panel["time"][:, index])
            assert found == pytest.approx(panel["critical_time"][index], rel=5e-3)


def test_f3_trained_matrices_lie_on_the_lines() -> None:
    numbers = trained_networks.compute(
        depths=(2,), eps=0.2, learning_rate=0.015, ema_time=3.0, num_dots=5, num_points=6
    )
    for panel in numbers["panels"]:
        assert 1e-5 < panel["error"] < 1e-2, panel["method"]
        np.testing.assert_allclose(
            panel["trained_gain"][-1], panel["gain"][-1], rtol=1e-2, err_msg=panel["method"]
        )
    finals = {panel["method"]: panel["final_gain"] for panel in numbers["panels"]}
    for method, power in (("MAE", 2 / 3), ("SALT", 10 / 9), ("JEPA", 2), ("EMA", 2)):
        np.testing.assert_allclose(finals[method], numbers["rho"] ** power)


def test_f4_slopes() -> None:
    numbers = critical_times.compute(depths=(2, 3, 5), eps=(1e-15, 1e-12), num_eps=2)
    decades = np.log(1e3)
    for panel in numbers["panels"]:
        depth = panel["L"]
        for what in ("time", "gap"):
            slopes = {
                name: float(np.log(values[1] / values[0]) / decades)
                for name, values in panel[what].items()
            }
            moving, fixed = (2 * depth - 1, depth - 1) if what == "time" else (2 * depth - 2, 0)
            assert slopes["JEPA"] == pytest.approx(-moving / depth, abs=6e-3)
            assert slopes["MAE"] == pytest.approx(-fixed / depth, abs=6e-3)
            assert slopes["SALT"] == pytest.approx(-(depth - 1) / depth, abs=6e-3)
        expected = panel["slope"] | {f"gap {k}": v for k, v in panel["gap_slope"].items()}
        assert expected["JEPA"] == -(2 * depth - 1) / depth
        assert expected["gap JEPA"] == -(2 * depth - 2) / depth
        assert panel["laurent"][0] == pytest.approx(panel["time"]["JEPA"][0], rel=1e-6)
        assert panel["leading_gap"][0] == pytest.approx(panel["gap"]["JEPA"][0], rel=1e-2)


def test_f4_a_single_layer_waits_for_logarithms() -> None:
    numbers = critical_times.compute(depths=(1,), eps=(1e-12, 1e-9), num_eps=2)
    panel = numbers["panels"][0]
    assert panel["time"]["MAE"][0] - panel["time"]["MAE"][1] == pytest.approx(np.log(1e3), rel=1e-6)
    gap = panel["gap"]["JEPA"]
    assert gap[0] - gap[1] == pytest.approx(np.log(1e3) * (1 / 0.4 - 1 / 0.8), rel=1e-4)


KAPPA = {
    1: [0.13, 0.18, 0.23, 0.25, 0.26, 0.26, 0.25, 0.25, 0.24],
    2: [0.09, 0.20, 0.46, 0.72, 0.93, 1.08, 1.18, 1.24, 1.26],
    3: [0.07, 0.15, 0.37, 0.68, 1.08, 1.49, 1.84, 2.09, 2.23],
    5: [0.06, 0.13, 0.30, 0.53, 0.89, 1.46, 2.27, 3.16, 3.88],
    8: [0.06, 0.12, 0.27, 0.48, 0.76, 1.21, 1.98, 3.39, 5.37],
}


@pytest.mark.parametrize("depth", KAPPA)
def test_f5_kappa(depth: int) -> None:
    x = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    np.testing.assert_allclose(rho_exponents.jepa_kappa(depth, x), KAPPA[depth], atol=2e-2)


def test_f5_crossings() -> None:
    numbers = rho_exponents.compute(num_x=5)
    found = {curve["L"]: curve["crossing"] for curve in numbers["curves"]}
    assert np.isnan(found[1])
    for depth, crossing in ((2, 0.28), (3, 0.32), (5, 0.39), (8, 0.44)):
        assert found[depth] == pytest.approx(crossing, abs=0.01)
    assert [curve["salt"] for curve in numbers["curves"]] == pytest.approx(
        [1 / 2, 2 / 3, 3 / 4, 5 / 6, 8 / 9]
    )


SHARES = {
    (1e-2, "SALT"): [0.10, 0.17, 0.21, 0.25, 0.27],
    (1e-2, "SALT ×2"): [0.15, 0.29, 0.35, 0.41, 0.45],
    (1e-2, "JEPA"): [0.02, 0.11, 0.27, 0.59, 0.66],
    (1e-3, "SALT"): [0.11, 0.18, 0.20, 0.23, 0.25],
    (1e-3, "SALT ×2"): [0.17, 0.29, 0.34, 0.39, 0.42],
    (1e-3, "JEPA"): [0.00, 0.03, 0.09, 0.33, 0.62],
    (1e-4, "SALT"): [0.11, 0.18, 0.20, 0.23, 0.24],
    (1e-4, "SALT ×2"): [0.18, 0.29, 0.34, 0.38, 0.41],
    (1e-4, "JEPA"): [0.00, 0.00, 0.04, 0.14, 0.46],
}


def test_f6_shares_of_pairs() -> None:
    numbers = conflicts.compute(num_eps=2)
    for row in numbers["shares"]:
        assert max(row["MAE"]) < 0.02
        for name in ("SALT", "SALT ×2", "JEPA"):
            # Both are samples, of 4000 and of 1500 pairs.
            np.testing.assert_allclose(row[name], SHARES[row["eps"], name], atol=0.03)


def test_f6_borders() -> None:
    pair = (0.9, 0.45)
    for depth, border in ((1, 0.707), (2, 0.630), (3, 0.595), (5, 0.561)):
        assert conflicts.critical_ratio("SALT", pair, depth, 1e-9) == pytest.approx(
            border, abs=5e-2 if depth == 1 else 2e-3
        )
    # t_A / t_B at lambda_A / lambda_B = 1/2 is twice the border.
    for depth, ratio in ((2, 1.88), (3, 1.66), (5, 1.02), (8, 0.19)):
        assert 2 * conflicts.critical_ratio("JEPA", pair, depth, 1e-3) == pytest.approx(
            ratio, abs=6e-3
        )
    assert conflicts.critical_ratio("JEPA", pair, 6, 1e-2) == 0


def test_f7_exponents() -> None:
    numbers = rounds.compute(gain_depth=3)
    assert numbers["slopes"] == pytest.approx({"MAE": 3 / 4, "SALT": 21 / 16, "JEPA": 3})
    for row in numbers["staircases"]:
        depth = row["L"]
        exponent = 0.0
        for measured, formula in zip(row["measured"], row["formula"], strict=True):
            exponent = (1 + exponent) * depth / (depth + 1)
            assert measured == pytest.approx(exponent, abs=1e-9)
            assert formula == pytest.approx(exponent, abs=1e-12)
    kept = [row["measured"][1] / row["L"] for row in numbers["staircases"]]
    assert kept == pytest.approx([0.75, 0.56, 0.44, 0.31, 0.21], abs=6e-3)


def test_f8_counts_and_exponents() -> None:
    numbers = stopped_teachers.compute(shares=(0.2, 0.5, 0.8), seeds=4)
    counts = numbers["inherited"].mean(axis=0)
    np.testing.assert_allclose(counts, [15, 32, 48], atol=2.5)
    assert numbers["inherited"].max() <= 60
    np.testing.assert_allclose(numbers["a"].mean(axis=0), [-4.17, -4.71, -2.85], atol=0.3)
    assert numbers["converged"]["a"] == pytest.approx(-1, abs=0.02)
    assert numbers["converged"]["b"] == pytest.approx(-0.76, abs=0.02)
    assert numbers["mae"]["a"] == pytest.approx(-1, abs=0.02)
    assert numbers["mae"]["b"] == pytest.approx(0, abs=0.02)


def test_f8_what_is_lost_is_weak_rather_than_noisy() -> None:
    shown = stopped_teachers.compute(shares=(0.5,), seeds=1)["shown"]
    got = shown["is_inherited"]
    assert shown["lambda"][got].mean() == pytest.approx(1.18, abs=0.1)
    assert shown["lambda"][~got].mean() == pytest.approx(0.36, abs=0.06)
    assert shown["lambda"][got].min() > 0.95 * shown["lambda"][~got].max()
    assert abs(shown["rho"][got].mean() - shown["rho"][~got].mean()) < 0.15


def test_f9_both_limits() -> None:
    numbers = moving_averages.compute(ema_range=(1e-3, 1e7), num_times=2, num_formula=2)
    for what in ("ratio", "kappa"):
        fast, slow = numbers[what]
        assert fast == pytest.approx(numbers[f"limit_{what}"]["jepa"][0], abs=1e-3)
        assert slow == pytest.approx(numbers[f"limit_{what}"]["slow"][0], abs=1e-3)
        assert fast == pytest.approx(numbers[f"limit_{what}"]["fast"][0], abs=1e-3)
    # 0.69 and 1.22 hold at 0.9 m*, a little sooner than 0.9 of the way from eps to m*.
    assert numbers["ratio"] == pytest.approx([0.684, 1.170], abs=2e-3)
    assert numbers["kappa"][1] < -0.1


def test_f9_between_the_limits() -> None:
    numbers = moving_averages.compute(ema_range=(1.0, 100.0), num_times=3, num_formula=3)
    assert np.all(np.diff(numbers["ratio"]) > 0)
    np.testing.assert_allclose(numbers["ratio"], [0.69, 0.74, 0.97], atol=0.02)
    fast = numbers["limit_ratio"]["fast"]
    np.testing.assert_allclose(numbers["ratio"][:2], fast[:2], rtol=5e-3)


ORDERS = {
    "λ = ρ^-0.5": {
        "MAE": [-1, -1, -1, -1],
        "SALT": [-1, 1, 1, 1],
        "JEPA": [-1, -0.89, 0.98, 0.98],
        "slow EMA": [-1, -1, -1, -1],
    },
    "λ = ρ^-1": {
        "MAE": [-1, -1, -1, -1],
        "SALT": [-1, -1, -1, -1],
        "SALT ×2": [-1, 1, 1, 1],
        "JEPA": [-1, -1, -0.27, 0.05],
    },
    "λ = ρ^-2": {
        "MAE": [-1, -1, -1, -1],
        "SALT": [-1, -1, -1, -1],
        "SALT ×2": [-1, -1, -1, -1],
        "JEPA": [-1, -1, -1, -0.95],
    },
    "equal λ": {"MAE": [-1, -1, 1, 1], "SALT": [1, 1, 1, 1], "JEPA": [1, 1, 1, 1]},
    "AR(1)": {"MAE": [-1, -1, -1, -1], "SALT": [-1, -1, -1, -1]},
}
VARIANCE = {
    "MAE": [0.26, 0.30, 0.32, 0.33, 0.35],
    "SALT": [0.32, 0.40, 0.45, 0.51, 0.54],
    "JEPA": [0.37, 0.62, 0.81, 0.96, 1.00],
}


def test_f10_orders_and_variance_shares() -> None:
    numbers = data_models.compute(seeds=4, num_samples=20_000)
    for name, methods in ORDERS.items():
        for method, expected in methods.items():
            np.testing.assert_allclose(
                numbers["spearman"][name][method], expected, atol=0.011, err_msg=f"{name} {method}"
            )
    # AR(1) differs from 1/rho only in being a series; the sparse orders of JEPA are its own.
    np.testing.assert_allclose(
        numbers["spearman"]["AR(1)"]["JEPA"], numbers["spearman"]["λ = ρ^-1"]["JEPA"], atol=1e-9
    )
    stopped = numbers["spearman"]["λ = ρ^-0.5"]["SALT, teacher at 50 %"]
    assert all(-1 <= value <= -0.7 for value in stopped)
    assert numbers["variance_input"] == pytest.approx(0.17, abs=6e-3)
    for method, expected in VARIANCE.items():
        np.testing.assert_allclose(numbers["variance"][method], expected, atol=7e-3)
        np.testing.assert_allclose(numbers["variance_sampled"][method], expected, atol=3e-2)
    assert max(numbers["spread"]["equal λ"]["MAE"][1:]) < 0.03
    independent = numbers["spearman"]["λ independent of ρ"]
    np.testing.assert_allclose(independent["JEPA"], [0.06, 0.43, 0.76, 0.78], atol=0.2)
    np.testing.assert_allclose(independent["SALT"], [0.40, 0.65, 0.73, 0.76], atol=0.2)


def test_f11_threshold() -> None:
    numbers = collapse.compute(rho=(0.5, 0.6, 0.7), num_starts=11, checked_starts=(0.65,))
    np.testing.assert_allclose(numbers["threshold"] ** 2, np.array([0.25, 0.36, 0.49]) + 0.01)
    gains = numbers["integrated_gain"]["JEPA"][0]
    np.testing.assert_allclose(gains, [0, 0, 0.278], atol=1e-3)
    np.testing.assert_allclose(
        numbers["integrated_product"]["SALT"][0], numbers["whole_wanted"], rtol=1e-6
    )
    # From V(0) = 1 on every feature is lost, whatever its rho below 1.
    assert np.all(numbers["end_gain"]["JEPA"][-1] == 0)
    assert np.all(numbers["end_gain"]["SALT"] > 0)
    at = np.searchsorted(numbers["start"], numbers["threshold"])
    for index, row in enumerate(at):
        end = numbers["end_gain"]["JEPA"][:, index]
        assert np.all(end[:row] > 0)
        assert np.all(end[row:] < 1e-6)
