"""OTLP protobuf: the same rows as from JSON, and what becomes of broken bytes."""

from __future__ import annotations

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from jobs.errors import InvalidRequest
from tests.unit.logs.otlp_bodies import (
    NOW_MICROS,
    T_MICROS,
    T,
    key_value,
    pair,
    parse,
    parse_protobuf,
    protobuf,
    record,
    request,
    string,
    text,
)
from workers.logs.records import NO_SPAN, NO_TRACE

RESOURCE = Resource(attributes=[key_value("service.name", string("api"))])


def log(body: str = "hello") -> LogRecord:
    return LogRecord(time_unix_nano=T, body=string(body))


def test_every_member_lands_in_its_column() -> None:
    sent = LogRecord(
        time_unix_nano=T,
        severity_number=18,
        severity_text="debug",
        body=string("hello"),
        trace_id=bytes.fromhex("5b8efff798038103d269b633813fc60c"),
        span_id=bytes.fromhex("EEE19B7EC3C1B174"),
        flags=0x1FF,
        event_name="login",
        attributes=[key_value("user", string("é"))],
    )

    row = parse_protobuf(protobuf(sent, resource=RESOURCE)).rows[0]

    trace, span = "5B8EFFF798038103D269B633813FC60C", "EEE19B7EC3C1B174"
    assert row[:10] == (T_MICROS, "api", "error", 18, "hello", trace, span, 255, "lib@1", "login")
    assert row[10:12] == ({"user": "é"}, {"service.name": "api"})
    assert row[13] == len("hello") + len("user") + 2 + len("service.nameapi")


def test_an_empty_record_has_defaults() -> None:
    row = parse_protobuf(protobuf(LogRecord())).rows[0]

    assert row[:8] == (NOW_MICROS, "", "info", 9, "", NO_TRACE, NO_SPAN, 0)


def test_json_and_protobuf_give_the_same_values() -> None:
    values = [
        (string("é"), text("é")),
        (AnyValue(int_value=-(2**63)), {"intValue": str(-(2**63))}),
        (AnyValue(bool_value=False), {"boolValue": False}),
        (AnyValue(double_value=1e16), {"doubleValue": 1e16}),
        (AnyValue(double_value=float("inf")), {"doubleValue": "Infinity"}),
        (AnyValue(bytes_value=b"\xff\xef"), {"bytesValue": "/+8="}),
        (AnyValue(), {}),
        (
            AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue(), string("x")])),
            {"arrayValue": {"values": [{"intValue": 1}, {}, text("x")]}},
        ),
        (
            AnyValue(kvlist_value=KeyValueList(values=[key_value("b", AnyValue(double_value=1))])),
            {"kvlistValue": {"values": [pair("b", {"doubleValue": 1})]}},
        ),
    ]
    sent = [LogRecord(time_unix_nano=T, body=value) for value, _ in values]
    keyed = LogRecord(
        time_unix_nano=T, attributes=[key_value(str(n), value) for n, (value, _) in enumerate(values)]
    )
    plain = [record(body=value) for _, value in values]
    plain_keyed = record(attributes=[pair(str(n), value) for n, (_, value) in enumerate(values)])

    binary = parse_protobuf(protobuf(*sent, keyed))
    as_json = parse(request(*plain, plain_keyed, scope={"name": "lib", "version": "1"}))

    assert binary.rows == as_json.rows
    assert (binary.rejected, as_json.rejected) == (0, 0)


def test_ids_of_another_length_are_dropped() -> None:
    row = parse_protobuf(protobuf(LogRecord(trace_id=b"x" * 15, span_id=b"x" * 16))).rows[0]

    assert row[5:7] == (NO_TRACE, NO_SPAN)


def test_bad_records_are_lost_alone() -> None:
    late = LogRecord(time_unix_nano=9_246_182_400_000_000_000)
    many = LogRecord(attributes=[key_value("same", string(""))] * 513)
    long = LogRecord(body=string("x" * ((1 << 20) + 1)))

    parsed = parse_protobuf(protobuf(log(), late, many, long, log()))

    assert (parsed.accepted, parsed.rejected) == (2, 3)
    assert [rejection.position for rejection in parsed.rejections] == [1, 2, 3]


def test_a_resource_past_the_limits_costs_its_records() -> None:
    bad = Resource(attributes=[key_value("k" * 1025, string(""))])

    parsed = parse_protobuf(protobuf(log(), log(), resource=bad) + protobuf(log()))

    assert (parsed.accepted, parsed.rejected) == (1, 2)


def test_text_that_is_not_utf8_is_mended() -> None:
    body = (
        protobuf(log("AxB"), log("fine"), resource=RESOURCE)
        .replace(b"AxB", b"A\xffB")
        .replace(b"api", b"a\xfei")
    )

    parsed = parse_protobuf(body)

    assert [(row[1], row[4]) for row in parsed.rows] == [("a�i", "A�B"), ("a�i", "fine")]


def test_a_record_whose_bytes_are_broken_is_lost_alone() -> None:
    body = protobuf(log("one"), log("two"), log("three"), resource=RESOURCE)
    broken = body.replace(b"\x0a\x03two", b"\x0a\x7ftwo")  # a text longer than its record

    parsed = parse_protobuf(broken)

    assert broken != body
    assert [row[4] for row in parsed.rows] == ["one", "three"]
    assert (parsed.rejected, parsed.rejections[0].position) == (1, 1)
    assert parsed.rows[0][1] == "api"
    assert parsed.rows[0][8] == "lib@1"


@pytest.mark.parametrize(
    "body", [b"\xff", b"\x0a\x7f", b"\x0b", b"hello, this is text", b"\x0a" + b"\xff" * 11]
)
def test_a_body_that_is_no_envelope_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_protobuf(body)


def test_an_empty_body_is_an_empty_request() -> None:
    assert parse_protobuf(b"").seen == 0
