"""Compare texts as the decimal numbers that they write, exactly, in SQL.

Same three parts as `jobs/log_numbers.py`: sign, exponent, digits without outer zeros.
"""

from __future__ import annotations

from typing import Final

from jobs.log_filters import Operator
from jobs.log_numbers import EXPONENT_LIMIT, Number
from workers.logs.conditions import Binder

FORM: Final = r"^([+-]?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)0*([0-9]+))?\z"

# `g` are the groups of FORM, `s` the digits from the first that is not zero on.
_SIGNIFICANT: Final = "replaceRegexpOne(concat(g[2], g[3]), '^0+', '')"
_DIGITS: Final = "replaceRegexpOne(s, '0+$', '')"
_EXPONENT: Final = (
    "toInt64(length(s)) - toInt64(length(g[3]))"
    f" + if(length(g[5]) > 18, {EXPONENT_LIMIT}, toInt64OrZero(g[5])) * if(g[4] = '-', -1, 1)"
)
_POSITIVE: Final = "g[1] != '-'"
_KEY: Final = f"if(s = '', '0', concat(if({_POSITIVE}, '+', '-'), toString({_EXPONENT}), ':', {_DIGITS}))"


def number_condition(text: str, operator: Operator, numbers: tuple[Number, ...], binder: Binder) -> str:
    """Whether the text is a number that compares so; for `exact`, whether it is one of the numbers."""
    compared = _compared(operator, numbers, binder)
    return (
        f"arrayExists(g -> length(g) = 5 AND arrayExists(s -> {compared}, [{_SIGNIFICANT}]),"
        f" [extractGroups({text}, {binder.text(FORM)})])"
    )


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
