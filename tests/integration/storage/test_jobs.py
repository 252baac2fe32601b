from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session, sessionmaker

from jobs.records import JobRecord, new_job_id
from jobs.states import FINAL_STATES, JobState
from storage import jobs
from storage.jobs import JobFilter, PromisedJob
from storage.models import UNFINISHED, JobRow

Sessions = sessionmaker[Session]
START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def _job(*, minutes: float = 0, **values: Any) -> JobRecord:
    created_at = (START + timedelta(minutes=minutes)).timestamp()
    defaults: dict[str, Any] = {
        "id": new_job_id(),
        "project_id": 1,
        "user_id": 1,
        "kind": "text_repr",
        "queue": "render",
        "created_at": created_at,
        "expires_at": created_at + 86_400,
    }
    return JobRecord(**{**defaults, **values})


def _record(sessions: Sessions, *records: JobRecord) -> None:
    with sessions.begin() as session:
        jobs.record(session, records)


def _promise(sessions: Sessions, *records: JobRecord) -> None:
    with sessions.begin() as session:
        jobs.insert_promised(session, [PromisedJob(item, b"request", {"codec": "zstd"}) for item in records])


def _read(sessions: Sessions, record: JobRecord) -> JobRecord:
    with sessions() as session:
        found = jobs.get(session, record.id)
    assert found is not None
    return found


def _ids(page: tuple[int, list[JobRecord]]) -> list[str]:
    return [job.id for job in page[1]]


def test_a_record_comes_back_as_it_was(sessions: Sessions) -> None:
    job = _job(
        state=JobState.FAILED,
        started_at=START.timestamp() + 0.210001,
        finished_at=START.timestamp() + 1.5,
        metadata={"team": "payments", "a": "é"},
        result_status=502,
        result_headers={"Retry-After": "5"},
        error={"type": "server_error", "code": "x", "detail": "y", "attr": None, "attempts": 2},
        request_id="req-12345678",
        flight="f",
        forced_at=START.timestamp(),
        parent_id="job_parent",
        schedule_id="sch_1",
        source="retry",
    )

    _record(sessions, job)
    read = _read(sessions, job)

    assert read == job
    assert read.public("http://x") == job.public("http://x")
    assert list(read.error or {}) == ["type", "code", "detail", "attr", "attempts"]


def test_an_unknown_job_is_none(session: Session) -> None:
    assert jobs.get(session, "job_none") is None
    assert jobs.load_promised(session, "job_none") is None


def test_records_in_any_order_end_in_the_same_row(sessions: Sessions) -> None:
    first = _job()
    life = [
        first,
        replace(first, state=JobState.RUNNING, started_at=first.created_at + 1),
        replace(first, attempt=2),
        replace(first, attempt=2, state=JobState.RUNNING, started_at=first.created_at + 3),
        replace(first, attempt=2, state=JobState.SUCCEEDED, finished_at=first.created_at + 4),
    ]

    for order in permutations(life):
        job_id = new_job_id()
        _record(sessions, *(replace(item, id=job_id) for item in order))

        assert _read(sessions, replace(first, id=job_id)) == replace(life[-1], id=job_id)


@pytest.mark.parametrize("final", sorted(FINAL_STATES))
def test_nothing_changes_after_the_end(sessions: Sessions, final: JobState) -> None:
    job = _job()
    ended = replace(job, state=final, finished_at=job.created_at + 1, result_status=200)
    _record(sessions, ended)

    for late in (
        replace(job, state=JobState.RUNNING, attempt=9),
        *(replace(job, state=other, attempt=9, result_status=500) for other in FINAL_STATES),
    ):
        _record(sessions, replace(late, cancel_requested=True))

    assert _read(sessions, job) == ended


def test_a_lost_worker_puts_the_job_back_once(sessions: Sessions) -> None:
    job = _job()
    running = replace(job, state=JobState.RUNNING, started_at=job.created_at + 1)

    _record(sessions, running)
    _record(sessions, job)
    after_old_record = _read(sessions, job)
    _record(sessions, replace(job, attempt=2))

    assert after_old_record == running
    assert _read(sessions, job) == replace(job, attempt=2)


def test_a_wish_to_cancel_is_kept(sessions: Sessions) -> None:
    job = _job(cancel_requested=True)

    _record(sessions, job)
    _record(sessions, replace(job, state=JobState.RUNNING, cancel_requested=False))

    assert _read(sessions, job).cancel_requested


def test_a_promised_job_has_its_request_until_it_ends(sessions: Sessions) -> None:
    job = _job()
    _promise(sessions, job)
    _record(sessions, replace(job, state=JobState.RUNNING))

    with sessions() as session:
        promised = jobs.load_promised(session, job.id)
    _record(sessions, replace(job, state=JobState.SUCCEEDED))
    with sessions() as session:
        ended = jobs.load_promised(session, job.id)
        payload = session.scalar(select(JobRow.payload).where(JobRow.id == job.id))

    assert promised is not None
    assert (promised.payload, promised.payload_meta) == (b"request", {"codec": "zstd"})
    assert promised.record == replace(job, state=JobState.RUNNING, promised=True)
    assert ended is None
    assert payload is None
    assert _read(sessions, job).promised


