"""Log requests: defaults, kept leniencies, refusals, cursors and normal forms."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from jobs.errors import ValidationFailed
from jobs.json_text import load_json
from jobs.log_cursors import Cursor
from jobs.log_models import MAX_OFFSET, ContextQuery, LogQuery, SparklineQuery
from jobs.logs import (
    filters_key,
    normalised,
    parse_attributes,
    parse_context,
    parse_count,
    parse_export,
    parse_query,
    parse_sparkline,
    parse_values,
)

NOW = datetime(2026, 3, 31, 14, 25, tzinfo=UTC)
ID = UUID("019d2a41-7c00-7000-8000-000000000001")


def read(**members: object) -> LogQuery:
    return parse_query({"query": members}, now=NOW, timezone=UTC)


def spark(**members: object) -> SparklineQuery:
    return parse_sparkline({"query": members}, now=NOW, timezone=UTC)


def test_an_empty_query_lists_the_last_hour() -> None:
    found = read()

    assert found.range.date_from == NOW - timedelta(hours=1)
    assert (found.latest, found.limit, found.after, found.checkpoint) == (True, 1000, None, None)
    assert found.warnings == ()


def test_the_kept_leniencies() -> None:
    assert read(limit=9999).limit == 2000
    assert read(severityLevels=["ERROR", "error", "Info"]).filters.severities == ("info", "error")
    assert read(unknown=1).limit == 1000
    assert read(filterGroup={}).filters.group.members == ()
    assert read(orderBy="upwards").latest
    assert read(orderBy="upwards").warnings


def test_blanks_around_a_search_term_count() -> None:
    assert read(searchTerm=" a ").filters.search == " a "


@pytest.mark.parametrize(
    ("query", "attr"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": "5"}, "limit"),
        ({"limit": 5.0}, "limit"),
        ({"limit": None}, "limit"),
        ({"severityLevels": ["loud"]}, "severityLevels"),
        ({"severityLevels": "error"}, "severityLevels"),
        ({"serviceNames": "a"}, "serviceNames"),
        ({"serviceNames": [1]}, "serviceNames"),
        ({"searchTerm": 5}, "searchTerm"),
        ({"searchTerm": "a" * 1001}, "searchTerm"),
        ({"searchTerm": "\ud800"}, "searchTerm"),
        ({"resourceFingerprint": "0x1"}, "resourceFingerprint"),
        ({"resourceFingerprint": ""}, "resourceFingerprint"),
        ({"resourceFingerprint": True}, "resourceFingerprint"),
        ({"after": "%%%"}, "after"),
        ({"after": ""}, "after"),
        ({"after": 5}, "after"),
        ({"liveLogsCheckpoint": "yesterday"}, "liveLogsCheckpoint"),
        ({"liveLogsCheckpoint": 5}, "liveLogsCheckpoint"),
        ({"excludeAttributes": 1}, "excludeAttributes"),
        ({"dateRange": {"date_from": "-1H"}}, "dateRange__date_from"),
        ({"filterGroup": 5}, "filterGroup"),
    ],
)
def test_a_malformed_field_is_refused_by_name(query: dict[str, Any], attr: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        parse_query({"query": query}, now=NOW, timezone=UTC)

    assert caught.value.attr == f"query__{attr}"
    assert attr.split("__")[-1] in caught.value.detail


@pytest.mark.parametrize("body", [{}, {"query": None}, {"query": []}, {"query": "x"}, [], None])
def test_a_listing_needs_a_query(body: object) -> None:
    with pytest.raises(ValidationFailed):
        parse_query(body, now=NOW, timezone=UTC)


def test_a_cursor_reads_back() -> None:
    cursor = Cursor(NOW, ID, NOW - timedelta(seconds=1))

    assert read(after=cursor.encode()).after == cursor


def test_a_cursor_of_time_and_id_alone_works() -> None:
    text = json.dumps({"timestamp": "2026-03-31T14:25:00.000001+00:00", "uuid": str(ID)})

    assert read(after=base64.b64encode(text.encode()).decode()).after == Cursor(
        NOW + timedelta(microseconds=1), ID
    )


@pytest.mark.parametrize(
    "members",
    [
        {"timestamp": "2026-03-31T14:25:00Z"},
        {"uuid": str(ID)},
        {"timestamp": "x", "uuid": str(ID)},
        {"timestamp": 5, "uuid": str(ID)},
        {"timestamp": "2026-03-31T14:25:00Z", "uuid": "x"},
        {"timestamp": "2026-03-31T14:25:00Z", "uuid": str(ID), "checkpoint": "x"},
        [],
    ],
)
def test_a_broken_cursor_is_refused(members: object) -> None:
    with pytest.raises(ValidationFailed):
        read(after=base64.b64encode(json.dumps(members).encode()).decode())


def test_a_checkpoint_without_a_zone_is_utc() -> None:
    assert read(liveLogsCheckpoint="2026-03-31T14:25:00").checkpoint == NOW


def test_a_sparkline_needs_no_query() -> None:
    for body in ({}, {"query": None}):
        found = parse_sparkline(body, now=NOW, timezone=UTC)

        assert (found.breakdown, found.rank) == ("severity", "count")


@pytest.mark.parametrize("member", [{"sparklineBreakdownBy": "level"}, {"sparklineRankBy": "x"}])
def test_an_unknown_breakdown_or_rank_is_refused(member: dict[str, str]) -> None:
    with pytest.raises(ValidationFailed):
        spark(**member)


@pytest.mark.parametrize(
    ("seconds", "width"), [(0, 1), (150, 1), (151, 5), (375, 5), (376, 10), (3600, 60), (345600, 7200)]
)
def test_the_width_is_nearest_to_a_fiftieth(seconds: int, width: int) -> None:
    start = NOW - timedelta(seconds=seconds)

    assert spark(dateRange={"date_from": start.isoformat(), "date_to": NOW.isoformat()}).width_s == width


def test_requests_that_mean_the_same_have_one_normal_form() -> None:
    one = spark(
        severityLevels=["ERROR", "info"],
        filterGroup=[{"type": "log_entry", "key": "message", "operator": "in", "value": ["a"]}],
        dateRange={"date_from": "-1h"},
    )
    other = spark(
        severityLevels=["info", "error", "error"],
        filterGroup={"values": [{"type": "log", "key": "body", "value": "a"}]},
        sparklineBreakdownBy=None,
    )

    assert normalised(one) == normalised(other)
    assert filters_key(one) == filters_key(other)


def test_the_normal_form_is_a_query_that_reads_back() -> None:
    one = spark(
        searchTerm="é", sparklineBreakdownBy="service", dateRange={"date_from": "-2hStart", "date_to": "-1h"}
    )

    again = parse_sparkline({"query": load_json(normalised(one))}, now=NOW, timezone=UTC)

    assert again == one


def test_the_echo_of_a_listing_reads_back() -> None:
    one = read(limit=5, orderBy="earliest", severityLevels=["WARN"], after=Cursor(NOW, ID).encode())

    assert read(**one.echo) == one


def test_listings_read_their_parameters() -> None:
    found = parse_attributes(
        {
            "search": "abcd",
            "search_values": "true",
            "attribute_type": "resource",
            "serviceNames": '["b","a"]',
            "limit": "7",
            "offset": "3",
            "other": "x",
        },
        now=NOW,
        timezone=UTC,
    )

    assert (found.resource, found.search_values, found.limit, found.offset) == (True, True, 7, 3)
    assert found.filters.services == ("a", "b")


@pytest.mark.parametrize("digits", [1, 18, 19, 400])
def test_offset_has_no_upper_end(digits: int) -> None:
    found = parse_attributes({"offset": "9" * digits}, now=NOW, timezone=UTC)

    assert found.offset == min(int("9" * digits), MAX_OFFSET)


def test_short_terms_are_not_looked_up_in_values() -> None:
    assert not parse_attributes(
        {"search": "abc", "search_values": "true"}, now=NOW, timezone=UTC
    ).search_values


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dateRange", "{bad"),
        ("dateRange", ""),
        ("dateRange", "[]"),
        ("serviceNames", "a"),
        ("serviceNames", '{"a":1}'),
        ("filterGroup", '"x"'),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "9" * 400),
        ("limit", "1.0"),
        ("limit", ""),
        ("offset", "-1"),
        ("offset", "x"),
        ("attribute_type", "span"),
        ("search_values", "yes"),
    ],
)
def test_a_malformed_parameter_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        parse_attributes({name: text}, now=NOW, timezone=UTC)

    assert caught.value.attr == name


@pytest.mark.parametrize("params", [{}, {"key": ""}])
def test_values_need_a_key(params: dict[str, str]) -> None:
    with pytest.raises(ValidationFailed) as caught:
        parse_values(params, now=NOW, timezone=UTC)

    assert caught.value.attr == "key"


def test_an_export_holds_ten_thousand_records() -> None:
    found = parse_export({"query": {"limit": 50_000}, "format": "csv"}, now=NOW, timezone=UTC)

    assert (found.query.limit, found.format) == (10_000, "csv")


def test_a_count_and_a_context_are_read() -> None:
    assert parse_count({}, now=NOW, timezone=UTC).range.date_to == NOW
    assert parse_context(
        {"uuid": str(ID), "timestamp": "2026-03-31T14:25:00Z", "before": "2"}
    ) == ContextQuery(Cursor(NOW, ID), 2, 10)
