"""Exported `$ai_*` events: flat, grouped by `$ai_trace_id`, nested by `$ai_parent_id`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tracegist.formats.tree import Json, Node, Trace
from tracegist.formats.values import parsed, seconds

TRACE = "$ai_trace"
OWN_IDS = ("$ai_generation_id", "$ai_span_id", "$ai_embedding_id", "$ai_evaluation_id")


def matches(record: Mapping[str, Any]) -> bool:
    """Whether the record is an exported event with its properties (as an object or as JSON text)."""
    event = record.get("event")
    return isinstance(event, str) and isinstance(parsed(record.get("properties")), dict)


def traces(records: Iterable[Mapping[str, Any]]) -> Iterable[Trace]:
    """One trace for each `$ai_trace_id`, in order of appearance; events that are not `$ai_*` are left out."""
    found: dict[str, Trace] = {}
    for place, record in enumerate(records):
        if not str(record.get("event")).startswith("$ai_"):
            continue
        properties: Json = parsed(record["properties"])
        own = _text(record.get("uuid")) or _text(record.get("id")) or f"event-{place + 1}"
        trace_id = _text(properties.get("$ai_trace_id")) or own
        trace = found.setdefault(trace_id, Trace(trace_id))
        if record["event"] == TRACE:
            trace.properties |= properties
        else:
            trace.nodes.append(_node(record, properties, own, trace_id))
    return found.values()


def _node(record: Mapping[str, Any], properties: Json, own: str, trace_id: str) -> Node:
    span = next((_text(properties.get(name)) for name in OWN_IDS if properties.get(name)), own)
    parent = _text(properties.get("$ai_parent_id"))
    return Node(
        id=span,
        parent_id=None if parent == trace_id else parent or None,
        event=str(record["event"]),
        properties=properties,
        start=seconds(record.get("timestamp")),
    )


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
