"""Files of every shape: one object a line, one document, a list, an API answer; and files that are none."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.json_text import JsonSyntaxError
from tracegist.formats.reading import Item, UnknownFormat, read_items

EVENT = {"event": "$ai_generation", "uuid": "u1", "timestamp": "2025-01-01T00:00:00Z"}
PROPERTIES = {"$ai_trace_id": "t1", "$ai_input": "hello"}


def _read(content: bytes, name: str | None = None) -> tuple[str, list[Item]]:
    found, items = read_items(BytesIO(content), name=name)
    return found, list(items)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda record: json.dumps(record),
        lambda record: json.dumps(record, indent=2),
        lambda record: json.dumps([record]),
        lambda record: json.dumps([record], indent=2),
        lambda record: json.dumps({"results": [record], "next": None}),
        lambda record: "\n\n" + json.dumps(record) + "\n\n",
        lambda record: "\ufeff" + json.dumps(record),
    ],
)
def test_every_wrapping_gives_the_records(wrap: Any) -> None:
    found, items = _read(wrap({**EVENT, "properties": PROPERTIES}).encode())

    assert (found, len(items)) == ("posthog", 1)


def test_properties_may_be_json_text() -> None:
    _, items = _read(json.dumps({**EVENT, "properties": json.dumps(PROPERTIES)}).encode())

    event = items[0].data["hierarchy"][0]["event"]
    assert event["properties"]["$ai_input"] == "hello"


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"trace": {"id": "t"}, "hierarchy": []}, "trace"),
        ({"event": {"id": "e", "event": "$ai_span", "properties": {}}}, "event"),
        ({"data": {"event": {"id": "e"}}, "mode": "detailed"}, "event"),
        (
            {"summarize_type": "trace", "data": {"trace": {"id": "t"}, "hierarchy": []}, "custom_id": "x"},
            "trace",
        ),
    ],
)
def test_native_forms_are_requests(record: dict[str, Any], kind: str) -> None:
    found, items = _read(json.dumps(record).encode())

    assert found == "native"
    assert items[0].body["summarize_type"] == kind
    assert items[0].body.get("custom_id") == record.get("custom_id")
    assert items[0].body.get("mode") == record.get("mode")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"[]", b"{}", b'{"a": 1}', b"[1, 2]", b'"text"'])
def test_file_without_a_trace_is_refused(content: bytes) -> None:
    with pytest.raises(UnknownFormat):
        _read(content)


def test_broken_json_is_told() -> None:
    with pytest.raises(JsonSyntaxError):
        _read(b'{"event": ')


def test_format_can_be_named() -> None:
    record = {"traceId": "t", "type": "SPAN", "startTime": "2025-01-01T00:00:00Z", "id": "o"}

    assert _read(json.dumps(record).encode(), "langfuse")[0] == "langfuse"


def test_two_traces_in_one_file_are_two_items() -> None:
    records = [{**EVENT, "uuid": n, "properties": {"$ai_trace_id": f"t{n}"}} for n in ("1", "2", "1")]

    _, items = _read("\n".join(map(json.dumps, records)).encode())

    assert [item.body["custom_id"] for item in items] == ["t1", "t2"]
    assert [len(item.data["hierarchy"]) for item in items] == [2, 1]


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    [
        "resourceSpans", "scopeSpans", "spans", "traceId", "spanId", "parentSpanId", "attributes", "events",
        "status", "name", "startTimeUnixNano", "observations", "trace", "type", "id", "parentObservationId",
        "startTime", "input", "output", "usageDetails", "costDetails", "level", "properties", "uuid",
        "timestamp", "context", "context.trace_id", "parent_id", "span_kind", "endTime", "metadata",
    ]
)  # fmt: skip


@given(
    st.sampled_from(["otlp", "langfuse", "posthog"]),
    st.lists(st.dictionaries(keys, anything, max_size=8), min_size=1),
)
def test_records_of_odd_types_never_crash(name: str, records: list[dict[str, Any]]) -> None:
    try:
        _, items = _read("\n".join(map(json.dumps, records)).encode(), name)
    except UnknownFormat:
        return

    assert all(isinstance(item.data["hierarchy"], list) for item in items)


@given(st.lists(st.tuples(st.text("gen_ai.lmtokiputsr0123456789", max_size=20), anything), max_size=8))
def test_attributes_of_odd_types_never_crash(pairs: list[tuple[str, Any]]) -> None:
    attributes = {
        **dict(pairs),
        "openinference.span.kind": "LLM",
        "llm.input_messages.0": 1,
        "llm.tools": "[1]",
    }
    record = {"context": {"trace_id": "t", "span_id": "s"}, "attributes": attributes}

    assert len(_read(json.dumps(record).encode())[1]) == 1
