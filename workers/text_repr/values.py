"""The three ways a JSON value becomes text, and the one way text becomes a JSON value.

`literal` is Python's notation, `json_line` and `json_block` are Python's `json.dumps` without and
with an indent of two. The C encoders do nearly all of it; `longhand` takes over for what they
refuse. Results never depend on the recursion limit or on the limit of digits of an integer.
"""

from __future__ import annotations

import codecs
import re
from json import JSONDecoder, JSONEncoder
from json.encoder import encode_basestring_ascii as quote
from math import isfinite

import orjson

from workers.text_repr.longhand import write_json, write_literal
from workers.text_repr.nesting import levels

CLIP_LENGTH = 500
CAP_LENGTH = 2000
MAX_PARSED_DEPTH = 900
MAX_PARSED_DIGITS = 4300
_LEAST_PLAIN_FLOAT = 1e-4
_CONSTANTS = {None: "null", True: "true", False: "false"}
# Types of values that the fast parser may read inexactly, or that may hold such values.
_INEXACT_TYPES = frozenset({dict, list, float})

_encode = JSONEncoder(check_circular=False).encode
_ESCAPE_HANDLER = "tracegist.json"
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])', re.DOTALL)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Replace what is not ASCII by JSON escapes while encoding."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return quote(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_ESCAPE_HANDLER, _escaped)


def literal(value: object) -> str:
    """STR: a string is itself, everything else is in Python's notation."""
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except (RecursionError, ValueError):
        return write_literal(value)


def clipped(value: object) -> str:
    """CLIP500: the start of STR, with dots when there is more."""
    text = literal(value)
    return text if len(text) <= CLIP_LENGTH else text[:CLIP_LENGTH] + "..."


def json_line(value: object) -> str:
    """JSON1: JSON on one line, in ASCII."""
    kind = type(value)
    if kind is str:
        return quote(value)  # type: ignore[arg-type]
    if value is None or kind is bool:
        return _CONSTANTS[value]  # type: ignore[index]
    try:
        return str(value) if kind is int else _encode(value)
    except (RecursionError, ValueError):
        return write_json(value, indent=None)


def json_block(value: object) -> str:
    """JSON2: JSON with an indent of two, in ASCII."""
    try:
        dumped = orjson.dumps(value, option=orjson.OPT_INDENT_2)
    except TypeError:
        return write_json(value, indent=2)
    # How the fast encoder writes floats that are tiny, infinite or not a number.
    suspicious = b"e-" in dumped or b"0.0000" in dumped or b"null" in dumped
    if suspicious and _has_unusual_float(value):
        return write_json(value, indent=2)
    if b"\x7f" in dumped:
        dumped = dumped.replace(b"\x7f", b"\\u007f")
    if not dumped.isascii():
        dumped = dumped.decode().encode("ascii", _ESCAPE_HANDLER)
    return dumped.decode("ascii")


def capped(value: object) -> object:
    """CAP: a copy in which every very long string is replaced by its length."""
    if isinstance(value, str):
        return value if len(value) <= CAP_LENGTH else f"[{len(value):,} chars not shown]"
    if isinstance(value, dict):
        return {key: capped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [capped(inner) for inner in value]
    return value


def parse_json(text: str) -> object:
    """The JSON value of a text; ValueError for anything that is not JSON or is out of bounds."""
    if (
        len(text) > MAX_PARSED_DEPTH
        and text.count("{") + text.count("[") > MAX_PARSED_DEPTH
        and _depth(text) > MAX_PARSED_DEPTH
    ):
        raise ValueError("nested too deeply")
    try:
        return parse_exactly(text)
    except ValueError:
        pass
    try:
        return _decoder.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse_exactly(text: str) -> object:
    """The JSON value of a text by the fast parser; ValueError when that may not be exact.

    Integers of 64 bits and more become floats there, which show by their exponent when written again.
    """
    value = orjson.loads(text)
    if isinstance(value, (dict, list, float)) and not _is_flat_and_exact(value):
        try:
            if b"e+" in orjson.dumps(value):
                raise ValueError("may hold a large integer")
        except TypeError as error:
            raise ValueError("nested too deeply for the fast writer") from error
    return value


def _is_flat_and_exact(value: object) -> bool:
    return type(value) is dict and _INEXACT_TYPES.isdisjoint(map(type, value.values()))


def parse_object(text: str) -> dict[str, object]:
    """The JSON object of a text, empty when the text is anything else."""
    if not text.startswith("{") and not text.lstrip(" \t\n\r").startswith("{"):
        return {}
    try:
        parsed = parse_json(text)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _has_unusual_float(value: object) -> bool:
    """Whether a float is written otherwise by the fast encoder: tiny, infinite or not a number."""
    for types, found in levels([value]):
        if float in types:
            sizes = [abs(one) for one in found if isinstance(one, float)]
            if not all(map(isfinite, sizes)) or min(filter(None, sizes), default=1) < _LEAST_PLAIN_FLOAT:
                return True
    return False


def _exact_integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_PARSED_DIGITS:
        raise ValueError("too many digits")
    return int(digits)


_decoder = JSONDecoder(parse_int=_exact_integer)


def _depth(text: str) -> int:
    depth = deepest = 0
    for match in _BRACKETS.finditer(text):
        if match.group(1):
            depth += 1
            deepest = max(deepest, depth)
        elif match.group(2):
            depth -= 1
    return deepest
