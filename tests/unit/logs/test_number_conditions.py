"""The bounds that plain numbers are compared with: rounded so that no plain text falls between."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.log_numbers import parse_number
from workers.logs.numbers import scaled

EXACT = Context(prec=300)
LIMIT = 10**37


@given(st.from_regex(r"\A-?[0-9]{1,24}(\.[0-9]{1,24})?(e-?[0-9]{1,2})?\Z"))
@example("99999999999999999999.9999999999999999999")
@example("-1e-90")
@example("0")
def test_bounds_are_rounded_outwards_to_eighteen_digits(text: str) -> None:
    number = parse_number(text)
    assert number is not None
    value = EXACT.multiply(EXACT.create_decimal(text), Decimal(10) ** 18)

    for way, rounding in (("down", ROUND_FLOOR), ("up", ROUND_CEILING)):
        expected = int(value.to_integral_value(rounding, EXACT))
        assert scaled(number, way) == max(-LIMIT, min(LIMIT, expected))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["1e999999999999999999999", "-1e999999999999999999999"])
def test_an_endless_exponent_is_the_limit(text: str) -> None:
    number = parse_number(text)
    assert number is not None

    assert abs(scaled(number, "up")) == LIMIT
