"""Ticks are round, hold the data, and have labels that tell them apart."""

from hypothesis import example, given
from hypothesis import strategies as st

from vsalt.report.scale import linear, logarithmic, spans_much

numbers = st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-9)


@given(numbers, numbers)
@example(1.0, 1.0 + 1e-12)
@example(0.001, 0.001 * (1 - 2e-12))
@example(5e-324, 5e-324)
@example(-5e-324, 0.0)
def test_a_linear_scale_holds_its_ends_between_ticks(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    scale = linear(low, high)
    room = 1e-6 * (scale.high - scale.low)
    assert scale.low - room <= low <= high <= scale.high + room
    assert 2 <= len(scale.ticks) <= 7
    assert list(scale.ticks) == sorted(set(scale.ticks))
    assert (scale.share(scale.low), scale.share(scale.high)) == (0, 1)


@given(st.floats(1e-12, 1e12), st.floats(1, 1e12))
def test_a_logarithmic_scale_holds_its_ends(low: float, ratio: float) -> None:
    scale = logarithmic(low, low * ratio)
    assert scale.low <= low * (1 + 1e-6)
    assert scale.high >= low * ratio * (1 - 1e-6)
    assert 2 <= len(scale.ticks) <= 8
    assert all(0 <= scale.share(tick) <= 1 + 1e-9 for tick in scale.ticks)


def test_known_scales() -> None:
    assert linear(0.0, 1.0).labels() == ("0", "0.25", "0.50", "0.75", "1.00")
    assert linear(0.0, 30_000.0).labels() == ("0", "10K", "20K", "30K")
    assert linear(0.0, 60.0, tight=True).labels() == ("0", "20", "40", "60")
    assert linear(0.0, 55.0, tight=True).high == 55
    assert linear(0.0, 0.0).ticks[0] == 0
    assert logarithmic(0.002, 40.0).labels() == ("0.001", "0.01", "0.1", "1", "10", "100")
    assert logarithmic(1.0, 9.0).labels() == ("1", "2", "5", "10")
    # Half of the way between 1 and 100 is 10.
    assert abs(logarithmic(1.0, 100.0).share(10.0) - 0.5) < 1e-12


def test_what_spans_much() -> None:
    assert spans_much(0.01, 1.0)
    assert not spans_much(0.5, 1.0)
    assert not spans_much(0.0, 1.0)
    assert not spans_much(-1.0, 1.0)
