"""Decimal numbers as texts write them, compared exactly: no rounding, whatever their length.

A number is a sign, an exponent and its digits without outer zeros: 0.DIGITS * 10^EXPONENT. Two of them
compare by exponent, then by digits as text. `workers/logs/numbers.py` builds the same three parts in SQL.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Final

# An exponent of more digits is cut to this; such numbers are all equally far beyond the others.
EXPONENT_LIMIT: Final = 10**18
_NUMBER = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)0*([0-9]+))?")


@total_ordering
@dataclass(frozen=True, slots=True)
class Number:
    """`digits` is empty for zero, whose other parts are then false and 0."""

    negative: bool
    exponent: int
    digits: str

    def __lt__(self, other: Number) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[int, int, _Digits]:
        if not self.digits:
            return (0, 0, _Digits("", reverse=False))
        if self.negative:
            return (-1, -self.exponent, _Digits(self.digits, reverse=True))
        return (1, self.exponent, _Digits(self.digits, reverse=False))


@total_ordering
@dataclass(frozen=True, slots=True)
class _Digits:
    text: str
    reverse: bool

    def __lt__(self, other: _Digits) -> bool:
        return other.text < self.text if self.reverse else self.text < other.text


def parse_number(text: str) -> Number | None:
    """`[+-]? digits [. digits] [e[+-]digits]`, or None."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    sign, whole, fraction, exponent_sign, exponent_digits = found.groups()
    digits = whole + (fraction or "")
    significant = digits.lstrip("0")
    if not significant:
        return Number(negative=False, exponent=0, digits="")
    exponent = _exponent(exponent_sign, exponent_digits)
    leading = len(digits) - len(significant)
    return Number(sign == "-", exponent + len(whole) - leading, significant.rstrip("0"))


def number_text(value: float) -> str:
    """How a JSON number is written: integers in full, other numbers in the shortest form that reads back."""
    return str(value) if isinstance(value, int) else repr(value)


def is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _exponent(sign: str | None, digits: str | None) -> int:
    if not digits:
        return 0
    size = int(digits) if len(digits) <= 18 else EXPONENT_LIMIT
    return -size if sign == "-" else size
