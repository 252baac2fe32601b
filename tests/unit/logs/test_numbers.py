"""Decimal texts compare like the numbers that they write."""

from decimal import Context, Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.log_numbers import parse_number

EXACT = Context(prec=200)
NUMBERS = st.from_regex(r"\A[+-]?[0-9]{1,12}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?\Z")


@given(NUMBERS, NUMBERS)
@example("10", "1e1")
@example("-0", "0.000")
@example("-12", "-123")
@example("9007199254740993", "9007199254740992")
def test_numbers_compare_as_decimals_do(left: str, right: str) -> None:
    one, other = parse_number(left), parse_number(right)

    assert one is not None
    assert other is not None
    assert (one < other) == (EXACT.create_decimal(left) < EXACT.create_decimal(right))
    assert (one == other) == (EXACT.create_decimal(left) == EXACT.create_decimal(right))


def test_an_endless_exponent_is_no_burden() -> None:
    huge, tiny = parse_number("1e" + "9" * 5000), parse_number("1e-" + "9" * 5000)

    assert huge is not None
    assert tiny is not None
    assert tiny < huge
    assert Decimal(1).is_finite()


@pytest.mark.parametrize(
    "text", ["", "NaN", "inf", "0x10", "1,000", "1.", ".5", " 1", "1 ", "1e", "١", "--1", "1\n"]
)
def test_other_texts_are_no_numbers(text: str) -> None:
    assert parse_number(text) is None
