"""NDJSON import: a record a line, and a bad line costs itself only."""

from __future__ import annotations

import json
from datetime import timedelta, timezone
from pathlib import Path

import pytest

from jobs.errors import InvalidRequest, RequestTooLarge
from tests.unit.logs.otlp_bodies import NOW, NOW_MICROS, T_MICROS, T
from workers.logs.ndjson import read_ndjson
from workers.logs.records import NO_SPAN, NO_TRACE, Parsed, Row

SAMPLE = Path(__file__).parents[2] / "data" / "logs" / "sample.ndjson"


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def parse(body: bytes, *, strict: bool = False) -> Parsed:
    return read_ndjson(body, received_at=NOW, strict=strict)


def one(**members: object) -> Row:
    parsed = parse(lines(members))
    assert parsed.rejections == []
    return parsed.rows[0]


def test_every_member_lands_in_its_column() -> None:
    row = one(
        timestamp="2023-11-14T22:13:20.123456789Z",
        severity_text="WARNING",
        service_name="api",
        body="hello",
        attributes={"user": "é"},
        resource_attributes={"host": "a"},
        trace_id="5b8efff798038103d269b633813fc60c",
        span_id="EEE19B7EC3C1B174",
        event_name="login",
        instrumentation_scope="lib@2",
    )

    trace, span = "5B8EFFF798038103D269B633813FC60C", "EEE19B7EC3C1B174"
    assert row[:10] == (T_MICROS, "api", "warn", 13, "hello", trace, span, 0, "lib@2", "login")
    assert row[10] == {"user": "é"}
    assert row[11] == {"service.name": "api", "host": "a"}
    assert row[13] == len("hello") + len("user") + 2 + len("service.nameapi") + len("hosta")


def test_an_empty_object_has_defaults() -> None:
    assert one()[:10] == (NOW_MICROS, "", "info", 9, "", NO_TRACE, NO_SPAN, 0, "", "")


def test_public_records_come_through_unchanged() -> None:
    body = SAMPLE.read_bytes()
    sent = [json.loads(line) for line in body.splitlines()]

    parsed = parse(body)

    assert parsed.rejected == 0
    for record, row in zip(sent, parsed.rows, strict=True):
        assert (row[1], row[2], row[4]) == (record["service_name"], record["severity_text"], record["body"])
        assert (row[10], row[11]) == (record["attributes"], record["resource_attributes"])
        assert row[5] == (record["trace_id"].upper() or NO_TRACE)


@pytest.mark.parametrize(
    ("timestamp", "micros"),
    [
        (T, T_MICROS),
        (T // 1000, T_MICROS),
        (T // 1_000_000, T_MICROS // 1000 * 1000),
        (T // 1_000_000_000, T_MICROS // 1_000_000 * 1_000_000),
        (1.7e9, 1_700_000_000_000_000),
        (0, 0),
        (None, NOW_MICROS),
        ("2026-3-1", 1_772_323_200_000_000),
        ("2262-12-31T23:59:59.999999999Z", 9_246_182_399_999_999),
    ],
)
def test_time(timestamp: object, micros: int) -> None:
    assert one(timestamp=timestamp)[0] == micros


def test_a_time_without_zone_is_in_the_zone_of_the_project() -> None:
    body = lines({"timestamp": "1970-01-02 03:00"}, {"timestamp": "1970-01-02 03:00Z"})

    parsed = read_ndjson(body, received_at=NOW, timezone=timezone(timedelta(hours=3)))

    assert [row[0] for row in parsed.rows] == [86_400_000_000, (86_400 + 3 * 3600) * 1_000_000]


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "now",
        "-1h",
        "2026-02-30",
        "2026-01-01T25:00",
        "1969-12-31",
        "2263-01-01",
        -1,
        1.5,
        True,
        [],
        {},
        "1700000000",
    ],
)
def test_a_bad_time_costs_its_line(timestamp: object) -> None:
    parsed = parse(lines({}, {"timestamp": timestamp}, {}))

    assert (parsed.accepted, parsed.rejected, parsed.rejections[0].position) == (2, 1, 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\tb", "a\tb"),
        (5, "5"),
        (-(10**40), "-" + "1" + "0" * 40),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (True, "true"),
        (None, ""),
        ([], "[]"),
        ({"b": [1, 2.0, None, "é"], "a": {}}, '{"b":[1,2.0,null,"é"],"a":{}}'),
        ([10**30], "[1" + "0" * 30 + "]"),
    ],
)
def test_values_become_text(value: object, expected: str) -> None:
    row = one(body=value, attributes={"k": value}, resource_attributes={"r": value})

    assert (row[4], row[10], row[11]) == (expected, {"k": expected}, {"r": expected})


