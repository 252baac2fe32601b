"""Jobs whose worker, message or record was lost, and the rows that outlive them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
import redis

from jobs import scripts
from jobs.packing import pack
from jobs.records import JobRecord
from jobs.runs import NotStarted, RunStore
from jobs.states import JobState
from jobs.store import JobStore
from storage import jobs as job_rows
from tests.integration.jobs.support import (
    PAYLOAD,
    RESULT,
    Sessions,
    age_message,
    end_lease,
    new_record,
    started,
)
from workers.recorder import Recorder
from workers.takeover import OVERTAKEN_BY_S, UNSTARTED_AFTER_S, send_again, take_over_lost

pytestmark = pytest.mark.anyio

TOO_LONG_S = UNSTARTED_AFTER_S + 1


@dataclass
class Broker:
    """Takes messages and says how many wait."""

    depth: int = 0
    sent: list[str] = field(default_factory=list)

    def send(self, record: JobRecord) -> None:
        self.sent.append(record.id)

    def depth_of(self, queue: str) -> int:
        return self.depth


@pytest.fixture(autouse=True)
def worker(runs: RunStore) -> None:
    runs.beat("worker-1", ["render"])


@pytest.fixture
def broker() -> Broker:
    return Broker()


def look_again(runs: RunStore, broker: Broker) -> int:
    return send_again(runs, broker.send, depth_of=broker.depth_of, queue_ttl_s=60)


async def submit(store: JobStore, **values: object) -> JobRecord:
    record = new_record(**values)
    assert (await store.submit(record, pack(PAYLOAD))).outcome == "queued"
    return record


async def test_job_that_kills_its_worker_every_time_fails_as_worker_lost(
    store: JobStore, runs: RunStore, client: redis.Redis, broker: Broker
) -> None:
    record = await submit(store)

    for _ in range(record.max_attempts):
        started(runs, record)
        end_lease(client, record)
        take_over_lost(runs, broker.send)

    after, result = await store.ended(record.id)
    assert after is not None
    assert result is not None
    assert (after.state, after.attempt) == (JobState.FAILED, 3)
    assert after.error is not None
    assert after.error["code"] == "worker_lost"
    assert result.status == after.result_status == 503
    assert broker.sent == [record.id] * 2
    assert runs.start(record.id, record.queue) == NotStarted("final")
    assert runs.lost() == []


async def test_lost_job_is_taken_over_once(
    store: JobStore, runs: RunStore, client: redis.Redis, broker: Broker
) -> None:
    record = await submit(store)
    started(runs, record)
    end_lease(client, record)

    taken = [take_over_lost(runs, broker.send) for _ in range(2)]

    assert taken == [1, 0]
    assert broker.sent == [record.id]
    assert started(runs, record).record.attempt == 2


async def test_entry_of_a_job_that_has_ended_or_is_gone_is_dropped(
    store: JobStore, runs: RunStore, client: redis.Redis, broker: Broker
) -> None:
    record = await submit(store)
    runs.finish(started(runs, record).record, JobState.SUCCEEDED, result=RESULT)
    client.zadd(scripts.RUNNING_KEY, {record.id: 1.0, "job_gone": 1.0})

    take_over_lost(runs, broker.send)

    assert runs.lost() == []
    assert (await store.states([record.id])) == [JobState.SUCCEEDED]


async def test_unstarted_job_of_an_empty_queue_is_sent_again(
    store: JobStore, runs: RunStore, client: redis.Redis, broker: Broker
) -> None:
    record = await submit(store)
    fresh = look_again(runs, broker)
    age_message(client, record, TOO_LONG_S)

    late = look_again(runs, broker)
    directly_after = look_again(runs, broker)

    assert (fresh, late, directly_after) == (0, 1, 0)
    assert broker.sent == [record.id]


async def test_unstarted_job_waits_for_its_turn_in_a_long_queue(
    store: JobStore, runs: RunStore, client: redis.Redis, broker: Broker
) -> None:
    record = await submit(store)
    age_message(client, record, TOO_LONG_S)
    broker.depth = 3

    assert look_again(runs, broker) == 0


async def test_job_that_younger_ones_overtook_is_sent_again_although_its_queue_is_long(
    store: JobStore, runs: RunStore, client: redis.Redis, broker: Broker
) -> None:
    lost, younger = await submit(store), await submit(store)
    age_message(client, lost, TOO_LONG_S + OVERTAKEN_BY_S)
    broker.depth = 3

    started(runs, younger)
    sent = look_again(runs, broker)

    assert sent == 1
    assert broker.sent == [lost.id]


async def test_unstarted_job_that_waited_too_long_expires(
    store: JobStore, runs: RunStore, client: redis.Redis, broker: Broker
) -> None:
    record = new_record()
    record = replace(record, created_at=record.created_at - 61)
    await store.submit(record, pack(PAYLOAD))

    look_again(runs, broker)

    assert (await store.states([record.id])) == [JobState.EXPIRED]
    assert broker.sent == []


async def test_queued_entry_without_a_record_is_dropped(
    runs: RunStore, client: redis.Redis, broker: Broker
) -> None:
    client.zadd(scripts.queued_key("render"), {"job_gone": 1.0})

    look_again(runs, broker)

    assert client.zcard(scripts.queued_key("render")) == 0


async def test_promised_job_comes_back_from_its_row(
    store: JobStore, runs: RunStore, client: redis.Redis, sessions: Sessions
) -> None:
    record = await submit(store, promised=True)
    with sessions.begin() as session:
        job_rows.insert_promised(session, [job_rows.PromisedJob(record, pack(PAYLOAD))])
    client.flushall()

    with sessions() as session:
        promised = job_rows.load_promised(session, record.id)
        assert promised is not None
        restored = runs.restore(promised.record, promised.payload)

    assert restored
    run = started(runs, record)
    assert run.payload == PAYLOAD
    assert run.record.id == record.id


async def test_restore_never_touches_a_job_that_the_store_knows(store: JobStore, runs: RunStore) -> None:
    record = await submit(store, promised=True)
    runs.finish(started(runs, record).record, JobState.SUCCEEDED, result=RESULT)

    assert not runs.restore(record, pack(PAYLOAD))
    assert (await store.states([record.id])) == [JobState.SUCCEEDED]


async def test_end_of_a_job_whose_record_was_lost_brings_record_and_result_back(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    record = await submit(store)
    run = started(runs, record)
    client.flushall()

    finished = runs.finish(run.record, JobState.SUCCEEDED, result=RESULT)

    assert finished
    after, result = await store.ended(record.id)
    assert after is not None
    assert after.state is JobState.SUCCEEDED
    assert result == RESULT


async def test_recorder_writes_promised_jobs_at_each_step_and_others_at_their_end(
    store: JobStore, runs: RunStore, sessions: Sessions
) -> None:
    promised, plain = await submit(store, promised=True), await submit(store)
    recorder = Recorder(runs, sessions)

    first, second = started(runs, promised), started(runs, plain)
    recorder.write_once()
    running = _states(sessions, promised, plain)
    for run in (first, second):
        runs.finish(run.record, JobState.SUCCEEDED, result=RESULT)
    recorder.write_once()

    assert running == [JobState.RUNNING, None]
    assert _states(sessions, promised, plain) == [JobState.SUCCEEDED] * 2
    assert recorder.write_once() == 0


async def test_row_that_ended_is_no_longer_unfinished_work(
    store: JobStore, runs: RunStore, sessions: Sessions
) -> None:
    record = await submit(store, promised=True)
    with sessions.begin() as session:
        job_rows.insert_promised(session, [job_rows.PromisedJob(record, pack(PAYLOAD))])

    runs.finish(started(runs, record).record, JobState.SUCCEEDED, result=RESULT)
    Recorder(runs, sessions).write_once()

    with sessions() as session:
        later = datetime.now(UTC) + timedelta(hours=1)
        assert job_rows.unfinished(session, created_before=later) == []
        assert job_rows.load_promised(session, record.id) is None


def _states(sessions: Sessions, *records: JobRecord) -> list[JobState | None]:
    with sessions() as session:
        rows = [job_rows.get(session, record.id) for record in records]
    return [row.state if row else None for row in rows]


async def test_record_that_no_row_can_hold_does_not_keep_back_the_others(
    store: JobStore, runs: RunStore, sessions: Sessions
) -> None:
    broken, good = new_record(project_id=None), await submit(store)
    recorder = Recorder(runs, sessions)

    runs.finish(broken, JobState.SUCCEEDED, result=RESULT)
    runs.finish(started(runs, good).record, JobState.SUCCEEDED, result=RESULT)
    recorder.write_once()

    assert _states(sessions, broken, good) == [None, JobState.SUCCEEDED]
    assert recorder.write_once() == 0
