"""Curves keep their extremes, ends and gaps when they are thinned."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsalt.report.series import MOST_POINTS, finite, segments, series_of, thin

values = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


@given(st.lists(values, min_size=21, max_size=120))
def test_thinning_keeps_extremes_ends_and_gaps(found: list[float | None]) -> None:
    points = [(float(step), value) for step, value in enumerate(found)]
    thinned = thin(points, 20)
    assert len(thinned) <= 20
    assert set(thinned) <= set(points)
    assert list(thinned) == sorted(thinned, key=lambda point: point[0])
    assert thinned[0] == points[0]
    assert thinned[-1] == points[-1]
    measured = [value for value in found if value is not None]
    kept = [value for _, value in thinned if value is not None]
    assert [min(kept), max(kept)] == [min(measured), max(measured)] if measured else not kept
    assert (None in found) == any(value is None for _, value in thinned)


def test_a_single_spike_among_many_survives() -> None:
    points = [(float(step), 1.0) for step in range(100_000)]
    points[12_345] = (12_345.0, 9.0)
    points[67_890] = (67_890.0, -9.0)
    thinned = thin(points)
    assert len(thinned) <= MOST_POINTS
    assert (12_345.0, 9.0) in thinned
    assert (67_890.0, -9.0) in thinned


def test_short_curves_are_not_thinned() -> None:
    points = [(float(step), 0.5) for step in range(MOST_POINTS)]
    assert thin(points) == tuple(points)


def test_values_that_are_no_number_are_gaps_and_absent_keys_are_not() -> None:
    records = [
        {"step": 1, "loss": 1.5},
        {"step": 2},
        {"step": 3, "loss": None},
        {"step": 4, "loss": "high"},
        {"step": 5, "loss": 2},
        {"step": 6, "loss": math.inf},
    ]
    curve = series_of(records, "loss", name="run")
    assert curve is not None
    assert curve.points == ((1, 1.5), (3, None), (4, None), (5, 2.0), (6, None))
    assert segments(curve.points) == [[(1, 1.5)], [(5, 2.0)]]
    assert series_of(records, "rankme", name="run") is None


@pytest.mark.parametrize("value", [None, "1", True, math.nan, -math.inf, [1]])
def test_what_is_no_finite_number(value: object) -> None:
    assert finite(value) is None
