"""JSON of clients: what is not UTF-8, and halves of surrogate pairs, become U+FFFD; values become text."""

from __future__ import annotations

import json
import math
import re
from typing import Final

import orjson

from jobs.json_text import JsonSyntaxError, load_json

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)",
    re.DOTALL,
)
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def load_document(raw: bytes, *, exact: bool) -> object:
    """One JSON document.

    Args:
        exact: integers beyond 64 bits stay integers; else they become floats, and parsing is faster.

    Raises:
        JsonSyntaxError: not JSON.
    """
    if _HALF.search(raw):
        raw = _ESCAPE.sub(_whole, raw)
    try:
        return _load(raw, exact=exact)
    except JsonSyntaxError:
        mended = raw.decode("utf-8", "replace").encode()
        if mended == raw:
            raise
    return _load(mended, exact=exact)


def compact(value: object) -> str:
    """Compact JSON text, order kept.

    Raises:
        ValueError: a number that JSON has no form for, or nested too deeply.
    """
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def text_of_float(value: float) -> str:
    """The shortest text that reads back to the same number, with `.0` when integral."""
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def text_of_json(value: object) -> str:
    """An attribute or body of plain JSON as text. Raises ValueError as `compact` does."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float):
        return text_of_float(value)
    return compact(value)


def _load(raw: bytes, *, exact: bool) -> object:
    if exact:
        return load_json(raw)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise JsonSyntaxError(f"JSON parse error at character {error.pos}.") from error


def _whole(match: re.Match[bytes]) -> bytes:
    """An escape as it is, unless it is half of a surrogate pair."""
    escape = match[0]
    return b"\\ufffd" if len(escape) == 6 and _HALF.match(escape) else escape
