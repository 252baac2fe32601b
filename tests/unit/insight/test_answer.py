"""Rows in order, steps filled, the sentence made of rows only."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobs.insight import Breakdown, DateRange, InsightQuery, Metric
from jobs.insight_selection import Row, Selection, Table
from workers.insight.answer import Findings, run_query
from workers.insight.buckets import steps_of
from workers.insight.wording import content_of, plan_of

NOW = datetime(2026, 11, 25, 13, 30, tzinfo=UTC)


@dataclass
class Scripted:
    """Answers selections with the tables it was given, in order, and keeps what it was asked."""

    tables: list[list[Row]]
    asked: list[Selection] = field(default_factory=list)

    def read(self, selection: Selection) -> Table:
        self.asked.append(selection)
        return Table(tuple(self.tables.pop(0)), "SELECT 1", {})


def run(reader: Scripted, **parts: Any) -> Findings:
    return run_query(InsightQuery("logs", **parts), reader=reader, now=NOW, zone=UTC)


def test_a_series_has_a_row_for_each_step_and_value_with_the_rest_last() -> None:
    reader = Scripted(
        [
            [Row(None, ("b",), 5), Row(None, ("a",), 3), Row(None, ("c",), 1)],
            [Row(1, (None,), 1), Row(0, ("a",), 3), Row(1, ("b",), 5)],
        ]
    )

    found = run(
        reader, breakdowns=(Breakdown("service_name", 2),), interval="hour", date_range=DateRange("-1h")
    )

    assert found.rows == (
        ("2026-11-25T12:00:00Z", "b", 0),
        ("2026-11-25T12:00:00Z", "a", 3),
        ("2026-11-25T12:00:00Z", "Other", 0),
        ("2026-11-25T13:00:00Z", "b", 5),
        ("2026-11-25T13:00:00Z", "a", 0),
        ("2026-11-25T13:00:00Z", "Other", 1),
    )
    assert reader.asked[1].groups[0].kept == ("b", "a")
    assert not found.truncated


@pytest.mark.parametrize(
    ("op", "empty"), [("count", 0), ("sum", 0), ("avg", None), ("p95", None), ("max", None)]
)
def test_an_empty_step_is_zero_only_for_counts_and_sums(op: str, empty: int | None) -> None:
    metric = Metric(op, None if op == "count" else "attributes.ms")

    found = run(Scripted([[]]), metric=metric, interval="hour", date_range=DateRange("-1h"))

    assert [row[-1] for row in found.rows] == [empty, empty]


def test_totals_are_cut_at_the_limit() -> None:
    reader = Scripted([[Row(None, (f"s{place}",), 9 - place) for place in range(4)]])

    found = run(reader, breakdowns=(Breakdown("service_name"),), limit=3)

    assert [row[0] for row in found.rows] == ["s0", "s1", "s2"]
    assert found.truncated
    assert reader.asked[0].limit == 4


def test_more_series_than_the_limit_are_told() -> None:
    tops = [Row(None, (f"s{place}",), 9 - place) for place in range(3)]
    reader = Scripted([tops, [Row(0, row.groups, 1) for row in tops]])

    found = run(
        reader, breakdowns=(Breakdown("service_name"),), limit=2, interval="hour", date_range=DateRange("-1h")
    )

    assert {row[1] for row in found.rows} == {"s0", "s1"}
    assert found.truncated
    assert found.warnings


@pytest.mark.parametrize(
    ("zone", "start", "interval", "count"),
    [
        ("UTC", "2026-11-24T13:30:00+00:00", "hour", 25),
        ("America/New_York", "2026-11-01T04:00:00+00:00", "day", 25),  # the clocks go back on that day
        ("Asia/Kolkata", "2026-11-25T12:29:59+00:00", "hour", 3),
        ("Europe/Berlin", "2026-10-24T22:00:00+00:00", "hour", 760),
        ("UTC", "2026-11-01T00:00:00+00:00", "week", 5),
        ("UTC", "2025-11-30T00:00:00+00:00", "month", 13),
    ],
)
def test_steps_cover_the_range(zone: str, start: str, interval: Any, count: int) -> None:
    first = datetime.fromisoformat(start)

    used, starts = steps_of(interval, first, NOW, ZoneInfo(zone))

    assert used == interval
    assert starts[0] <= first
    assert starts[-1] <= NOW
    assert list(starts) == sorted(set(starts))
    assert len(starts) == count


@pytest.mark.parametrize(
    ("date_from", "used"),
    [("-1999M", "minute"), ("-2000M", "hour"), ("-90d", "day"), ("-30y", "week"), ("-100y", "month")],
)
def test_a_range_of_too_many_steps_takes_larger_ones(date_from: str, used: str) -> None:
    found = run(Scripted([[]]), interval="minute", date_range=DateRange(date_from))

    assert found.query.interval == used
    assert len(found.rows) <= 2000
    assert bool(found.warnings) == (used != "minute")


def test_a_range_of_too_many_months_is_one_total() -> None:
    found = run(Scripted([[Row(None, (), 4)]]), interval="minute", date_range=DateRange("0001-01-01"))

    assert found.rows == ((4,),)
    assert "one total" in found.warnings[0]


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+(?:\.\d+)?", text)


def test_the_sentence_names_only_numbers_of_the_rows() -> None:
    reader = Scripted([[Row(None, ("web",), 12), Row(None, ("db",), 7.25), Row(None, ("job",), 3)]])

    sentence = content_of(run(reader, breakdowns=(Breakdown("service_name"),)))

    assert "web" in sentence
    assert numbers(sentence) == ["12", "3"]


def test_the_sentence_says_when_nothing_matches() -> None:
    assert content_of(run(Scripted([[]]), breakdowns=(Breakdown("service_name"),))).endswith(
        "no record matches."
    )
    assert "0" in content_of(run(Scripted([[Row(None, (), 0)]])))
    average = Metric("avg", "attributes.ms")
    assert "no record has a value" in content_of(run(Scripted([[Row(None, (), None)]]), metric=average))


def test_the_plan_is_one_sentence_that_keeps_the_case_of_names() -> None:
    query = InsightQuery("logs", metric=Metric("avg", "attributes.LatencyMs"), interval="day")

    assert plan_of(query) == "Average of attributes.LatencyMs of logs, per day, from -24h to now."
