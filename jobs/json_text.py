"""Read and write JSON: exact integers, lone surrogates, member order, bounded depth, no recursion of ours.

orjson does the work. What it does not do (numbers beyond 64 bits, lone surrogate
escapes) is left to the standard library's parser, and only for the documents that need it.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from itertools import chain
from typing import NoReturn

import orjson

MAX_DEPTH = 512

# The patterns may match inside a string; the price is a slower parse, never another value.
_LONG_NUMBER = re.compile(rb"[0-9]{19}|[0-9][eE]\+?[0-9]{3}")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_CONTAINERS = (dict, list)


class JsonSyntaxError(ValueError):
    """The text is not one JSON document that we accept; the message says why, without quoting it."""


def load_json(raw: bytes, *, max_depth: int = MAX_DEPTH) -> object:
    """Parse one UTF-8 JSON document.

    Raises:
        JsonSyntaxError: not JSON, not UTF-8, `NaN`/`Infinity`, more than `max_depth` levels, or an integer
            of more than 4,300 digits.
    """
    value = _load_exact(raw) if _needs_exact(raw) else _load_fast(raw)
    if raw.count(b"[") + raw.count(b"{") > max_depth and _depth(value, max_depth) > max_depth:
        raise JsonSyntaxError(f"The JSON is nested deeper than {max_depth} levels.")
    return value


def dump_json(value: object) -> bytes:
    """Compact UTF-8 JSON in the value's own member order; dataclasses become objects."""
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError):  # an integer beyond 64 bits, or a lone surrogate
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_members)
        return text.encode("utf-8", "backslashreplace") if _has_surrogate(text) else text.encode()


def _members(value: object) -> dict[str, object]:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} is not JSON")


def _needs_exact(raw: bytes) -> bool:
    return bool(_LONG_NUMBER.search(raw) or _SURROGATE_ESCAPE.search(raw))


def _load_fast(raw: bytes) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise JsonSyntaxError(f"JSON parse error at character {error.pos}.") from error


def _load_exact(raw: bytes) -> object:
    try:
        return json.loads(raw.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise JsonSyntaxError("The body is not UTF-8.") from error
    except json.JSONDecodeError as error:
        raise JsonSyntaxError(f"JSON parse error at character {error.pos}.") from error
    except RecursionError as error:
        raise JsonSyntaxError("The JSON is nested too deeply.") from error
    except JsonSyntaxError:
        raise
    except ValueError as error:  # the interpreter's own limit on digits
        raise JsonSyntaxError("The JSON holds an integer of more than 4,300 digits.") from error


def _refuse_constant(name: str) -> NoReturn:
    raise JsonSyntaxError(f"{name} is not JSON.")


def _depth(value: object, limit: int) -> int:
    """Levels of nesting, counted breadth first; stops one past `limit`."""
    level = [value] if isinstance(value, _CONTAINERS) else []
    depth = 0
    while level and depth <= limit:
        depth += 1
        members = chain.from_iterable(item.values() if isinstance(item, dict) else item for item in level)
        level = [member for member in members if isinstance(member, _CONTAINERS)]
    return depth


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
