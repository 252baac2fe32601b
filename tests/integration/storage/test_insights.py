"""Questions about jobs and summaries on both databases, against a count in plain Python."""

from __future__ import annotations

import random
import statistics
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from jobs.errors import TimedOut
from jobs.insight import Breakdown, DateRange, Filter, InsightQuery, Metric
from jobs.insight_fields import FIELDS
from jobs.records import JobRecord, new_job_id
from jobs.states import JobState
from storage import insights, jobs
from storage.insights import DatabaseReader
from storage.models import JobRow
from workers.insight.answer import Findings, run_query

Sessions = sessionmaker[Session]
NOW = datetime(2026, 11, 25, 13, 30, tzinfo=UTC)
KINDS = ("text_repr", "summarization", "insight", "logs.query")
STATES = (JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.FAILED, JobState.QUEUED)


def _jobs(count: int, *, project_id: int, seed: int = 7) -> list[JobRecord]:
    dice = random.Random(seed)
    made = []
    for _ in range(count):
        created_at = NOW.timestamp() - dice.randrange(0, 3 * 86_400_000) / 1000
        state = dice.choice(STATES)
        started = None if state is JobState.QUEUED else created_at + dice.randrange(0, 900) / 1000
        finished = None if started is None else started + dice.randrange(1, 90_000) / 1000
        made.append(
            JobRecord(
                id=new_job_id(),
                project_id=project_id,
                user_id=1,
                kind=dice.choice(KINDS),
                queue="render",
                created_at=created_at,
                state=state,
                started_at=started,
                finished_at=finished,
                attempt=dice.randrange(1, 4),
            )
        )
    return made


@pytest.fixture
def records(sessions: Sessions) -> list[JobRecord]:
    mine = _jobs(300, project_id=1)
    with sessions.begin() as session:
        jobs.record(session, [*mine, *_jobs(100, project_id=2, seed=8)])
    return mine


def ask(sessions: Sessions, *, zone: str = "UTC", **parts: Any) -> Findings:
    query = InsightQuery(source=parts.pop("source", "jobs"), **parts)
    return run_query(query, reader=DatabaseReader(sessions, 1), now=NOW, zone=ZoneInfo(zone))


def since(records: list[JobRecord], **ago: float) -> list[JobRecord]:
    start = NOW - timedelta(**ago)
    return [item for item in records if start.timestamp() <= item.created_at <= NOW.timestamp()]


def test_count_is_of_the_project_and_the_range(sessions: Sessions, records: list[JobRecord]) -> None:
    assert ask(sessions).rows == ((len(since(records, hours=24)),),)


def test_breakdown_counts_each_value_largest_first(sessions: Sessions, records: list[JobRecord]) -> None:
    counted = Counter(item.kind for item in since(records, days=3))

    found = ask(sessions, breakdowns=(Breakdown("kind"),), date_range=DateRange("-3d"))

    assert found.rows == tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
    assert not found.truncated


def test_values_past_the_limit_are_left_out_of_totals(sessions: Sessions, records: list[JobRecord]) -> None:
    counted = Counter(item.kind for item in since(records, days=3))

    found = ask(sessions, breakdowns=(Breakdown("kind", 1),), date_range=DateRange("-3d"), order="asc")

    assert found.rows == (min(counted.items(), key=lambda item: (item[1], item[0])),)
    assert found.truncated


def test_two_breakdowns_count_each_pair(sessions: Sessions, records: list[JobRecord]) -> None:
    counted = Counter((item.kind, str(item.state)) for item in since(records, days=3))

    found = ask(sessions, breakdowns=(Breakdown("kind"), Breakdown("state")), date_range=DateRange("-3d"))

    assert {(kind, state): value for kind, state, value in found.rows} == counted


def test_series_has_every_step_and_sums_the_rest(sessions: Sessions, records: list[JobRecord]) -> None:
    counted = Counter(item.kind for item in since(records, hours=6))
    first = min(counted, key=lambda kind: (-counted[kind], kind))

    found = ask(sessions, interval="hour", breakdowns=(Breakdown("kind", 1),), date_range=DateRange("-6h"))

    by_step: dict[tuple[str, str], int] = defaultdict(int)
    for item in since(records, hours=6):
        hour = datetime.fromtimestamp(item.created_at, UTC).strftime("%Y-%m-%dT%H:00:00Z")
        by_step[hour, item.kind if item.kind == first else "Other"] += 1
    hours = [(NOW - timedelta(hours=6 - ago)).strftime("%Y-%m-%dT%H:00:00Z") for ago in range(7)]
    assert found.rows == tuple(
        (hour, name, by_step[hour, name]) for hour in hours for name in (first, "Other")
    )
    assert found.columns == ("time", "kind", "value")


def test_days_are_those_of_the_zone(sessions: Sessions, records: list[JobRecord]) -> None:
    zone = ZoneInfo("America/New_York")
    days = Counter(
        datetime.fromtimestamp(item.created_at, zone).replace(hour=0, minute=0, second=0, microsecond=0)
        for item in since(records, days=2)
    )

    found = ask(sessions, zone="America/New_York", interval="day", date_range=DateRange("-2d"))

    assert dict(found.rows) == {
        day.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"): count for day, count in days.items()
    }


def test_steps_without_records_are_filled(sessions: Sessions) -> None:
    parts: dict[str, Any] = {"interval": "hour", "date_range": DateRange("-2h")}

    assert [row[-1] for row in ask(sessions, **parts).rows] == [0, 0, 0]
    measured = ask(sessions, metric=Metric("avg", "duration_ms"), **parts)
    assert [row[-1] for row in measured.rows] == [None, None, None]