def test_a_job_that_was_recorded_first_can_still_be_promised(sessions: Sessions) -> None:
    running = _job(state=JobState.RUNNING)
    _record(sessions, running)

    _promise(sessions, replace(running, state=JobState.QUEUED))

    with sessions() as session:
        promised = jobs.load_promised(session, running.id)
    assert promised is not None
    assert promised.payload == b"request"
    assert promised.record.state is JobState.RUNNING


def test_a_job_that_ended_before_its_promise_keeps_no_request(sessions: Sessions) -> None:
    ended = _job(state=JobState.SUCCEEDED)
    _record(sessions, ended)

    _promise(sessions, replace(ended, state=JobState.QUEUED))

    assert _read(sessions, ended) == ended


def test_unfinished_promised_jobs_are_found_in_batches(sessions: Sessions) -> None:
    waiting = [_job(minutes=number) for number in range(5)]
    _promise(sessions, *waiting)
    _record(sessions, _job(), _job(state=JobState.SUCCEEDED, promised=True))
    _record(sessions, replace(waiting[1], state=JobState.CANCELED))

    before = START + timedelta(minutes=4)
    with sessions() as session:
        first = jobs.unfinished(session, created_before=before, limit=2)
        second = jobs.unfinished(session, created_before=before, limit=2, after=first[-1])

    assert [job.id for job in first] == [waiting[0].id, waiting[2].id]
    assert [job.id for job in second] == [waiting[3].id]


def test_the_search_for_unfinished_jobs_uses_its_index(engine: Engine) -> None:
    if engine.dialect.name == "postgresql":
        plan = ("SET LOCAL enable_seqscan = off", "EXPLAIN SELECT id FROM jobs WHERE ")
    else:
        plan = ("SELECT 1", "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE ")

    with engine.begin() as connection:
        connection.execute(text(plan[0]))
        rows = connection.execute(text(f"{plan[1]} {UNFINISHED} AND created_at < '2026-01-01'")).all()

    assert "ix_jobs_unfinished" in str(rows)


def test_a_page_is_newest_first_and_counts_all(sessions: Sessions) -> None:
    made = [_job(minutes=number) for number in range(5)]
    twin = _job(minutes=4, id=made[4].id + "Z")
    _record(sessions, *made, twin, _job(project_id=2))

    with sessions() as session:
        count, first = jobs.page(session, 1, JobFilter(), limit=3)
        rest = jobs.page(session, 1, JobFilter(), limit=3, offset=3)
        beyond = jobs.page(session, 1, JobFilter(), limit=3, offset=10**30)

    assert count == 6
    assert [job.id for job in first] + _ids(rest) == [
        job.id for job in (twin, made[4], made[3], made[2], made[1], made[0])
    ]
    assert beyond == (6, [])


def test_filters_hold_together(sessions: Sessions) -> None:
    summary = _job(kind="summarization", minutes=1)
    failed = _job(kind="summarization", minutes=2, state=JobState.FAILED, source="schedule", schedule_id="s")
    child = _job(minutes=3, parent_id=summary.id, state=JobState.SUCCEEDED, source="retry")
    _record(sessions, summary, failed, child)

    def found(**chosen: Any) -> list[str]:
        with sessions() as session:
            return _ids(jobs.page(session, 1, JobFilter(**chosen), limit=10))

    assert found(kinds=["summarization"]) == [failed.id, summary.id]
    assert found(kinds=["summarization", "text_repr"]) == [child.id, failed.id, summary.id]
    assert found(kinds=["summarization"], states=["failed"]) == [failed.id]
    assert found(states=["failed", "succeeded"]) == [child.id, failed.id]
    assert found(source="retry") == [child.id]
    assert found(schedule_id="s") == [failed.id]
    assert found(parent_id=summary.id) == [child.id]
    assert found(created_after=START + timedelta(minutes=1.5)) == [child.id, failed.id]
    assert found(created_before=START + timedelta(minutes=1.5)) == [summary.id]
    assert found(allowed_kinds=["text_repr"]) == [child.id]
    assert found(allowed_kinds=["text_repr"], kinds=["summarization"]) == []
    assert found(allowed_kinds=[]) == []


def test_a_job_is_removed_in_its_project_only(sessions: Sessions) -> None:
    job = _job()
    _record(sessions, job)

    with sessions.begin() as session:
        assert not jobs.remove(session, 2, job.id)
        assert jobs.remove(session, 1, job.id)
        assert jobs.get(session, job.id) is None


def test_retention_spares_promises_that_are_open(sessions: Sessions) -> None:
    promised, lost, new = _job(), _job(), _job(minutes=10)
    ended = [_job(state=JobState.SUCCEEDED) for _ in range(3)]
    _promise(sessions, promised)
    _record(sessions, lost, new, *ended)

    with sessions.begin() as session:
        first = jobs.remove_older_than(session, START + timedelta(minutes=5), limit=3)
        second = jobs.remove_older_than(session, START + timedelta(minutes=5), limit=3)
        count, left = jobs.page(session, 1, JobFilter(), limit=10)

    assert (first, second, count) == (3, 1, 2)
    assert [job.id for job in left] == [new.id, promised.id]


def test_no_records_is_no_work(session: Session) -> None:
    jobs.record(session, [])
    jobs.insert_promised(session, [])

    assert not session.in_transaction()
