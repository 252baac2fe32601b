"""OTLP/JSON: what is kept, as what, and that a bad member costs one record at most."""

from __future__ import annotations

import json

import pytest

from jobs.errors import InvalidRequest, RequestTooLarge
from tests.unit.logs.otlp_bodies import NOW_MICROS, T_MICROS, T, pair, parse, record, request, text
from workers.logs.records import NO_SPAN, NO_TRACE


def attribute(value: object) -> str:
    parsed = parse(request(record(attributes=[pair("k", value)])))
    assert parsed.rejections == []
    return parsed.rows[0][10]["k"]


def test_every_member_lands_in_its_column() -> None:
    resource = {"attributes": [pair("service.name", text("api")), pair("host", text("a"))]}
    sent = {
        "timeUnixNano": str(T),
        "observedTimeUnixNano": "5",
        "severityNumber": 18,
        "severityText": "debug",
        "body": text("hello"),
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "EEE19B7EC3C1B174",
        "flags": 0x1FF,
        "eventName": "login",
        "attributes": [pair("user", text("é"))],
        "newField": {"ignored": True},
    }

    parsed = parse(request(sent, resource=resource, scope={"name": "lib", "version": "2"}))

    row = parsed.rows[0]
    assert parsed.rejected == 0
    assert row[:10] == (
        T_MICROS,
        "api",
        "error",
        18,
        "hello",
        "5B8EFFF798038103D269B633813FC60C",
        "EEE19B7EC3C1B174",
        255,
        "lib@2",
        "login",
    )
    assert row[10] == {"user": "é"}
    assert row[11] == {"service.name": "api", "host": "a"}
    assert row[13] == len("hello") + len("user") + 2 + len("service.nameapi") + len("hosta")


def test_an_empty_record_has_defaults() -> None:
    row = parse(request({})).rows[0]

    assert row[:10] == (NOW_MICROS, "", "info", 9, "", NO_TRACE, NO_SPAN, 0, "", "")
    assert (row[10], row[11], row[13]) == ({}, {}, 0)


@pytest.mark.parametrize("body", [b"{}", b'{"resourceLogs": []}', b'{"resourceLogs": null}', b"  {}\n"])
def test_an_empty_request_is_fine(body: bytes) -> None:
    parsed = parse(body)

    assert (parsed.accepted, parsed.rejected) == (0, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b'"x"',
        b"null",
        b"{",
        b'{"resourceLogs": 1}',
        b'{"resourceLogs": {}}',
        b'{"resourceLogs": "x"}',
        b'{"a": NaN}',
        b'{\n  "resourceLogs": [\n    {}\n  ]\n',
        b"\xff\xfe",
        b"x\n{}",
    ],
)
def test_a_body_that_is_no_envelope_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(body)

    assert caught.value.status == 400


def test_documents_on_lines_are_merged() -> None:
    lines = [request(record(body=text(word))) for word in ("a", "b")]

    parsed = parse(b"\n".join([*lines, b"", b"[1]", b"{oops", b""]))

    assert [row[4] for row in parsed.rows] == ["a", "b"]
    assert parsed.rejected == 2


@pytest.mark.parametrize(
    ("sent", "micros"),
    [
        ({"timeUnixNano": T}, T_MICROS),
        ({"timeUnixNano": str(T), "observedTimeUnixNano": "9000"}, T_MICROS),
        ({"timeUnixNano": "0", "observedTimeUnixNano": "1999"}, 1),
        ({"observedTimeUnixNano": 1999}, 1),
        ({"timeUnixNano": None, "observedTimeUnixNano": "bad"}, NOW_MICROS),
        ({"timeUnixNano": 0}, NOW_MICROS),
        ({"timeUnixNano": 1.5e18}, 1_500_000_000_000_000),
        ({"timeUnixNano": "9246182399999999999"}, 9_246_182_399_999_999),
    ],
)
def test_time(sent: dict[str, object], micros: int) -> None:
    assert parse(request(sent)).rows[0][0] == micros


