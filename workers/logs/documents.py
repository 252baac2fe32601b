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
# An integer of 19 digits may be longer than 64 bits. So looked for, it costs a tenth of a pattern.
_DIGITS: Final = bytes(48 if 48 <= code < 58 else 32 for code in range(256))
_LONG: Final = b"0" * 19
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_HUGE: Final = re.compile(rb"[0-9][eE]\+?[0-9]{3}")


def load_document(raw: bytes) -> object:
    """One JSON document. Its integers of up to 64 bits are exact, longer ones become floats.

    Numbers beyond the floats become infinite: it is for their record to refuse them, not for the document.

    Raises:
        JsonSyntaxError: not JSON.
    """
    if _HALF.search(raw):
        raw = _ESCAPE.sub(_whole, raw)
    try:
        return _load(raw)
    except JsonSyntaxError:
        mended = raw.decode("utf-8", "replace").encode()
        if _HUGE.search(mended):
            return load_json(mended)
        if mended == raw:
            raise
    return _load(mended)


def load_line(raw: bytes) -> object:
    """One short JSON document with all integers exact. Raises JsonSyntaxError as `load_document` does."""
    if _LONG not in raw.translate(_DIGITS):
        return load_document(raw)
    return load_json(_ESCAPE.sub(_whole, raw).decode("utf-8", "replace").encode())


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
    if isinstance(value, float) and math.isfinite(value):
        return text_of_float(value)
    return compact(value)


def _load(raw: bytes) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise JsonSyntaxError(f"JSON parse error at character {error.pos}.") from error


def _whole(match: re.Match[bytes]) -> bytes:
    """An escape as it is, unless it is half of a surrogate pair."""
    escape = match[0]
    return b"\\ufffd" if len(escape) == 6 and _HALF.match(escape) else escape