@pytest.mark.parametrize(
    ("members", "resource"),
    [
        ({"service_name": "a"}, {"service.name": "a"}),
        ({"service_name": "a", "resource_attributes": {"service.name": "b"}}, {"service.name": "b"}),
        ({"service_name": ""}, {}),
        ({"resource_attributes": {"service.name": "b"}}, {"service.name": "b"}),
        ({"service_name": None, "resource_attributes": None}, {}),
    ],
)
def test_service(members: dict[str, object], resource: dict[str, str]) -> None:
    row = one(**members)

    assert row[11] == resource
    assert row[1] == resource.get("service.name", "")


def test_unknown_scalars_become_attributes_and_known_ones_win() -> None:
    row = one(level="x", n=5, ok=True, deep={"a": 1}, none=None, user="outer", attributes={"user": "inner"})

    assert row[10] == {"level": "x", "n": "5", "ok": "true", "user": "inner"}


def test_unknown_members_cost_their_line_when_strict() -> None:
    parsed = parse(lines({"body": "a"}, {"body": "b", "extra": 1}), strict=True)

    assert [row[4] for row in parsed.rows] == ["a"]
    assert parsed.rejected == 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"body": 1e400}',
        b'{"attributes": {"a": 1e400}}',
        b"{",
        b"[]",
        b"1",
        b"null",
        b'"x"',
        b"plain text",
        b'{"a": NaN}',
        b'{"body": "a"} x',
        b'{"attributes": []}',
        b'{"attributes": "x"}',
        b'{"resource_attributes": 5}',
        b'{"service_name": 5}',
        b'{"severity_text": []}',
        b'{"event_name": {}}',
        b'{"body": "' + b"x" * ((1 << 20) + 1) + b'"}',
        b'{"attributes": {"k": "' + b"x" * ((64 << 10) + 1) + b'"}}',
        b'{"resource_attributes": {"' + b"k" * 1025 + b'": ""}}',
        b'{"attributes": {' + b",".join(b'"%d": 1' % n for n in range(513)) + b"}}",
        b'{"body": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"body": [1e999]}',
    ],
)
def test_a_bad_line_is_lost_alone(line: bytes) -> None:
    parsed = parse(b'{"body": "first"}\n\n' + line + b'\r\n  \n{"body": "last"}')

    assert [row[4] for row in parsed.rows] == ["first", "last"]
    assert [rejection.position for rejection in parsed.rejections] == [3]


@pytest.mark.parametrize("value", [5, "abc", None, [], "g" * 32, "0" * 31])
def test_ids_that_are_none_are_dropped(value: object) -> None:
    row = one(trace_id=value, span_id=value)

    assert row[5:7] == (NO_TRACE, NO_SPAN)


def test_the_level_may_be_in_the_body() -> None:
    assert one(body={"level": "error"})[2] == "error"
    assert one(body={"level": "error"}, severity_text="debug")[2] == "debug"
    assert one(severity_number=21, severity_text="debug")[2:4] == ("fatal", 21)


def test_of_equal_keys_the_last_wins() -> None:
    assert parse(b'{"body": "a", "body": "b", "attributes": {"k": 1, "k": 2}}').rows[0][10] == {"k": "2"}


def test_what_is_not_utf8_and_half_surrogates_become_replacement_characters() -> None:
    parsed = parse(b'{"body": "A\xffB"}\n{"body": "\\ud800!", "n": 99999999999999999999999}\n')

    assert [row[4] for row in parsed.rows] == ["A�B", "�!"]
    assert parsed.rows[1][10] == {"n": "99999999999999999999999"}


def test_more_than_a_hundred_bad_lines_are_counted_and_not_listed() -> None:
    parsed = parse(b"{}\n" + b"x\n" * 250)

    assert (parsed.accepted, parsed.rejected, len(parsed.rejections)) == (1, 250, 100)


@pytest.mark.parametrize("body", [b"", b"\n\n \r\n", b"\xef\xbb\xbf"])
def test_an_empty_body_is_fine(body: bytes) -> None:
    assert parse(body).seen == 0


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"\x00\x01\x02\n\x03", b"\x80\n\x81\n"])
def test_a_body_without_a_line_of_text_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(body)


def test_lines_of_text_that_are_no_records_are_no_error_of_the_body() -> None:
    assert parse(b"not json\nnot either\n").rejected == 2


def test_more_records_than_a_request_may_hold() -> None:
    with pytest.raises(RequestTooLarge):
        parse(b"{}\n" * 100_001)