@pytest.mark.parametrize("field", ["duration_ms", "queue_ms"])
def test_measures_of_times(sessions: Sessions, records: list[JobRecord], field: str) -> None:
    measured: dict[str, list[float]] = defaultdict(list)
    for item in since(records, days=3):
        if item.started_at is not None and item.finished_at is not None:
            span = (
                item.finished_at - item.started_at
                if field == "duration_ms"
                else item.started_at - item.created_at
            )
            measured[item.kind].append(round(span * 1000))

    for op in ("sum", "avg", "min", "max", "p50", "p90", "p95", "p99"):
        found = ask(
            sessions, metric=Metric(op, field), breakdowns=(Breakdown("kind"),), date_range=DateRange("-3d")
        )
        # Times are kept to the microsecond, so a rounded millisecond may fall on either side.
        assert dict(found.rows) == pytest.approx(
            {kind: _measure(op, values) for kind, values in measured.items()}, abs=60 if op == "sum" else 1
        )


def _measure(op: str, values: list[float]) -> float:
    if op.startswith("p"):
        return statistics.quantiles(values, n=100, method="inclusive")[int(op[1:]) - 1]
    return {"sum": sum, "min": min, "max": max, "avg": statistics.fmean}[op](values)


def test_percentile_of_one_value_is_the_value(sessions: Sessions) -> None:
    with sessions.begin() as session:
        jobs.record(session, [next(item for item in _jobs(50, project_id=1) if item.finished_at)])

    found = ask(sessions, metric=Metric("p95", "attempt"), date_range=DateRange("-3d"))

    assert found.rows[0][0] in (1, 2, 3)


def test_distinct_values(sessions: Sessions, records: list[JobRecord]) -> None:
    found = ask(sessions, metric=Metric("count_distinct", "kind"), date_range=DateRange("-3d"))

    assert found.rows == ((len({item.kind for item in records}),),)


FILTERS: list[tuple[Filter, Any]] = [
    (Filter("kind", "eq", "insight"), lambda job: job.kind == "insight"),
    (Filter("kind", "neq", "insight"), lambda job: job.kind != "insight"),
    (Filter("kind", "in", ("insight", "x")), lambda job: job.kind == "insight"),
    (
        Filter("kind", "not_in", ("insight", "text_repr")),
        lambda job: job.kind not in ("insight", "text_repr"),
    ),
    (Filter("kind", "contains", "TEXT_"), lambda job: "text_" in job.kind),
    (Filter("kind", "contains", "t%r"), lambda job: False),
    (Filter("kind", "contains", "textxrepr"), lambda job: False),
    (Filter("kind", "not_contains", "."), lambda job: "." not in job.kind),
    (Filter("attempt", "gt", 2), lambda job: job.attempt > 2),
    (Filter("attempt", "lte", 1.5), lambda job: job.attempt <= 1.5),
    (Filter("duration_ms", "is_not_set", None), lambda job: job.finished_at is None),
    (
        Filter("duration_ms", "gte", 45_000),
        lambda job: job.finished_at and job.finished_at - job.started_at >= 45,
    ),
    (Filter("kind", "eq", "' OR 1=1 --"), lambda job: False),
    (Filter("kind", "contains", "'; DROP TABLE jobs; --"), lambda job: False),
    (Filter("kind", "in", ("\\", "%", ":p0", "{p0:String}", "🙂")), lambda job: False),
]


def test_filters(sessions: Sessions, records: list[JobRecord]) -> None:
    recent = since(records, days=3)

    found = {
        item: ask(sessions, filters=(item,), date_range=DateRange("-3d")).rows[0][0] for item, _ in FILTERS
    }

    assert found == {item: sum(bool(wanted(job)) for job in recent) for item, wanted in FILTERS}
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(JobRow)) == 400


def test_the_statement_is_shown_with_names_and_without_values(
    sessions: Sessions, records: list[JobRecord]
) -> None:
    found = ask(sessions, filters=(Filter("kind", "eq", "needle"), Filter("state", "in", ("failed",))))

    assert "needle" not in found.sql
    assert "needle" in found.parameters.values()
    assert all(f":{name}" in found.sql for name in found.parameters)


def test_two_thousand_steps_are_read_and_no_more(sessions: Sessions, records: list[JobRecord]) -> None:
    exact = ask(sessions, interval="minute", date_range=DateRange("-1999M"))
    assert len(exact.rows) == 2000
    assert sum(row[-1] for row in exact.rows if isinstance(row[-1], int)) == len(since(records, minutes=1999))

    larger = ask(sessions, interval="minute", date_range=DateRange("-2000M"))
    assert larger.query.interval == "hour"
    assert "2,000" in larger.warnings[0]


def test_a_statement_that_takes_too_long_is_ended(sessions: Sessions, records: list[JobRecord]) -> None:
    reader = DatabaseReader(sessions, 1, time_limit_s=0.0)
    slow = InsightQuery("jobs", interval="minute", date_range=DateRange("-1900M"))
    if sessions.kw["bind"].dialect.name == "postgresql":
        pytest.skip("0 is no limit there")

    with pytest.raises(TimedOut) as error:
        run_query(slow, reader=reader, now=NOW, zone=UTC)
    assert error.value.code == "query_timeout"
    assert ask(sessions).rows[0][0]  # the connection is good for the next one


def test_a_question_cannot_write(sessions: Sessions) -> None:
    writing = pytest.raises(SQLAlchemyError, match=r"readonly|read-only")

    with sessions() as session, insights.bounded(session, 5), writing:
        session.execute(delete(JobRow))


def test_every_field_of_the_table_has_a_column() -> None:

    for source, records in insights.RECORDS.items():
        assert set(records.fields) == set(FIELDS[source])
