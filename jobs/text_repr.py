"""The text_repr request: its checks, its identity for the cache, and the facts that its answer repeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jobs.errors import ValidationFailed
from jobs.fields import Fields, object_body

EVENT_TYPES: Final = ("$ai_trace", "$ai_generation", "$ai_span", "$ai_embedding", "$ai_evaluation")
DEFAULT_MAX_LENGTH: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class TextReprRequest:
    """A checked request. `options` are the effective ones: defaults filled in, ready for the renderer."""

    event_type: str
    data: dict[str, object]
    options: dict[str, object]
    entity_id: str
    event_id: object
    trace_id: object


def parse_text_repr(body: object) -> TextReprRequest:
    """Check a body, fields first, then options, then what `data` must hold for its event type."""
    fields = Fields(object_body(body))
    event_type = fields.choice("event_type", EVENT_TYPES)
    data = fields.obj("data")
    options = parse_options(fields.obj("options", {}))
    if event_type == "$ai_trace":
        trace_id = _check_trace(data)
        return TextReprRequest(event_type, data, options, str(trace_id), data.get("id"), trace_id)
    _check_event(event_type, data)
    trace_id = _first(_member(data["properties"], "$ai_trace_id"), data.get("trace_id"))
    return TextReprRequest(event_type, data, options, str(data["id"]), data["id"], trace_id)


def parse_options(raw: Mapping[str, object]) -> dict[str, object]:
    """The effective options of a rendering: checked, with defaults filled in."""
    fields = Fields(raw, prefix="options")
    options: dict[str, object] = {
        "max_length": fields.natural("max_length", DEFAULT_MAX_LENGTH),
        "truncated": fields.flag("truncated", default=True),
        "truncate_buffer": fields.natural("truncate_buffer", 1000),
        "include_markers": fields.flag("include_markers", default=True),
        "collapsed": fields.flag("collapsed", default=False),
        "include_hierarchy": fields.flag("include_hierarchy", default=True),
        "max_depth": fields.natural("max_depth", None),
        "tools_collapse_threshold": fields.natural("tools_collapse_threshold", 5),
        "include_line_numbers": fields.flag("include_line_numbers", default=False),
    }
    fields.flag("include_metadata", default=None)  # accepted and checked; has no effect
    return options


def answer_of(request: TextReprRequest, *, text: str, truncated: bool) -> dict[str, object]:
    """The 200 body."""
    collapsed = request.event_type == "$ai_trace" and bool(request.options["collapsed"])
    metadata = {
        "event_type": request.event_type,
        "event_id": _encodable(request.event_id),
        "trace_id": _encodable(request.trace_id),
        "rendering": "summary" if collapsed else "detailed",
        "char_count": len(text),
        "truncated": truncated,
    }
    return {"text": text, "metadata": metadata}


def _check_trace(data: Mapping[str, object]) -> object:
    trace = data.get("trace")
    if not trace or not isinstance(trace, dict) or not isinstance(data.get("hierarchy"), list):
        raise ValidationFailed("Trace events require 'trace' object and 'hierarchy' array in data field")
    found = _first(
        _member(trace.get("properties"), "$ai_trace_id"),
        trace.get("id"),
        trace.get("trace_id"),
        trace.get("traceId"),
    )
    if not found:
        raise ValidationFailed("Trace events require an ID (trace.id or trace.properties.$ai_trace_id)")
    return found


def _check_event(event_type: str, data: Mapping[str, object]) -> None:
    if "properties" not in data:
        raise ValidationFailed(f"{event_type} events require 'properties' object in data field")
    if not data.get("id"):
        raise ValidationFailed(f"{event_type} events require an 'id' field")


def _encodable(value: object) -> object:
    """An id that every JSON parser reads: surrogate pairs joined, lone surrogates replaced."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _member(holder: object, name: str) -> object:
    return holder.get(name) if isinstance(holder, dict) else None


def _first(*values: object) -> object:
    return next((value for value in values if value), None)
