"""The request of the text_repr endpoint: order and words of its errors, and the facts of its answer."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import ValidationFailed
from jobs.text_repr import answer_of, parse_text_repr

TRACE = {"trace": {"id": "t"}, "hierarchy": []}
EVENT = {"id": "e", "properties": {}}
NO_TRACE = "Trace events require 'trace' object and 'hierarchy' array in data field"
NO_TRACE_ID = "Trace events require an ID (trace.id or trace.properties.$ai_trace_id)"
NO_PROPERTIES = "$ai_span events require 'properties' object in data field"
NO_ID = "$ai_span events require an 'id' field"
INTEGER = "A valid integer is required."
LEAST = "Ensure this value is greater than or equal to 0."
BOOLEAN = "Must be a valid boolean."


def metadata(event_type: str, data: Any, **options: Any) -> Any:
    request = parse_text_repr({"event_type": event_type, "data": data, "options": options})
    return answer_of(request, text="aé\U0001f600", truncated=False)["metadata"]


@pytest.mark.parametrize(
    ("body", "attr", "code", "detail"),
    [
        ({"data": None, "options": 1}, "event_type", "required", None),
        ({"event_type": None, "data": None}, "event_type", "null", None),
        ({"event_type": "span", "data": 5}, "event_type", "invalid_choice", '"span" is not a valid choice.'),
        ({"event_type": "$ai_span", "options": None}, "data", "required", None),
        ({"event_type": "$ai_span", "data": {}, "options": "x"}, "options", "invalid_input", None),
        (
            {"event_type": "$ai_span", "data": {}, "options": {"truncated": 1, "max_length": 1.5}},
            "options__max_length",
            "invalid_input",
            INTEGER,
        ),
        (
            {"event_type": "$ai_span", "data": {}, "options": {"truncate_buffer": -1, "truncated": 1}},
            "options__truncated",
            "invalid_input",
            BOOLEAN,
        ),
        (
            {"event_type": "$ai_span", "data": {}, "options": {"max_depth": "-1", "include_metadata": 1}},
            "options__max_depth",
            "min_value",
            LEAST,
        ),
        (
            {"event_type": "$ai_span", "data": {}, "options": {"include_metadata": 1}},
            "options__include_metadata",
            "invalid_input",
            BOOLEAN,
        ),
        ({"event_type": "$ai_span", "data": {}}, None, "invalid_input", NO_PROPERTIES),
        ({"event_type": "$ai_span", "data": {"properties": 5, "id": 0}}, None, "invalid_input", NO_ID),
        ({"event_type": "$ai_trace", "data": {**TRACE, "trace": {}}}, None, "invalid_input", NO_TRACE),
        ({"event_type": "$ai_trace", "data": {**TRACE, "trace": "x"}}, None, "invalid_input", NO_TRACE),
        ({"event_type": "$ai_trace", "data": {**TRACE, "hierarchy": {}}}, None, "invalid_input", NO_TRACE),
        (
            {"event_type": "$ai_trace", "data": {**TRACE, "trace": {"id": ""}}},
            None,
            "invalid_input",
            NO_TRACE_ID,
        ),
    ],
)
def test_first_error_in_the_documented_order(
    body: Any, attr: str | None, code: str, detail: str | None
) -> None:
    with pytest.raises(ValidationFailed) as raised:
        parse_text_repr(body)

    assert (raised.value.attr, raised.value.code) == (attr, code)
    assert detail is None or str(raised.value) == detail


@pytest.mark.parametrize(
    ("trace", "found"),
    [
        ({"properties": {"$ai_trace_id": "p"}, "id": "i", "trace_id": "s", "traceId": "c"}, "p"),
        ({"properties": {"$ai_trace_id": ""}, "id": "i", "trace_id": "s"}, "i"),
        ({"properties": [], "id": 0, "trace_id": "s", "traceId": "c"}, "s"),
        ({"traceId": "c"}, "c"),
    ],
)
def test_id_of_a_trace_is_the_first_there_is(trace: Any, found: str) -> None:
    assert metadata("$ai_trace", {"trace": trace, "hierarchy": []})["trace_id"] == found


def test_facts_of_an_event() -> None:
    data = {**EVENT, "trace_id": "t"}

    assert metadata("$ai_span", data, collapsed=True) == {
        "event_type": "$ai_span",
        "event_id": "e",
        "trace_id": "t",
        "rendering": "detailed",
        "char_count": 3,
        "truncated": False,
    }
    assert metadata("$ai_span", {**data, "properties": {"$ai_trace_id": "p"}})["trace_id"] == "p"
    assert metadata("$ai_span", EVENT)["trace_id"] is None


def test_collapsed_trace_is_a_summary() -> None:
    assert metadata("$ai_trace", TRACE, collapsed=True)["rendering"] == "summary"
    assert metadata("$ai_trace", TRACE)["rendering"] == "detailed"
    assert metadata("$ai_trace", {**TRACE, "id": "d"})["event_id"] == "d"
    assert metadata("$ai_trace", TRACE)["event_id"] is None


def test_surrogates_in_an_id_are_joined_or_replaced() -> None:
    data = {**EVENT, "id": "\ud83d\ude00\ud83d", "trace_id": "a\udc00b"}

    found = metadata("$ai_span", data)

    assert (found["event_id"], found["trace_id"]) == ("\U0001f600\ufffd", "a\ufffdb")


def test_ids_of_other_types_are_repeated_as_they_are() -> None:
    assert metadata("$ai_span", {**EVENT, "id": 5, "trace_id": {"a": [1]}})["event_id"] == 5