@pytest.mark.parametrize(
    "time",
    ["", "-1", -1, "1.5", 1.5, "1e3", True, "x", " 1", [], {}, "9246182400000000000", 2**64, "9" * 30, "١"],
)
def test_a_bad_time_costs_its_record(time: object) -> None:
    parsed = parse(request({}, {"timeUnixNano": time}, {}))

    assert (parsed.accepted, parsed.rejected) == (2, 1)
    assert parsed.rejections[0].position == 1
    assert "timeUnixNano" in parsed.rejections[0].reason


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (text(" a\n\t"), " a\n\t"),
        (text(""), ""),
        ({"intValue": "9223372036854775807"}, "9223372036854775807"),
        ({"intValue": -9223372036854775808}, "-9223372036854775808"),
        ({"intValue": 5.0}, "5"),
        ({"boolValue": True}, "true"),
        ({"boolValue": False}, "false"),
        ({"doubleValue": 1}, "1.0"),
        ({"doubleValue": 0.1}, "0.1"),
        ({"doubleValue": 1e22}, "1e+22"),
        ({"doubleValue": "NaN"}, "NaN"),
        ({"doubleValue": "-Infinity"}, "-Infinity"),
        ({"bytesValue": "aGk="}, "aGk="),
        ({"bytesValue": "_-8"}, "/+8="),
        ({}, ""),
        (None, ""),
        ({"unknownValue": 1}, ""),
        ({"arrayValue": {}}, "[]"),
        (
            {"arrayValue": {"values": [text("é"), {"intValue": "1"}, {"doubleValue": 2}, {}]}},
            '["é",1,2.0,null]',
        ),
        (
            {"kvlistValue": {"values": [pair("b", {"boolValue": True}), pair("a", {"bytesValue": "aGk="})]}},
            '{"b":true,"a":"aGk="}',
        ),
        ({"arrayValue": {"values": [{"doubleValue": "NaN"}]}}, '["NaN"]'),
    ],
)
def test_values_become_text(value: object, expected: str) -> None:
    assert attribute(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "bare text",
        1,
        [],
        {"stringValue": 1},
        {"intValue": "x"},
        {"intValue": 1.5},
        {"intValue": True},
        {"intValue": "9223372036854775808"},
        {"boolValue": "true"},
        {"doubleValue": "x"},
        {"doubleValue": True},
        {"bytesValue": "!"},
        {"bytesValue": 1},
        {"arrayValue": 1},
        {"arrayValue": {"values": 1}},
        {"arrayValue": {"values": [1]}},
        {"kvlistValue": {"values": [1]}},
        {"kvlistValue": {"values": [{"key": 1}]}},
    ],
)
@pytest.mark.parametrize("place", ["body", "attribute"])
def test_a_bad_value_costs_its_record(value: object, place: str) -> None:
    bad = record(body=value) if place == "body" else record(attributes=[pair("k", value)])

    parsed = parse(request(record(), bad, record()))

    assert (parsed.accepted, parsed.rejected) == (2, 1)


@pytest.mark.parametrize("bad", [None, 1, "x", [], True])
def test_a_record_that_is_no_object_is_lost_alone(bad: object) -> None:
    parsed = parse(request(record(), bad, record()))

    assert (parsed.accepted, parsed.rejected) == (2, 1)


@pytest.mark.parametrize("bad", [{}, "x", 1, [1], [None], [{"key": 5}]])
def test_bad_attributes_cost_their_record(bad: object) -> None:
    parsed = parse(request(record(), record(attributes=bad), record()))

    assert (parsed.accepted, parsed.rejected) == (2, 1)


@pytest.mark.parametrize("bad", [1, "x", [], {"attributes": {}}, {"attributes": [1]}])
def test_a_bad_resource_costs_its_records_only(bad: object) -> None:
    good = json.loads(request(record()))["resourceLogs"]
    spoiled = json.loads(request(record(), record(), resource=bad))["resourceLogs"]

    parsed = parse(json.dumps({"resourceLogs": [*good, *spoiled, *good, 5]}).encode())

    assert (parsed.accepted, parsed.rejected) == (2, 3)
    assert [rejection.position for rejection in parsed.rejections] == [1, 2, 4]


