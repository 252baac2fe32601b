"""The operators that case files use to describe an answer; every check returns what is wrong with it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

MISSING: Any = object()
ERROR_KEYS = ["type", "code", "detail", "attr"]

TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "null": lambda value: value is None,
}
FORMATS: dict[str, Callable[[str], object]] = {
    "uuid": uuid.UUID,
    "date-time": datetime.fromisoformat,
    "uri": lambda text: re.fullmatch(r"https?://[^\s]+", text) or _refuse(),
}


def _refuse() -> None:
    raise ValueError


# subsets ----------------------------------------------------------------------------------------------


def subset_faults(value: Any, wanted: Any, path: str = "$") -> Iterator[str]:
    """Objects match when the named members match, lists member by member; `{"$...": ...}` are tests."""
    if isinstance(wanted, dict) and wanted and all(name.startswith("$") for name in wanted):
        for operator, operand in wanted.items():
            if operator not in TESTS:
                raise ValueError(f"unknown operator {operator}")
            if not TESTS[operator](value, operand):
                yield f"{path}: {_short(value)} fails {operator} {operand!r}"
    elif isinstance(wanted, dict):
        if not isinstance(value, dict):
            yield f"{path}: {_short(value)} is no object"
            return
        for name, member in wanted.items():
            yield from subset_faults(value.get(name, MISSING), member, f"{path}.{name}")
    elif isinstance(wanted, list):
        if not isinstance(value, list) or len(value) != len(wanted):
            yield f"{path}: {_short(value)} is no list of {len(wanted)}"
            return
        for place, (item, member) in enumerate(zip(value, wanted, strict=True)):
            yield from subset_faults(item, member, f"{path}.{place}")
    elif not same(value, wanted):
        yield f"{path}: {_short(value)} instead of {wanted!r}"


def matches(value: Any, wanted: Any) -> bool:
    return not any(subset_faults(value, wanted))


def same(left: Any, right: Any) -> bool:
    """Equal, and of one JSON type: `true` is not `1`."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _length_fits(value: Any, wanted: Any) -> bool:
    return isinstance(value, (str, list, dict)) and matches(len(value), wanted)


TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$any": lambda value, wanted: (value is not MISSING) == wanted,
    "$absent": lambda value, wanted: (value is MISSING) == wanted,
    "$type": lambda value, wanted: any(TYPES[name](value) for name in _listed(wanted)),
    "$regex": lambda value, wanted: isinstance(value, str) and bool(re.search(wanted, value)),
    "$in": lambda value, wanted: any(same(value, item) for item in wanted),
    "$len": _length_fits,
    "$min": lambda value, wanted: TYPES["number"](value) and value >= wanted,
    "$max": lambda value, wanted: TYPES["number"](value) and value <= wanted,
    "$has": lambda value, wanted: isinstance(value, list) and any(matches(item, wanted) for item in value),
    "$every": lambda value, wanted: isinstance(value, list) and all(matches(item, wanted) for item in value),
    "$not": lambda value, wanted: not matches(value, wanted),
}


# schemas ----------------------------------------------------------------------------------------------


def schema_faults(value: Any, schema: Mapping[str, Any], path: str = "$") -> Iterator[str]:
    """The part of JSON Schema that the case files use."""
    for keyword, operand in schema.items():
        if keyword not in KEYWORDS:
            raise ValueError(f"unknown keyword {keyword}")
        yield from KEYWORDS[keyword](value, operand, schema, path)


def _typed(value: Any, operand: Any, _schema: Any, path: str) -> Iterator[str]:
    if not any(TYPES[name](value) for name in _listed(operand)):
        yield f"{path}: {_short(value)} is not of type {operand}"


def _required(value: Any, operand: Any, _schema: Any, path: str) -> Iterator[str]:
    for name in operand if isinstance(value, dict) else ():
        if name not in value:
            yield f"{path}.{name}: missing"


def _properties(value: Any, operand: Any, _schema: Any, path: str) -> Iterator[str]:
    for name, schema in operand.items() if isinstance(value, dict) else ():
        if name in value:
            yield from schema_faults(value[name], schema, f"{path}.{name}")


def _additional(value: Any, operand: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in value if isinstance(value, dict) and operand is False else ():
        if name not in known:
            yield f"{path}.{name}: not expected"


def _items(value: Any, operand: Any, _schema: Any, path: str) -> Iterator[str]:
    for place, item in enumerate(value if isinstance(value, list) else ()):
        yield from schema_faults(item, operand, f"{path}.{place}")


def _any_of(value: Any, operand: Any, _schema: Any, path: str) -> Iterator[str]:
    if not any(not any(schema_faults(value, schema, path)) for schema in operand):
        yield f"{path}: {_short(value)} matches none of {len(operand)} schemas"


def _format(value: Any, operand: Any, _schema: Any, path: str) -> Iterator[str]:
    if isinstance(value, str):
        try:
            FORMATS[operand](value)
        except ValueError:
            yield f"{path}: {value!r} is no {operand}"


def _plain(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any, Any, str], Iterator[str]]:
    def check(value: Any, operand: Any, _schema: Any, path: str) -> Iterator[str]:
        if not test(value, operand):
            yield f"{path}: {_short(value)} does not fit {operand!r}"

    return check


KEYWORDS: dict[str, Callable[[Any, Any, Any, str], Iterator[str]]] = {
    "type": _typed,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "anyOf": _any_of,
    "format": _format,
    "enum": _plain(lambda value, wanted: any(same(value, item) for item in wanted)),
    "const": _plain(same),
    "pattern": _plain(lambda value, wanted: not isinstance(value, str) or bool(re.search(wanted, value))),
    "minLength": _plain(lambda value, wanted: not isinstance(value, str) or len(value) >= wanted),
    "maxLength": _plain(lambda value, wanted: not isinstance(value, str) or len(value) <= wanted),
    "minItems": _plain(lambda value, wanted: not isinstance(value, list) or len(value) >= wanted),
    "minimum": _plain(lambda value, wanted: not TYPES["number"](value) or value >= wanted),
    "maximum": _plain(lambda value, wanted: not TYPES["number"](value) or value <= wanted),
}


# parts of an answer -----------------------------------------------------------------------------------


def at(value: Any, path: str) -> Any:
    """The member at `results.0.id`; MISSING when there is none."""
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return MISSING
    return value


def query_faults(url: Any, wanted: Mapping[str, str | None]) -> Iterator[str]:
    """The query of a link has these values; null: the member is not there."""
    if not isinstance(url, str):
        yield f"{_short(url)} is no link"
        return
    query = parse_qs(urlsplit(url).query, keep_blank_values=True)
    for name, value in wanted.items():
        given = query.get(name, [None])[0]
        if given != (None if value is None else str(value)):
            yield f"{url}: {name} is {given!r} instead of {value!r}"


def error_faults(body: Any) -> Iterator[str]:
    """The common error body: these four members first, in this order."""
    if not isinstance(body, dict) or list(body)[:4] != ERROR_KEYS:
        yield f"not the common error body: {_short(body)}"
        return
    if not re.fullmatch(r"[a-z0-9_]+", str(body["code"])) or not body["detail"]:
        yield f"code or detail is odd: {_short(body)}"
    if not (body["attr"] is None or isinstance(body["attr"], str)):
        yield f"attr is odd: {_short(body)}"


def _listed(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _short(value: Any) -> str:
    text = "nothing" if value is MISSING else repr(value)
    return text if len(text) <= 300 else f"{text[:300]}..."
