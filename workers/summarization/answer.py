"""Read a model's answer: strictly first, then with repairs that need no further call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

_KEYS = frozenset({"title", "flow_diagram", "summary_bullets", "interesting_notes"})
_POINT_KEYS = frozenset({"text", "line_refs", "quote"})
_MAX_POINTS = 100
_MAX_TRIES = 20
_DECODER = json.JSONDecoder(strict=False)
_TRAILING_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)


class UnusableAnswer(Exception):
    """The answer cannot be read as a summary. `reason` is short and holds nothing of the answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RawPoint:
    text: str
    line_refs: str = ""
    quote: str = ""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    title: str
    flow_diagram: str
    bullets: tuple[RawPoint, ...]
    notes: tuple[RawPoint, ...]


def parse_answer(content: str | None) -> RawAnswer:
    if content is None or not content.strip():
        raise UnusableAnswer("empty content")
    value = _strict(content)
    return _lenient(content) if value is None else _answer(value)


def _strict(content: str) -> Mapping[str, object] | None:
    """The object when it has exactly the promised shape."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or set(value) != _KEYS:
        return None
    points = [value["summary_bullets"], value["interesting_notes"]]
    texts = [value["title"], value["flow_diagram"]]
    fits = all(map(_is_points, points)) and all(isinstance(text, str) for text in texts)
    return value if fits else None


def _is_points(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict)
        and set(item) == _POINT_KEYS
        and all(isinstance(text, str) for text in item.values())
        for item in value
    )


def _lenient(content: str) -> RawAnswer:
    seen_object = False
    for value in islice(_objects(content), _MAX_TRIES):
        seen_object = True
        if "summary_bullets" in value:
            return _answer(value)
    raise UnusableAnswer("wrong shape" if seen_object else "not JSON")


def _objects(content: str) -> Iterator[Mapping[str, object]]:
    """Every JSON object in the content, whatever fences, prose and trailing commas are around."""
    yield from _unwrapped(content)
    for text in (content, _TRAILING_COMMA.sub(_keep_strings, content)):
        at = text.find("{")
        for _ in range(_MAX_TRIES):
            if at < 0:
                break
            try:
                value, end = _DECODER.raw_decode(text, at)
            except (ValueError, RecursionError):
                end = at + 1
            else:
                yield value
            at = text.find("{", end)


def _unwrapped(content: str) -> Iterator[Mapping[str, object]]:
    """The object inside a JSON string, or alone in a list."""
    value: object = content
    for _ in range(3):
        if isinstance(value, str):
            try:
                value = json.loads(value, strict=False)
            except (ValueError, RecursionError):
                return
        elif isinstance(value, list) and len(value) == 1:
            value = value[0]
    if isinstance(value, dict):
        yield value


def _keep_strings(found: re.Match[str]) -> str:
    return "" if found[0] == "," else found[0]


def _answer(value: Mapping[str, object]) -> RawAnswer:
    listed = value.get("summary_bullets")
    bullets = _points(listed)
    if listed is None or (listed != [] and not bullets):
        raise UnusableAnswer("no usable points")
    return RawAnswer(
        title=_text(value.get("title")),
        flow_diagram=_lines(value.get("flow_diagram")),
        bullets=bullets,
        notes=_points(value.get("interesting_notes")),
    )


def _points(value: object) -> tuple[RawPoint, ...]:
    items = value if isinstance(value, list) else [value]
    points = (_point(item) for item in items[:_MAX_POINTS])
    return tuple(point for point in points if point.text.strip())


def _point(item: object) -> RawPoint:
    if isinstance(item, Mapping):
        return RawPoint(_text(item.get("text")), _references(item.get("line_refs")), _text(item.get("quote")))
    return RawPoint(_text(item))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _lines(value: object) -> str:
    """A diagram that came as a list of lines is taken too."""
    return "\n".join(map(_text, value)) if isinstance(value, list) else _text(value)


def _references(value: object) -> str:
    """References as text, whatever they came as: `"L5"`, `5`, `["L5", "L7-9"]`, `[[5, 8]]`."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(filter(None, map(_reference_item, value[:_MAX_POINTS])))
    return _reference_item(value)


def _reference_item(value: object) -> str:
    if isinstance(value, Mapping):
        value = [value.get("start"), value.get("end")]
    if isinstance(value, list):
        numbers = [number for number in value[:2] if _is_line(number)]
        return "-".join(f"L{number}" for number in numbers)
    if _is_line(value):
        return f"L{value}"
    return _text(value)


def _is_line(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