@pytest.mark.parametrize(
    "members",
    [
        {"traceId": "abc", "spanId": "xyz"},
        {"traceId": "0" * 31 + "g", "spanId": 5},
        {"traceId": None, "spanId": []},
        {"traceId": "٣" * 32, "spanId": "0" * 32},
        {
            "severityNumber": "x",
            "severityText": 5,
            "flags": "x",
            "eventName": 1,
            "droppedAttributesCount": "x",
        },
        {"severityNumber": True, "flags": True, "observedTimeUnixNano": "x"},
    ],
)
def test_members_that_do_not_matter_are_dropped_and_the_record_kept(members: dict[str, object]) -> None:
    row = parse(request(record(**members), scope=5)).rows[0]

    assert row[:10] == (T_MICROS, "", "info", 9, "", NO_TRACE, NO_SPAN, 0, "", "")


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"name": "a", "version": "1"}, "a@1"),
        ({"name": "a"}, "a@"),
        ({}, ""),
        (None, ""),
        ({"name": 5, "version": None}, ""),
    ],
)
def test_scope(scope: object, expected: str) -> None:
    assert parse(request(record(), scope=scope)).rows[0][8] == expected


def test_of_equal_keys_the_last_wins() -> None:
    pairs = [pair("a", text("1")), pair("b", text("2")), pair("a", text("3"))]

    row = parse(request(record(attributes=pairs))).rows[0]

    assert row[10] == {"a": "3", "b": "2"}
    assert row[13] == 4


def test_limits_are_in_bytes_and_inclusive() -> None:
    good = record(
        body=text("é" * 524_288),
        attributes=[pair("é" * 512, text("é" * 32_768)), *(pair(str(n), None) for n in range(511))],
    )
    bad = [
        record(body=text("é" * 524_288 + "x")),
        record(attributes=[pair("é" * 512 + "x", None)]),
        record(attributes=[pair("k", text("é" * 32_768 + "x"))]),
        record(attributes=[pair("same", None)] * 513),
    ]

    parsed = parse(request(good, *bad))

    assert (parsed.accepted, parsed.rejected) == (1, 4)


def test_more_records_than_a_request_may_hold() -> None:
    body = request(*[{}] * 100_000)

    assert parse(body).accepted == 100_000
    with pytest.raises(RequestTooLarge):
        parse(body + b"\n" + request({}))


def test_what_is_not_utf8_and_half_surrogates_become_replacement_characters() -> None:
    body = request(record(body=text("A-B")), record(body=text("C"))).replace(b"A-B", b"A\xffB")
    escaped = request(record(body=text("D"))).replace(b'"D"', b'"\\ud800 \\ud83c\\udf89 \\\\ud800 \\udc00"')

    assert [row[4] for row in parse(body).rows] == ["A�B", "C"]
    assert parse(escaped).rows[0][4] == "� 🎉 \\ud800 �"


def test_deep_values_cost_their_record() -> None:
    value: object = text("x")
    for _ in range(200):
        value = {"arrayValue": {"values": [value]}}

    parsed = parse(request(record(), record(body=value), record()))

    assert parsed.accepted + parsed.rejected == 3
    assert parsed.accepted >= 2


def test_a_byte_order_mark_is_not_part_of_the_document() -> None:
    assert parse(b"\xef\xbb\xbf" + request(record())).accepted == 1


def test_a_number_beyond_the_floats_costs_its_record() -> None:
    body = request(record(body={"doubleValue": 1}), record()).replace(
        b'"doubleValue": 1', b'"doubleValue": 1e400'
    )
    assert b"1e400" in body

    parsed = parse(body)

    assert (parsed.accepted, parsed.rejected) == (1, 1)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert parse(request(record(severityNumber=17.0))).rows[0][2:4] == ("error", 17)
