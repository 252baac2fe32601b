"""Precomputed sparklines: when they are used, and that an answer made with them is the exact one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.sparklines import (
    SETTLE_S,
    Plan,
    Stored,
    closed_buckets,
    decode,
    encode,
    plan,
    rows_between,
    sparkline_key,
)
from jobs.log_dates import micros
from jobs.log_models import SparklineQuery
from jobs.logs import parse_sparkline
from jobs.sparklines import NO_VALUE, OTHER, Frame, Row, answer_rows

NOW = datetime(2026, 11, 23, 12, 0, 30, 500_000, tzinfo=UTC)

Record = tuple[int, str, int]  # microseconds since 1970, service, bytes


def sparkline(now: datetime = NOW, **members: Any) -> SparklineQuery:
    query = {"sparklineBreakdownBy": "service", "dateRange": {"date_from": "-1h"}, **members}
    return parse_sparkline({"query": query}, now=now, timezone=UTC)


def counted(records: Iterable[Record], first: int, last: int, width_s: int) -> list[Row]:
    """What the log store would answer for a range."""
    counts: Counter[tuple[int, str]] = Counter()
    sizes: Counter[tuple[int, str]] = Counter()
    for at, service, size in records:
        if first <= at <= last:
            bucket = (at // 1_000_000 // width_s * width_s, service)
            counts[bucket] += 1
            sizes[bucket] += size
    return [(start, value, count, sizes[start, value]) for (start, value), count in counts.items()]


def computed(query: SparklineQuery, records: Iterable[Record]) -> list[Row]:
    return counted(records, micros(query.date_from), micros(query.range.date_to), query.width_s)


def stored_by_run(query: SparklineQuery, records: Iterable[Record], *, now: datetime) -> Stored:
    found = closed_buckets(query, now_us=micros(now))
    assert found is not None
    start, end = found
    rows = counted(records, start * 1_000_000, end * 1_000_000 - 1, query.width_s)
    return Stored(now.timestamp(), 60, start, end, tuple(rows))


def merged(query: SparklineQuery, stored: Stored, chosen: Plan, records: Iterable[Record]) -> list[Row]:
    live = [row for part in chosen.live for row in counted(records, *part, query.width_s)]
    return [*rows_between(stored, chosen), *live]


@settings(deadline=None)
@given(
    offsets=st.lists(
        st.tuples(
            st.integers(-4_000_000_000, 200_000_000), st.sampled_from("abcdefghijklmnop"), st.integers(0, 9)
        ),
        max_size=60,
    ),
    later_us=st.integers(0, 120_000_000),
    rank=st.sampled_from(["count", "bytes"]),
)
def test_an_answer_with_stored_rows_equals_the_computed_one(
    offsets: list[Record], later_us: int, rank: str
) -> None:
    records = [(micros(NOW) + offset, service, size) for offset, service, size in offsets]
    stored = stored_by_run(sparkline(sparklineRankBy=rank), records, now=NOW)
    later = NOW + timedelta(microseconds=later_us)
    query = sparkline(later, sparklineRankBy=rank)

    chosen = plan(query, stored, now=later.timestamp())

    assert chosen is not None
    assert answer_rows(Frame.of(query), merged(query, stored, chosen, records)) == answer_rows(
        Frame.of(query), computed(query, records)
    )


def test_the_parts_of_buckets_at_both_ends_are_computed() -> None:
    query = sparkline()
    stored = stored_by_run(query, [], now=NOW)

    chosen = plan(query, stored, now=NOW.timestamp())

    noon = 12 * 3600 + micros(datetime(2026, 11, 23, tzinfo=UTC)) // 1_000_000
    assert chosen == Plan(
        noon - 3600 + 60,
        noon,
        (
            (micros(NOW) - 3_600_000_000, (noon - 3600 + 60) * 1_000_000 - 1),
            (noon * 1_000_000, micros(NOW)),
        ),
    )


def test_a_range_of_whole_stored_buckets_needs_no_computing() -> None:
    query = sparkline(dateRange={"date_from": "-1dStart", "date_to": "-1dEnd"})

    chosen = plan(query, stored_by_run(query, [], now=NOW), now=NOW.timestamp())

    assert chosen is not None
    assert chosen.live == ()


def test_a_bucket_whose_records_may_be_on_their_way_is_not_stored() -> None:
    query = sparkline()
    boundary = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    just_over = closed_buckets(query, now_us=micros(boundary))
    settled = closed_buckets(query, now_us=micros(boundary + timedelta(seconds=SETTLE_S)))

    assert just_over is not None
    assert settled == (just_over[0], just_over[1] + 60)


def test_rows_are_used_for_two_periods() -> None:
    query = sparkline()
    stored = stored_by_run(query, [], now=NOW)

    assert plan(query, stored, now=NOW.timestamp() + 120) is not None
    assert plan(query, stored, now=NOW.timestamp() + 121) is None


@pytest.mark.parametrize(
    "date_range", [{"date_from": "-10s"}, {"date_from": "2026-11-20", "date_to": "2026-11-21"}]
)
def test_rows_of_another_time_are_of_no_use(date_range: dict[str, str]) -> None:
    stored = stored_by_run(sparkline(), [], now=NOW)

    assert plan(sparkline(dateRange=date_range), stored, now=NOW.timestamp()) is None


def test_the_key_is_made_of_what_the_rows_depend_on() -> None:
    usual = sparkline()
    others = [
        sparkline(severityLevels=["error"]),
        sparkline(serviceNames=["a"]),
        sparkline(searchTerm="x"),
        sparkline(sparklineBreakdownBy="severity"),
        sparkline(sparklineRankBy="bytes"),
        sparkline(dateRange={"date_from": "-24h"}),
    ]

    keys = {sparkline_key(1, query) for query in (usual, *others)} | {sparkline_key(2, usual)}

    assert len(keys) == 8


def test_requests_that_mean_the_same_share_a_key() -> None:
    one = sparkline(severityLevels=["error", "WARN"], filterGroup=[])
    two = sparkline(severityLevels=["warn", "error"], filterGroup=None, searchTerm="")

    assert sparkline_key(1, one) == sparkline_key(1, two)


def test_filters_that_move_with_time_have_no_key() -> None:
    moving = {"type": "log_attribute", "key": "due", "operator": "is_date_after", "value": "-1h"}

    assert sparkline_key(1, sparkline(filterGroup=[moving])) is None


def test_stored_rows_are_read_as_they_were_written() -> None:
    stored = Stored(NOW.timestamp(), 60.0, 0, 120, ((0, "a", 1, 2), (60, "\u00e9", 3, 2**60)))

    assert decode(encode(stored)) == stored


@pytest.mark.parametrize(
    "raw", [None, b"", b"x", b"\x01broken", encode(Stored(0, 0, 0, 0, ()))[:-3], b"\x02"]
)
def test_what_cannot_be_read_is_not_there(raw: bytes | None) -> None:
    assert decode(raw) is None


def test_ten_values_keep_their_names_and_the_rest_is_one() -> None:
    query = sparkline()
    start = micros(NOW) // 60_000_000 * 60
    rows = [(start, f"service {number:02}", 100 - number, 1) for number in range(13)]

    answer = answer_rows(Frame.of(query), rows)

    named = {row["service"]: row["count"] for row in answer if row["count"]}
    assert named == {**{f"service {n:02}": 100 - n for n in range(10)}, OTHER: 90 + 89 + 88}


def test_values_that_rank_alike_are_chosen_by_name() -> None:
    query = sparkline()
    start = micros(NOW) // 60_000_000 * 60

    answer = answer_rows(Frame.of(query), [(start, name, 1, 1) for name in "lkjihgfedcba"])

    assert {row["service"] for row in answer if row["count"]} == {*"abcdefghij", OTHER}


def test_empty_buckets_and_empty_names_have_no_value() -> None:
    query = replace(sparkline(), range=sparkline().range)
    start = micros(NOW) // 60_000_000 * 60

    answer = answer_rows(Frame.of(query), [(start, "", 2, 5)])

    assert len(answer) == 61
    assert [row for row in answer if row["count"]] == [
        {"time": "2026-11-23T12:00:00Z", "service": NO_VALUE, "count": 2, "bytes_uncompressed": 5}
    ]
    assert {row["service"] for row in answer} == {NO_VALUE}
