"""Rows of answered summaries: written once, removed when old."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from jobs.answered import AnsweredSummary, entry_of, read_entry
from jobs.insight import Breakdown, Filter, InsightQuery, Metric
from storage import summaries
from storage.insights import DatabaseReader
from storage.models import SummaryRow
from workers.insight.answer import run_query

Sessions = sessionmaker[Session]
NOW = datetime(2026, 11, 25, 13, 30, tzinfo=UTC)
ANSWER = AnsweredSummary(
    answer_id="a",
    project_id=1,
    created_at=NOW.timestamp() - 60,
    summarize_type="trace",
    mode="minimal",
    model="gpt-4.1-mini",
    engine="llm",
    status="miss",
    cached=False,
    latency_ms=812.5,
    text_repr_length=4000,
    total_tokens=1500,
    cost_usd=0.25,
)


def test_an_answer_is_written_once(sessions: Sessions) -> None:
    for _ in range(2):
        with sessions.begin() as session:
            summaries.record_all(session, read_entry(entry_of([ANSWER, replace(ANSWER, answer_id="b")])))

    with sessions() as session:
        rows = session.scalars(select(SummaryRow).order_by(SummaryRow.answer_id)).all()
    assert [row.answer_id for row in rows] == ["a", "b"]
    assert (rows[0].latency_ms, rows[0].cost_usd, rows[0].cached) == (812.5, 0.25, False)


def test_old_answers_are_removed(sessions: Sessions) -> None:
    old = replace(ANSWER, answer_id="old", created_at=ANSWER.created_at - 7200)
    with sessions.begin() as session:
        summaries.record_all(session, [ANSWER, old])

    with sessions.begin() as session:
        assert summaries.remove_older_than(session, NOW - timedelta(hours=1)) == 1
    with sessions() as session:
        assert session.scalars(select(SummaryRow.answer_id)).all() == ["a"]


def test_summaries_are_counted_and_measured(sessions: Sessions) -> None:
    hit = replace(ANSWER, answer_id="hit", status="hit", cached=True, total_tokens=0, cost_usd=0.0)
    unknown = replace(ANSWER, answer_id="unpriced", model="other", cost_usd=None, mode="detailed")
    with sessions.begin() as session:
        summaries.record_all(session, [ANSWER, hit, unknown])
    reader = DatabaseReader(sessions, 1)

    def ask(**parts: object) -> tuple[tuple[object, ...], ...]:
        query = InsightQuery("summaries", **parts)  # type: ignore[arg-type]
        return run_query(query, reader=reader, now=NOW, zone=UTC).rows

    assert ask(breakdowns=(Breakdown("cached"),)) == ((False, 2), (True, 1))
    assert ask(filters=(Filter("cached", "eq", True),)) == ((1,),)
    assert ask(filters=(Filter("cost_usd", "is_not_set", None),)) == ((1,),)
    assert ask(metric=Metric("sum", "total_tokens"), breakdowns=(Breakdown("model"),)) == (
        ("gpt-4.1-mini", 1500),
        ("other", 1500),
    )
    assert ask(metric=Metric("avg", "cost_usd")) == ((0.125,),)
    assert ask(metric=Metric("p50", "latency_ms"), filters=(Filter("mode", "in", ("detailed",)),)) == (
        (812.5,),
    )
