"""Write values without recursion and without limits, for what the fast encoders refuse.

That is nesting beyond the interpreter's recursion limit and integers of thousands of digits.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, Inexact, localcontext
from json.encoder import encode_basestring_ascii as quote

_SMALL_BITS = 1024


class _Raw(str):
    """Text that is ready to be written, in a stack of values that are not."""

    __slots__ = ()


def write_literal(value: object) -> str:
    """The value in Python's notation."""
    if isinstance(value, int):
        return _literal_scalar(value)
    return _write(value, scalar=_literal_scalar, key=_literal_scalar, indent=None)


def write_json(value: object, *, indent: int | None) -> str:
    """The value as `json.dumps` writes it; TypeError for what JSON has no notation for."""
    return _write(value, scalar=_json_scalar, key=_json_key, indent=indent)


def integer_digits(number: int) -> str:
    """The decimal digits of an integer of any size, in less than quadratic time."""
    if number < 0:
        return "-" + integer_digits(-number)
    if number.bit_length() <= _SMALL_BITS:
        return str(number)
    with localcontext(Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact])):
        return str(_decimal(number, number.bit_length(), {}))


def _decimal(number: int, bits: int, powers: dict[int, Decimal]) -> Decimal:
    if bits <= _SMALL_BITS:
        return Decimal(number)
    low_bits = bits >> 1
    if low_bits not in powers:
        powers[low_bits] = Decimal(2) ** low_bits
    high = number >> low_bits
    low = number - (high << low_bits)
    return _decimal(high, bits - low_bits, powers) * powers[low_bits] + _decimal(low, low_bits, powers)


def _write(
    value: object, *, scalar: Callable[[object], str], key: Callable[[object], str], indent: int | None
) -> str:
    written: list[str] = []
    pending: list[tuple[object, int]] = [(value, 0)]
    while pending:
        current, level = pending.pop()
        if isinstance(current, _Raw):
            written.append(current)
        elif isinstance(current, (dict, list, tuple)) and current:
            pending += reversed(_opened(current, level, key, indent))
        else:
            written.append(scalar(current))
    return "".join(written)


def _opened(
    container: dict[object, object] | list[object] | tuple[object, ...],
    level: int,
    key: Callable[[object], str],
    indent: int | None,
) -> list[tuple[object, int]]:
    """A container taken apart: brackets, separators and keys as text, its values as values."""
    first = comma = last = ""
    if indent is not None:
        first = comma = "\n" + " " * (indent * (level + 1))
        last = "\n" + " " * (indent * level)
    comma = "," + (comma or " ")
    is_dict = isinstance(container, dict)
    parts: list[tuple[object, int]] = [(_Raw(("{" if is_dict else "[") + first), level)]
    entries = container.items() if isinstance(container, dict) else ((None, one) for one in container)
    for position, (name, inner) in enumerate(entries):
        lead = comma if position else ""
        parts.append((_Raw(f"{lead}{key(name)}: " if is_dict else lead), level))
        parts.append((inner, level + 1))
    parts.append((_Raw(last + ("}" if is_dict else "]")), level))
    return parts


def _literal_scalar(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return integer_digits(value)
    return repr(value)


def _json_scalar(value: object) -> str:
    if isinstance(value, str):
        return quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return integer_digits(value)
    if isinstance(value, float):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(repr(value), repr(value))
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, (list, tuple)):
        return "[]"
    raise TypeError(f"{type(value).__name__} has no JSON notation")


def _json_key(value: object) -> str:
    if isinstance(value, (dict, list, tuple)):
        raise TypeError("a JSON key cannot be a container")
    return quote(value if isinstance(value, str) else _json_scalar(value))
