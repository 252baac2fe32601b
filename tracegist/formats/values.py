"""Values as exports write them: JSON inside text, times in several forms, flattened keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jobs.json_text import JsonSyntaxError, load_json

Json = dict[str, Any]


def parsed(value: Any) -> Any:
    """What a text holds when it is the JSON of an object or list; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return load_json(value.encode(errors="replace"))
        except JsonSyntaxError:
            return value
    return value


def seconds(value: object) -> float:
    """A time as seconds since 1970: ISO text, or a number of s, ms, us or ns; 0 when it is none of these."""
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?", value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return 0.0
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    try:
        number = float(value) if isinstance(value, str | int | float) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    for least, unit in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):
        if number >= least:
            return number / unit
    return number


def whole(value: object) -> int | None:
    """A count, also when it was written as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float) and value == value // 1:
        return int(value)
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value) else None


def unflattened(attributes: Mapping[str, Any]) -> Json:
    """`{"a.0.b": 1}` as `{"a": [{"b": 1}]}`: keys are cut at dots, runs of numbers from 0 become lists."""
    root: Json = {}
    for key, value in attributes.items():
        names = key.split(".")
        place = root
        for name in names[:-1]:
            below = place.get(name)
            if not isinstance(below, dict):
                below = {} if below is None else {"": below}
                place[name] = below
            place = below
        last = place.get(names[-1])
        if isinstance(last, dict) and not isinstance(value, dict):
            last[""] = value
        else:
            place[names[-1]] = value
    return {name: _lists(value) for name, value in root.items()}


def _lists(value: Any) -> Any:
    if isinstance(value, list):
        return [_lists(item) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {name: _lists(item) for name, item in value.items()}
    numbered = [name for name in inner if name.isdecimal()]
    if numbered and len(numbered) == len(inner):
        return [inner[name] for name in sorted(numbered, key=int)]
    return inner
