"""OpenTelemetry spans, as OTLP/JSON or as exported span records, under either attribute convention."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tracegist.formats import genai, openinference
from tracegist.formats.tree import Json, Node, Trace, given
from tracegist.formats.values import seconds

ERROR_CODES = (2, "2", "STATUS_CODE_ERROR", "ERROR")
PREFIX = "attributes."


@dataclass(frozen=True, slots=True)
class Span:
    """One span with plain attributes; times in seconds since 1970."""

    trace_id: str
    id: str
    parent_id: str | None
    name: str
    start: float
    end: float
    attributes: Json
    events: list[Json] = field(default_factory=list)
    failed: bool = False
    message: str = ""


def matches(record: Mapping[str, Any]) -> bool:
    """An OTLP/JSON request, a single OTLP span, or a span record with its context."""
    return isinstance(record.get("resourceSpans"), list) or _is_otlp(record) or _is_record(record)


def _is_otlp(record: Mapping[str, Any]) -> bool:
    return "traceId" in record and "spanId" in record


def _is_record(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("context"), dict) or "context.trace_id" in record


def traces(records: Iterable[Mapping[str, Any]]) -> Iterable[Trace]:
    """One trace for each trace id, named after its first root span."""
    found: dict[str, Trace] = {}
    for record in records:
        for span in _spans(record):
            trace = found.setdefault(span.trace_id, Trace(span.trace_id))
            trace.nodes.append(_node(span))
    for trace in found.values():
        ids = {node.id for node in trace.nodes}
        roots = [node for node in trace.nodes if node.parent_id not in ids]
        if roots:
            name = min(roots, key=lambda node: node.start).properties.get("$ai_span_name")
            trace.properties |= given((("$ai_span_name", name),))
    return found.values()


def _node(span: Span) -> Node:
    if openinference.KIND in span.attributes:
        event, properties = openinference.read(span.attributes)
    else:
        event, properties = genai.read(span.attributes, span.events)
    common = given((("$ai_span_name", properties.pop("$ai_span_name", None) or span.name),))
    if span.end >= span.start > 0:
        common["$ai_latency"] = round(span.end - span.start, 3)
    if span.failed:
        common |= given((("$ai_is_error", True), ("$ai_error", _error(span))))
    return Node(span.id, span.parent_id, event, {**common, **properties}, span.start)


def _error(span: Span) -> str:
    if span.message:
        return span.message
    for event in span.events:
        if event.get("name") == "exception":
            facts = event.get("attributes", {})
            parts = (facts.get("exception.type"), facts.get("exception.message"))
            return ": ".join(str(part) for part in parts if part)
    return str(span.attributes.get("error.type") or "error")


# reading ----------------------------------------------------------------------------------------------


def _spans(record: Mapping[str, Any]) -> Iterator[Span]:
    if not isinstance(record.get("resourceSpans"), list):
        yield _otlp(record) if _is_otlp(record) else _record(record)
        return
    for resource in _objects(record["resourceSpans"]):
        scopes = resource.get("scopeSpans") or resource.get("instrumentationLibrarySpans")
        for scope in _objects(scopes):
            for span in _objects(scope.get("spans")):
                yield _otlp(span)


def _otlp(span: Mapping[str, Any]) -> Span:
    status = span["status"] if isinstance(span.get("status"), dict) else {}
    return Span(
        trace_id=str(span.get("traceId") or ""),
        id=str(span.get("spanId") or ""),
        parent_id=_name(span.get("parentSpanId")),
        name=str(span.get("name") or ""),
        start=seconds(span.get("startTimeUnixNano")),
        end=seconds(span.get("endTimeUnixNano")),
        attributes=_attributes(span.get("attributes")),
        events=[
            {"name": event.get("name"), "attributes": _attributes(event.get("attributes"))}
            for event in _objects(span.get("events"))
        ],
        failed=status.get("code") in ERROR_CODES,
        message=str(status.get("message") or ""),
    )


def _record(record: Mapping[str, Any]) -> Span:
    """A span as Phoenix and the SDKs' console exporters write it: nested context, or dotted columns."""
    context = record["context"] if isinstance(record.get("context"), dict) else {}
    status = record["status"] if isinstance(record.get("status"), dict) else {}
    attributes: Json = dict(record["attributes"]) if isinstance(record.get("attributes"), dict) else {}
    attributes |= {
        key.removeprefix(PREFIX): value
        for key, value in record.items()
        if key.startswith(PREFIX) and value is not None
    }
    if "openinference" in attributes:  # written as a tree instead of dotted names
        attributes.setdefault(openinference.KIND, openinference.nested_kind(attributes))
    elif isinstance(record.get("span_kind"), str) and openinference.KIND not in attributes:
        attributes[openinference.KIND] = record["span_kind"]
    code = status.get("status_code", record.get("status_code"))
    return Span(
        trace_id=str(context.get("trace_id") or record.get("context.trace_id") or ""),
        id=str(context.get("span_id") or record.get("context.span_id") or ""),
        parent_id=_name(record.get("parent_id")),
        name=str(record.get("name") or ""),
        start=seconds(record.get("start_time")),
        end=seconds(record.get("end_time")),
        attributes=attributes,
        events=[dict(event) for event in _objects(record.get("events"))],
        failed=code in ERROR_CODES,
        message=str(status.get("description") or record.get("status_message") or ""),
    )


def _attributes(pairs: object) -> Json:
    return {
        str(pair["key"]): _value(pair.get("value"))
        for pair in _objects(pairs)
        if isinstance(pair.get("key"), str)
    }


def _value(value: Any) -> Any:
    """An OTLP `AnyValue` as a plain one; 64-bit integers are text there."""
    if not isinstance(value, dict):
        return value
    for name, inner in value.items():
        if name == "intValue":
            return int(inner) if str(inner).lstrip("-").isdecimal() else inner
        if name == "arrayValue":
            return [_value(item) for item in (inner or {}).get("values", [])]
        if name == "kvlistValue":
            return _attributes((inner or {}).get("values"))
        if name == "bytesValue":
            return _text_of_bytes(inner)
        return inner
    return None


def _text_of_bytes(value: object) -> str:
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return str(value)


def _name(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and value else None


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
