"""Numbers as they are written keep their value, and look like numbers."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsalt.report.numbers import duration, number, short


@given(st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-12))
def test_a_number_is_written_to_four_digits(value: float) -> None:
    text = number(value)
    assert re.fullmatch(r"-?[\d,]+(\.\d+)?(e-\d+)?", text)
    assert float(text.replace(",", "")) == pytest.approx(value, rel=6e-4)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5, "1234"),
        (999.96, "1000"),
        (9999.6, "10,000"),
        (12345.6, "12,346"),
        (0.99996, "1.000"),
    ],
)
def test_numbers_near_a_power_of_ten(value: float, text: str) -> None:
    assert number(value) == text


def test_other_spans_and_ticks() -> None:
    assert [duration(seconds) for seconds in (59.94, 59.97, 3599.6, 172_800)] == [
        *("59.9 s", "1 min 00 s", "1 h 00 min", "2 d 00 h")
    ]
    assert [short(value) for value in (9999.0, -12_345.0, 2.5e9)] == ["9999", "-12.35K", "2.5G"]
