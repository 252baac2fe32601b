"""Whatever JSON is put in whatever place: nothing but that one record is lost, and what is kept is sound."""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InvalidRequest
from tests.unit.logs.otlp_bodies import NOW, pair, parse, parse_protobuf, protobuf, record, request, text
from workers.logs.ndjson import read_ndjson
from workers.logs.records import END_OF_TIME, LEVELS, Row

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ANY_VALUE = st.sampled_from(
    ["stringValue", "intValue", "boolValue", "doubleValue", "bytesValue", "arrayValue", "kvlistValue"]
).flatmap(lambda kind: st.fixed_dictionaries({kind: ANY_JSON | st.fixed_dictionaries({"values": ANY_JSON})}))

PLACES: dict[str, Callable[[object], dict[str, object]]] = {
    **{
        name: lambda value, name=name: {name: value}  # type: ignore[misc]
        for name in (
            "timeUnixNano",
            "observedTimeUnixNano",
            "severityNumber",
            "severityText",
            "body",
            "attributes",
            "traceId",
            "spanId",
            "flags",
            "eventName",
        )
    },
    "attribute": lambda value: {"attributes": [value]},
    "attribute key": lambda value: {"attributes": [pair(value, text("x"))]},
    "attribute value": lambda value: {"attributes": [pair("k", value)]},
    "nested": lambda value: {"body": {"arrayValue": {"values": [value]}}},
}


def check(row: Row) -> None:
    """The row fits its columns."""
    assert 0 <= row[0] < END_OF_TIME
    assert row[2] in LEVELS
    assert LEVELS[(row[3] - 1) // 4] == row[2]
    assert (len(row[5]), len(row[6])) == (32, 16)
    assert 0 <= row[7] < 256
    assert 0 <= row[12] < 1 << 64
    texts = [row[1], row[4], row[8], row[9], *row[10], *row[10].values(), *row[11], *row[11].values()]
    for each in texts:
        each.encode()
    sized = [row[4], *row[10], *row[10].values(), *row[11], *row[11].values()]
    assert row[13] == sum(len(each.encode()) for each in sized)


@given(place=st.sampled_from(sorted(PLACES)), value=ANY_JSON | ANY_VALUE)
def test_a_member_of_an_otlp_record(place: str, value: object) -> None:
    odd = {**record(), **PLACES[place](value)}

    parsed = parse(request(record(body=text("first")), odd, record(body=text("last"))))

    assert [row[4] for row in parsed.rows if row[4] in ("first", "last")][:1] == ["first"]
    assert parsed.rows[-1][4] == "last"
    assert parsed.accepted + parsed.rejected == 3
    for row in parsed.rows:
        check(row)


@given(
    value=ANY_JSON, place=st.sampled_from(["group", "resource", "scope", "scopeLogs", "logRecords", "record"])
)
def test_a_part_of_an_otlp_request(place: str, value: object) -> None:
    good = {"scopeLogs": [{"logRecords": [record(body=text("good"))]}]}
    odd: object = {
        "group": value,
        "resource": {"resource": value, **good},
        "scope": {"scopeLogs": [{"scope": value, "logRecords": [record()]}]},
        "scopeLogs": {"scopeLogs": value},
        "logRecords": {"scopeLogs": [{"logRecords": value}]},
        "record": {"scopeLogs": [{"logRecords": [value]}]},
    }[place]

    parsed = parse(json.dumps({"resourceLogs": [good, odd, good]}).encode())

    assert [parsed.rows[0][4], parsed.rows[-1][4]] == ["good", "good"]
    for row in parsed.rows:
        check(row)


@given(value=ANY_JSON)
def test_a_whole_otlp_body(value: object) -> None:
    try:
        parsed = parse(json.dumps(value).encode())
    except InvalidRequest:
        return
    for row in parsed.rows:
        check(row)


@given(
    name=st.sampled_from(
        [
            "body",
            "timestamp",
            "severity_text",
            "severity_number",
            "service_name",
            "attributes",
            "resource_attributes",
            "trace_id",
            "span_id",
            "event_name",
            "instrumentation_scope",
            "anything",
        ]
    ),
    value=ANY_JSON,
)
def test_a_member_of_an_ndjson_line(name: str, value: object) -> None:
    body = b"\n".join(
        json.dumps(line).encode() for line in ({"body": "first"}, {name: value}, {"body": "last"})
    )

    parsed = read_ndjson(body, received_at=NOW)

    assert (parsed.rows[0][4], parsed.rows[-1][4]) == ("first", "last")
    assert parsed.accepted + parsed.rejected == 3
    for row in parsed.rows:
        check(row)


@given(junk=st.binary(max_size=60), at=st.integers(0, 400))
def test_bytes_in_a_protobuf_request(junk: bytes, at: int) -> None:
    from tests.unit.logs.test_otlp_protobuf import RESOURCE, log

    body = protobuf(log("one"), log("two"), resource=RESOURCE)
    position = at % len(body)

    try:
        parsed = parse_protobuf(body[:position] + junk + body[position + len(junk) :])
    except InvalidRequest:
        return
    for row in parsed.rows:
        check(row)
