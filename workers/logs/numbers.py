"""Compare texts as the decimal numbers that they write, exactly, in SQL.

Same three parts as `jobs/log_numbers.py`: sign, exponent, digits without outer zeros. Short plain numbers,
which nearly all are, fit a decimal type of the engine with room to spare and take that way: it is ten times
faster.
"""

from __future__ import annotations

from typing import Final, Literal

from jobs.log_filters import Operator
from jobs.log_numbers import EXPONENT_LIMIT, Number
from workers.logs.conditions import Binder

FORM: Final = r"^([+-]?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)0*([0-9]+))?\z"

PLAIN: Final = r"^-?[0-9]+(?:\.[0-9]+)?\z"
PLAIN_CHARS: Final = 18
# 18 digits after the point, 20 before: more than a plain text has on either side.
_PLAIN_SCALE: Final = 18
_PLAIN_LIMIT: Final = 10**19

# `g` are the groups of FORM, `s` the digits from the first that is not zero on.
_SIGNIFICANT: Final = "trimLeft(concat(g[2], g[3]), '0')"
_DIGITS: Final = "trimRight(s, '0')"
_EXPONENT: Final = (
    "toInt64(length(s)) - toInt64(length(g[3]))"
    f" + if(length(g[5]) > 18, {EXPONENT_LIMIT}, toInt64OrZero(g[5])) * if(g[4] = '-', -1, 1)"
)
_POSITIVE: Final = "g[1] != '-'"
_KEY: Final = f"if(s = '', '0', concat(if({_POSITIVE}, '+', '-'), toString({_EXPONENT}), ':', {_DIGITS}))"


def number_condition(text: str, operator: Operator, numbers: tuple[Number, ...], binder: Binder) -> str:
    """Whether the text is a number that compares so; for `exact`, whether it is one of the numbers."""
    compared = _compared(operator, numbers, binder)
    exact = (
        f"arrayExists(g -> length(g) = 5 AND arrayExists(s -> {compared}, [{_SIGNIFICANT}]),"
        f" [extractGroups({text}, {binder.text(FORM)})])"
    )
    plain = _plain(f"toDecimal128OrZero({text}, {_PLAIN_SCALE})", operator, numbers, binder)
    return f"if(length({text}) <= {PLAIN_CHARS} AND match({text}, {binder.text(PLAIN)}), {plain}, {exact})"


def _plain(value: str, operator: Operator, numbers: tuple[Number, ...], binder: Binder) -> str:
    """The comparison for a plain text's value; bounds are rounded to what no plain text lies beyond."""
    if operator == "exact":
        return f"toString({value}) IN {binder.texts(sorted({_plain_text(number) for number in numbers}))}"
    low, high = numbers[0], numbers[-1]
    conditions = {
        "gt": lambda: f"{value} > {_decimal(low, 'down', binder)}",
        "gte": lambda: f"{value} >= {_decimal(low, 'up', binder)}",
        "lt": lambda: f"{value} < {_decimal(low, 'up', binder)}",
        "lte": lambda: f"{value} <= {_decimal(low, 'down', binder)}",
        "between": lambda: (
            f"{value} >= {_decimal(low, 'up', binder)} AND {value} <= {_decimal(high, 'down', binder)}"
        ),
    }
    return conditions[operator]()


def _decimal(number: Number, way: Literal["up", "down"], binder: Binder) -> str:
    return f"toDecimal128({binder.text(_scaled_text(scaled(number, way)))}, {_PLAIN_SCALE})"


def scaled(number: Number, way: Literal["up", "down"]) -> int:
    """The number times 10^18, rounded towards plus or minus infinity, within the limits."""
    limit = _PLAIN_LIMIT * 10**_PLAIN_SCALE
    if number.exponent > len(str(_PLAIN_LIMIT)):
        return -limit if number.negative else limit
    shift = number.exponent - len(number.digits) + _PLAIN_SCALE
    whole, rest = int(number.digits or 0), False
    if shift >= 0:
        whole *= 10**shift
    elif -shift > len(number.digits):
        whole, rest = 0, bool(number.digits)
    else:
        whole, remainder = divmod(whole, 10**-shift)
        rest = remainder > 0
    if rest and (way == "down") == number.negative:
        whole += 1
    whole = min(whole, limit)
    return -whole if number.negative else whole


def _scaled_text(value: int) -> str:
    digits = f"{abs(value):0{_PLAIN_SCALE + 1}d}"
    text = f"{digits[:-_PLAIN_SCALE]}.{digits[-_PLAIN_SCALE:]}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text


def _plain_text(number: Number) -> str:
    """How the engine writes the number; what no plain text can be is no number's writing."""
    low, high = scaled(number, "down"), scaled(number, "up")
    return _scaled_text(low) if low == high else ""


def _compared(operator: Operator, numbers: tuple[Number, ...], binder: Binder) -> str:
    if operator == "exact":
        return f"{_KEY} IN {binder.texts(sorted({_key(number) for number in numbers}))}"
    first = numbers[0]
    if operator == "gt":
        return _above(first, binder)
    if operator == "lt":
        return _below(first, binder)
    if operator == "gte":
        return f"NOT ({_below(first, binder)})"
    if operator == "lte":
        return f"NOT ({_above(first, binder)})"
    return f"NOT ({_below(first, binder)}) AND NOT ({_above(numbers[1], binder)})"


def _above(number: Number, binder: Binder) -> str:
    if not number.digits:
        return f"{_POSITIVE} AND s != ''"
    if number.negative:
        return f"{_POSITIVE} OR s = '' OR {_size('<', number, binder)}"
    return f"{_POSITIVE} AND s != '' AND {_size('>', number, binder)}"


def _below(number: Number, binder: Binder) -> str:
    if not number.digits:
        return f"NOT {_POSITIVE} AND s != ''"
    if number.negative:
        return f"NOT {_POSITIVE} AND s != '' AND {_size('>', number, binder)}"
    return f"NOT {_POSITIVE} OR s = '' OR {_size('<', number, binder)}"


def _key(number: Number) -> str:
    """One text for all spellings of a number."""
    return f"{'-' if number.negative else '+'}{number.exponent}:{number.digits}" if number.digits else "0"


def _size(comparison: str, number: Number, binder: Binder) -> str:
    bound = f"({binder.number(number.exponent)}, {binder.text(number.digits)})"
    return f"({_EXPONENT}, {_DIGITS}) {comparison} {bound}"
