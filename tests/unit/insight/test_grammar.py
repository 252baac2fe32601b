"""The keyword parser: every rule of it, and what it says about words that it did not use."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.insight import InsightQuery
from jobs.insight_check import check_query
from jobs.insight_dates import resolve_range
from workers.insight import vocabulary
from workers.insight.grammar import NotUnderstood, Parsed, parse_question

NOW = datetime(2026, 11, 25, 13, 30, tzinfo=UTC)  # a Wednesday


def parse(question: str, insight_type: str = "trends") -> Parsed:
    return parse_question(question, insight_type=insight_type, now=NOW, zone=UTC)


def query(question: str, insight_type: str = "trends") -> InsightQuery:
    return parse(question, insight_type).query


def filters(question: str) -> list[tuple[str, str, Any]]:
    return [(item.field, item.op, item.value) for item in query(question).filters]


def groups(question: str) -> list[tuple[str, int]]:
    return [(item.field, item.limit) for item in query(question).breakdowns]


def dates(question: str) -> tuple[str, str | None]:
    found = query(question).date_range
    return found.date_from, found.date_to


def test_warnings_of_yesterday_by_service() -> None:
    assert query("how many warnings yesterday by service").public() == {
        "kind": "InsightQuery",
        "source": "logs",
        "metric": {"op": "count", "field": None},
        "filters": [{"field": "severity_text", "op": "eq", "value": "warn"}],
        "breakdowns": [{"field": "service_name", "limit": 10}],
        "interval": None,
        "date_range": {"date_from": "-1dStart", "date_to": "-1dEnd"},
        "order": "desc",
        "limit": 100,
        "chart": "bar",
    }


def test_messages_with_a_text_per_minute() -> None:
    assert query('messages mentioning "timeout" per minute in the last 2 hours').public() == {
        "kind": "InsightQuery",
        "source": "logs",
        "metric": {"op": "count", "field": None},
        "filters": [{"field": "body", "op": "contains", "value": "timeout"}],
        "breakdowns": [],
        "interval": "minute",
        "date_range": {"date_from": "-2h", "date_to": None},
        "order": "desc",
        "limit": 100,
        "chart": "line",
    }


def test_slowest_jobs_of_a_kind_this_week() -> None:
    assert query("slowest text repr jobs this week").public() == {
        "kind": "InsightQuery",
        "source": "jobs",
        "metric": {"op": "max", "field": "duration_ms"},
        "filters": [{"field": "kind", "op": "eq", "value": "text_repr"}],
        "breakdowns": [],
        "interval": None,
        "date_range": {"date_from": "wStart", "date_to": None},
        "order": "desc",
        "limit": 100,
        "chart": "number",
    }


@pytest.mark.parametrize("word", sorted(vocabulary.REFUSED))
def test_questions_for_reasons_and_forecasts_are_refused(word: str) -> None:
    with pytest.raises(NotUnderstood, match=word):
        parse(f"{word.upper()} errors today")


def test_a_refused_word_in_quotes_is_only_text() -> None:
    assert filters('errors containing "why"') == [
        ("severity_text", "eq", "error"),
        ("body", "contains", "why"),
    ]


def test_part_of_a_word_is_no_keyword() -> None:
    assert query("errors whyever causes").source == "logs"


@pytest.mark.parametrize(
    "question",
    [
        *("Tell me a joke", "how many users today", '"errors" today', "catalogs today", ""),
        *(
            'how many with text "timeout"',
            "trace 4bf92f3577b34da6a3ce929d0e0e4736",
            "how many where task = 5",
        ),
    ],
)
def test_a_question_without_a_source_is_refused(question: str) -> None:
    with pytest.raises(NotUnderstood):
        parse(question)


@pytest.mark.parametrize(
    ("question", "source"),
    [
        ("jobs", "jobs"),
        ("how many TASKS", "jobs"),
        ("time in the queue", "jobs"),
        ("summarization jobs", "jobs"),
        ("messages about jobs", "jobs"),
        ("summaries with errors", "summaries"),
        ("summarizations per hour", "summaries"),
        ("exceptions", "logs"),
        ("which severity", "logs"),
        ("logs of service queue", "logs"),
        ("how many for service jobs", "logs"),
        ("messages where task = 5", "logs"),
    ],
)
def test_source(question: str, source: str) -> None:
    assert query(question).source == source


@pytest.mark.parametrize(
    ("question", "metric"),
    [
        ("how many different services logged errors", ("count_distinct", "service_name")),
        ("number of unique traces in logs", ("count_distinct", "trace_id")),
        ("distinct severity in messages", ("count_distinct", "severity_text")),
        ("how many distinct `user.id` in logs", ("count_distinct", "attributes.user.id")),
        ("how many different models made summaries", ("count_distinct", "model")),
        ("average duration of jobs", ("avg", "duration_ms")),
        ("mean run time of tasks", ("avg", "duration_ms")),
        ("avg latency of jobs", ("avg", "duration_ms")),
        ("median queue time", ("p50", "queue_ms")),
        ("p90 waiting time of jobs", ("p90", "queue_ms")),
        ("p99 latency of summaries", ("p99", "latency_ms")),
        ("max tokens of a summary", ("max", "total_tokens")),
        ("min length of summaries", ("min", "text_repr_length")),
        ("sum of tokens of summaries", ("sum", "total_tokens")),
        ("longest jobs", ("max", "duration_ms")),
        ("shortest jobs", ("min", "duration_ms")),
        ("fastest jobs", ("min", "duration_ms")),
        ("fastest queue time of jobs", ("min", "queue_ms")),
        ('p95 of "latency_ms" in logs', ("p95", "attributes.latency_ms")),
        ("max of attribute `a b` in logs", ("max", "attributes.a b")),
        ("average of the `x` of messages", ("avg", "attributes.x")),
        ("average errors per hour", ("count", None)),
        ("p95 of jobs", ("count", None)),
        ("latency of summaries", ("count", None)),
    ],
)
def test_metric(question: str, metric: tuple[str, str | None]) -> None:
    found = query(question).metric

    assert (found.op, found.field) == metric


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("errors", [("severity_text", "eq", "error")]),
        ("exceptions", [("severity_text", "eq", "error")]),
        ("critical logs", [("severity_text", "eq", "fatal")]),
        ("info and debug logs and warnings", [("severity_text", "in", ("warn", "debug", "info"))]),
        ("logs for service Checkout-API?", [("service_name", "eq", "Checkout-API")]),
        ('logs in service "my shop"', [("service_name", "eq", "my shop")]),
        ("messages with text `100%_\\`", [("body", "contains", "100%_\\")]),
        ("messages containing timeout", [("body", "contains", "timeout")]),
        ("how many messages contain `50 ms`", [("body", "contains", "50 ms")]),
        ("logs where http.status_code = 500", [("attributes.http.status_code", "eq", "500")]),
        ('logs with user=`A "b`', [("attributes.user", "eq", 'A "b')]),
        ("logs where a = 1 and b != 2", [("attributes.a", "eq", "1"), ("attributes.b", "neq", "2")]),
        ("logs where ms >= 20.5", [("attributes.ms", "gte", 20.5)]),
        ("logs of trace 4BF92F3577B34DA6", [("trace_id", "eq", "4bf92f3577b34da6")]),
        ("logs of trace deadbeef", [("trace_id", "eq", "deadbeef")]),
        ("logs of trace added", []),
        ("failed jobs", [("state", "eq", "failed")]),
        ("jobs queued or canceled", [("state", "in", ("canceled", "queued"))]),
        ("bulk jobs", [("kind", "eq", "summarization.bulk")]),
        ("bulk summarization jobs", [("kind", "eq", "summarization.bulk")]),
        ("sparkline and insight jobs", [("kind", "in", ("logs.sparkline", "insight"))]),
        ("detailed summaries", [("mode", "eq", "detailed")]),
        ("detailed and minimal summaries", [("mode", "in", ("detailed", "minimal"))]),
        ("cached summaries", [("cached", "eq", True)]),
        ("summaries not cached", [("cached", "eq", False)]),
    ],
)
def test_filters(question: str, found: list[tuple[str, str, Any]]) -> None:
    assert filters(question) == found


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("errors by service", [("service_name", 10)]),
        ("errors per severity", [("severity_text", 10)]),
        ("errors for each level", [("severity_text", 10)]),
        ("logs grouped by event name", [("event_name", 10)]),
        ("logs split by trace", [("trace_id", 10)]),
        ("errors by service and severity", [("service_name", 10), ("severity_text", 10)]),
        ("errors by service by severity by trace", [("service_name", 10), ("severity_text", 10)]),
        ("top 5 services by errors", [("service_name", 5)]),
        ("top 500 services", [("service_name", 100)]),
        ("which services had errors", [("service_name", 10)]),
        ("what service had most errors", [("service_name", 10)]),
        ("jobs by type", [("kind", 10)]),
        ("jobs by status and source", [("state", 10), ("source", 10)]),
        ("summaries by model and type", [("model", 10), ("summarize_type", 10)]),
        ("summaries per engine", [("engine", 10)]),
        ("logs by attribute `http.route`", [("attributes.http.route", 10)]),
        ("jobs by service", []),
        ("which logs", []),
    ],
)
def test_breakdowns(question: str, found: list[tuple[str, int]]) -> None:
    assert groups(question) == found


@pytest.mark.parametrize(
    ("question", "interval"),
    [
        ("errors per minute", "minute"),
        ("errors each day", "day"),
        ("errors every week", "week"),
        ("errors by month", "month"),
        ("jobs hourly", "hour"),
        ("errors by service per day", "day"),
        ("errors by service and hour", "hour"),
        ("errors by hour and service", "hour"),
        ("how many errors over time", "hour"),
        ("how many errors by service over time in the last 30 minutes", "minute"),
        ("timeline of errors in the last 60 days", "day"),
        ("errors time series of the last 61 days", "week"),
        ("errors", "hour"),
        ("errors in the last hour", "minute"),
        ("errors in the last 3 days", "day"),
        ("errors this week", "day"),
        ("how many errors", None),
        ("Number of errors", None),
        ("count errors", None),
        ("total errors", None),
        ("what is the number of errors", None),
        ("errors by service", None),
        ("longest jobs", None),
        ("distinct services in logs", None),
    ],
)
def test_interval(question: str, interval: str | None) -> None:
    assert query(question).interval == interval


def test_only_trends_turns_a_bare_question_into_a_series() -> None:
    assert query("errors", "sql").interval is None
    assert query("errors over time", "sql").interval == "hour"


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("errors in the last 15 minutes", ("-15M", None)),
        ("errors in the past hour", ("-1h", None)),
        ("errors of the last 24h", ("-24h", None)),
        ("errors in the last two weeks", ("-2w", None)),
        ("errors in the last 6 months", ("-6m", None)),
        ("errors last day", ("-1d", None)),
        ("errors today", ("dStart", None)),
        ("yesterday's errors", ("-1dStart", "-1dEnd")),
        ("errors this hour", ("hStart", None)),
        ("errors this day", ("dStart", None)),
        ("errors this week", ("wStart", None)),
        ("errors this month", ("mStart", None)),
        ("errors since 2026-11-01", ("2026-11-01", None)),
        ("errors since 2026-11-01 08:30", ("2026-11-01 08:30", None)),
        ("errors since yesterday", ("-1dStart", None)),
        ("errors between 2026-11-01 and 2026-11-03", ("2026-11-01", "2026-11-03")),
        ("errors between 2026-11-03 and 2026-11-01", ("2026-11-01", "2026-11-03")),
        ("errors", ("-24h", None)),
        ("errors since 2026-02-30", ("-24h", None)),
        ("errors since 2030-01-01", ("-24h", None)),
        ("errors in the last 999999 months", ("-24h", None)),
        ("errors in the last 0 hours", ("-24h", None)),
    ],
)
def test_range(question: str, found: tuple[str, str | None]) -> None:
    assert dates(question) == found


@pytest.mark.parametrize(
    ("question", "chart"),
    [
        ("errors by service as a table", "table"),
        ("errors per hour as a table", "table"),
        ("pie of errors by service", "pie"),
        ("errors per hour by service", "line"),
        ("errors by service", "bar"),
        ("how many errors", "number"),
    ],
)
def test_chart(question: str, chart: str) -> None:
    assert query(question).chart == chart


def test_words_that_were_not_used_are_named() -> None:
    assert parse("how many purple errors in Berlin today").warnings == (
        'These words were not used: "purple", "Berlin".',
    )


def test_a_question_that_was_understood_whole_has_no_warning() -> None:
    assert parse("How many warning logs per hour by service in the last 6 hours?").warnings == ()


def test_the_step_of_a_series_counts_the_hours_of_the_zone() -> None:
    zone = ZoneInfo("Pacific/Auckland")  # it is 02:30 there
    night = parse_question("errors today", insight_type="trends", now=NOW, zone=zone)

    assert night.query.interval == "hour"
    early = parse_question(
        "errors today", insight_type="trends", now=datetime(2026, 11, 25, 11, 30, tzinfo=UTC), zone=zone
    )
    assert early.query.interval == "minute"


PIECES = st.sampled_from(
    sorted(
        {word for _, words in vocabulary.SOURCE_WORDS for word in words}
        | {word for phrase in vocabulary.OP_PHRASES for word in phrase}
        | {word for table in vocabulary.NUMBER_PHRASES.values() for phrase in table for word in phrase}
        | {word for table in vocabulary.FIELD_PHRASES.values() for phrase in table for word in phrase}
        | set(vocabulary.SHORT_UNITS)
        | {"by", "per", "top", "5", "999999", "last", "since", "between", "and", "2026-11-01", "9999-99-99"}
        | {'"', "`x y`", '""', "=", "where", "with", "trace", "for", "in", "each", "which", "what", "today"}
        | {"yesterday", "this", "distinct", "how", "many", "of", "attribute", "bulk", "cached", "deadbeef1"}
    )
)


@given(st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=25).map(" ".join)))
def test_any_text_gives_a_valid_query_or_is_refused(text: str) -> None:
    try:
        found = parse(text)
    except NotUnderstood:
        return

    assert check_query(found.query.public()) == found.query
    resolve_range(found.query.date_range.date_from, found.query.date_range.date_to, now=NOW, zone=UTC)
