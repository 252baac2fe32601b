"""Items of bulk jobs in the database: stored, finished once, counted, read, copied, removed."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session, sessionmaker

from jobs.records import JobRecord, job_id_at, new_job_id
from jobs.states import JobState
from storage import bulk, bulk_steps, jobs
from storage.bulk import NewItem
from storage.bulk_steps import FinishedItem
from storage.jobs import PromisedJob
from storage.models import BulkItem

Sessions = sessionmaker[Session]


def item(position: int, *, chunk: int = 0, leader: int | None = None, **values: Any) -> NewItem:
    content = None if leader is not None else b"content %d" % position
    known = {"identity": f"{leader if leader is not None else position}", "ask": b"{}", **values}
    return NewItem(position, f"c{position}", leader=leader, chunk=chunk, content=content, **known)


def refused(position: int) -> NewItem:
    return NewItem(position, None, status=400, outcome=b"refused")


def ok(position: int, **values: Any) -> FinishedItem:
    return FinishedItem(position, 200, b"row %d" % position, **values)


def failed(position: int, **values: Any) -> FinishedItem:
    return FinishedItem(position, 502, b"row %d" % position, **values)


def stored(sessions: Sessions, items: list[NewItem]) -> str:
    job_id = new_job_id()
    now = time.time()
    record = JobRecord(job_id, 1, 1, "summarization.bulk", "llm.bulk", now, promised=True, expires_at=now)
    doors = sum(entry.status is not None for entry in items)
    with sessions.begin() as session:
        bulk.insert_items(session, job_id, items)
        bulk.insert_job(session, job_id, options={"concurrency": 5}, total=len(items), failed=doors)
        counted = {"total": len(items), "done": doors, "failed": doors}
        jobs.insert_promised(session, [PromisedJob(_counting(record, counted), b"x")])
    return job_id


def _counting(record: JobRecord, counters: dict[str, Any]) -> JobRecord:

    return replace(record, counters=counters)


def finish(sessions: Sessions, job_id: str, *items: FinishedItem) -> bulk_steps.Step | None:
    with sessions.begin() as session:
        return bulk_steps.finish(session, job_id, items)


def positions(session: Session, job_id: str, **asked: Any) -> list[int]:
    wanted: dict[str, Any] = {"after": -1, "only": None, "unfinished": False, "limit": 100, **asked}
    return [row.position for row in bulk.rows(session, job_id, **wanted)]


def test_unfinished_items_are_found_by_chunk(sessions: Sessions) -> None:
    job_id = stored(sessions, [item(0), item(1, chunk=1), refused(2), item(3, leader=0), item(4, chunk=1)])
    finish(sessions, job_id, ok(1))

    with sessions() as session:
        assert bulk.waiting_chunks(session, job_id) == [0, 1]
        assert [entry.position for entry in bulk.waiting_items(session, job_id, 0)] == [0, 3]
        assert [entry.position for entry in bulk.waiting_items(session, job_id, 1)] == [4]
        assert bulk.contents(session, job_id, [0, 3]) == {0: b"content 0"}


def test_counters_change_with_the_rows_that_they_count(sessions: Sessions) -> None:
    job_id = stored(sessions, [item(0), item(1), item(2, leader=0), refused(3)])

    step = finish(
        sessions,
        job_id,
        ok(0, llm_calls=2, tokens=100, cost_usd=0.5),
        failed(1, llm_calls=4),
        ok(2, duplicate=True, cached=True),
    )

    assert step is not None
    counters = step.counters
    assert (counters.total, counters.done, counters.succeeded, counters.failed) == (4, 4, 2, 2)
    assert (counters.cached, counters.duplicates, counters.llm_calls) == (1, 1, 6)
    assert (counters.tokens, counters.cost_usd) == (100, 0.5)
    with sessions() as session:
        record = jobs.get(session, job_id)
        assert record is not None
        assert (record.progress["done"], record.progress["failed"], record.partial_failure) == (4, 2, True)


def test_call_without_a_price_leaves_the_cost_unknown(sessions: Sessions) -> None:
    job_id = stored(sessions, [item(0), item(1)])

    step = finish(sessions, job_id, ok(0, cost_usd=None), ok(1, cost_usd=0.25))

    assert step is not None
    assert step.counters.cost_usd is None


def test_item_is_finished_once(sessions: Sessions) -> None:
    job_id = stored(sessions, [item(0), item(1)])
    finish(sessions, job_id, ok(0, llm_calls=1))

    step = finish(sessions, job_id, failed(0, llm_calls=1), ok(1, llm_calls=1))

    assert step is not None
    assert (step.counters.done, step.counters.succeeded, step.counters.llm_calls) == (2, 2, 2)
    with sessions() as session:
        rows = bulk.rows(session, job_id, after=-1, only=None, unfinished=False, limit=10)
        assert [row.outcome for row in rows] == [b"row 0", b"row 1"]


def test_nothing_is_written_after_the_end(sessions: Sessions) -> None:
    job_id = stored(sessions, [item(0), item(1)])
    finish(sessions, job_id, ok(0))
    with sessions.begin() as session:
        ended = bulk_steps.end(session, job_id)

    late = finish(sessions, job_id, ok(1))

    assert ended is not None
    assert (ended.counters.done, ended.counters.canceled) == (2, 1)
    assert late is None
    with sessions() as session:
        assert positions(session, job_id) == [0]
        assert positions(session, job_id, unfinished=True) == [0, 1]
        assert positions(session, job_id, unfinished=True, only="canceled") == [1]
        assert bulk.open_jobs(session) == []


def test_end_is_the_same_when_it_is_repeated(sessions: Sessions) -> None:
    job_id = stored(sessions, [item(0)])
    with sessions.begin() as session:
        first = bulk_steps.end(session, job_id)
    with sessions.begin() as session:
        second = bulk_steps.end(session, job_id)

    assert first == second


def test_data_of_an_item_goes_when_it_has_succeeded_and_nobody_needs_it(sessions: Sessions) -> None:
    job_id = stored(sessions, [item(0), item(1), item(2, leader=1), item(3), item(4, leader=3)])

    finish(
        sessions,
        job_id,
        ok(0),
        ok(1),
        failed(2, duplicate=True),
        ok(3),
        ok(4, duplicate=True),
    )

    with sessions() as session:
        assert sorted(bulk.contents(session, job_id, range(5))) == [1]


def test_items_are_finished_without_a_look_at_other_chunks(sessions: Sessions) -> None:
    """Else the work of a job would grow with the square of its items."""
    job_id = stored(sessions, [item(0), item(1, leader=0), item(2, chunk=1)])
    plans: list[str] = []

    with sessions.begin() as session:
        if session.get_bind().dialect.name != "sqlite":
            pytest.skip("only SQLite tells its plan before it has seen the data")

        def explain(_: Any, cursor: Any, statement: str, values: Any, *__: Any) -> None:
            if "bulk_items" in statement:
                first = values[0] if isinstance(values, list) else values
                plans.extend(row[-1] for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", first))

        event.listen(session.connection(), "before_cursor_execute", explain)
        bulk_steps.finish(session, job_id, [ok(0), ok(1, duplicate=True)])

    reads = [plan for plan in plans if plan.startswith(("SCAN", "SEARCH"))]
    assert reads
    assert all("(job_id=? AND " in plan for plan in reads), reads


def test_rows_are_chosen_by_index_and_outcome(sessions: Sessions) -> None:
    job_id = stored(sessions, [item(0), item(1), refused(2), item(3)])
    finish(sessions, job_id, ok(3), failed(0))

    with sessions() as session:
        assert positions(session, job_id) == [0, 2, 3]
        assert positions(session, job_id, after=0) == [2, 3]
        assert positions(session, job_id, only="failed") == [0, 2]
        assert positions(session, job_id, only="succeeded") == [3]
        count, page = bulk.page(session, job_id, after=-1, only=None, unfinished=False, limit=2, offset=1)
        assert (count, [row.position for row in page]) == (3, [2, 3])


def test_rows_are_followed_in_the_order_of_completion(sessions: Sessions) -> None:
    job_id = stored(sessions, [item(0), item(1), refused(2), item(3)])
    finish(sessions, job_id, ok(3))
    finish(sessions, job_id, ok(1), ok(0))

    seen: list[int] = []
    step = position = -1
    with sessions() as session:
        while batch := bulk.rows_by_completion(
            session, job_id, step=step, position=position, after=-1, only=None, limit=1
        ):
            seen.append(batch[0].position)
            step, position = batch[0].step or 0, batch[0].position

    assert seen == [2, 3, 0, 1]


def test_failed_and_unfinished_items_can_be_repeated_with_their_content(sessions: Sessions) -> None:
    job_id = stored(sessions, [item(0), item(1), item(2, leader=1), refused(3), item(4)])
    finish(sessions, job_id, ok(0), ok(1), failed(2, duplicate=True))

    with sessions() as session:
        batches = list(bulk.repeatable(session, job_id, at_once=2))

    found = [entry for batch in batches for entry in batch]
    assert [(entry.position, entry.content) for entry in found] == [
        (2, b"content 1"),
        (3, None),
        (4, b"content 4"),
    ]
    assert (found[1].status, found[1].outcome) == (400, b"refused")


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.SUCCEEDED])
def test_rows_of_jobs_that_ended_long_ago_can_be_removed(sessions: Sessions, state: JobState) -> None:

    job_id = stored(sessions, [item(0)])
    with sessions.begin() as session:
        record = jobs.get(session, job_id)
        assert record is not None
        jobs.record(session, [replace(record, state=state, expires_at=time.time() - 1)])

    with sessions() as session:
        found = bulk.removable(session, now=datetime.now(UTC))

    assert found == ([job_id] if state.final else [])


def test_rows_of_a_removed_job_can_be_removed(sessions: Sessions) -> None:
    job_id = stored(sessions, [item(0)])
    with sessions.begin() as session:
        jobs.remove(session, 1, job_id)
        assert bulk.removable(session, now=datetime.now(UTC)) == [job_id]
        bulk.remove(session, job_id)

    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(BulkItem)) == 0


def test_items_of_an_upload_that_died_are_found_when_they_are_old(sessions: Sessions) -> None:
    kept = stored(sessions, [item(0)])
    dead = new_job_id()
    with sessions.begin() as session:
        bulk.insert_items(session, dead, [item(0), item(1)])

    with sessions() as session:
        assert bulk.abandoned(session, before_id=job_id_at(time.time() - 60)) == []
        assert bulk.abandoned(session, before_id=job_id_at(time.time() + 60)) == [dead]
        assert kept != dead
