"""The live record, step by step, on a real server."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from jobs import scripts
from jobs.packing import pack
from jobs.records import JobRecord, JobResult
from jobs.runs import NotStarted, Run, RunStore
from jobs.states import JobState
from jobs.store import JobStore, Submitted
from tests.integration.jobs.support import PAYLOAD, RESULT, end_lease, new_record, started

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def worker(runs: RunStore) -> None:
    """Some worker serves the queue."""
    runs.beat("worker-1", ["render"])


async def submit(store: JobStore, record: JobRecord) -> Submitted:
    return await store.submit(record, pack(PAYLOAD))


async def test_job_runs_from_submit_to_result(store: JobStore, runs: RunStore) -> None:
    record = new_record()

    submitted = await submit(store, record)
    run = started(runs, record)
    finished = runs.finish(run.record, JobState.SUCCEEDED, result=RESULT)

    assert submitted == Submitted("queued", record.id)
    assert run.payload == PAYLOAD
    assert run.record.state is JobState.RUNNING
    assert finished
    after, result = await store.ended(record.id)
    assert after is not None
    assert after.state is JobState.SUCCEEDED
    assert after.finished_at is not None
    assert result == RESULT


async def test_first_final_write_wins(store: JobStore, runs: RunStore) -> None:
    record = new_record()
    await submit(store, record)
    run = started(runs, record)
    runs.finish(run.record, JobState.SUCCEEDED, result=RESULT)
    before = await store.get(record.id)

    late = runs.finish(run.record, JobState.FAILED, result=JobResult(500, b"{}"), error={"code": "error"})

    assert not late
    assert await store.get(record.id) == before
    assert (await store.ended(record.id))[1] == RESULT


async def test_second_delivery_of_a_running_job_is_refused(store: JobStore, runs: RunStore) -> None:
    record = new_record()
    await submit(store, record)
    started(runs, record)

    second = runs.start(record.id, record.queue)

    assert second == NotStarted("busy")


async def test_delivery_of_an_ended_job_is_refused(store: JobStore, runs: RunStore) -> None:
    record = new_record()
    await submit(store, record)
    runs.finish(started(runs, record).record, JobState.SUCCEEDED, result=RESULT)

    assert runs.start(record.id, record.queue) == NotStarted("final")


async def test_delivery_of_an_unknown_job_is_refused(runs: RunStore) -> None:
    assert runs.start("job_unknown", "render") == NotStarted("missing")


async def test_start_whose_reply_was_lost_is_repeated_as_the_same_start(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    record = new_record()
    await submit(store, record)
    keys = (
        scripts.record_key(record.id),
        scripts.payload_key(record.id),
        scripts.queued_key("render"),
        scripts.RUNNING_KEY,
        scripts.JOURNAL_KEY,
        scripts.overtaken_key("render"),
    )
    start = client.register_script(scripts.START)

    first = start(keys=keys, args=[record.created_at, 30, record.id, "token"])
    again = start(keys=keys, args=[record.created_at, 30, record.id, "token"])
    other = start(keys=keys, args=[record.created_at, 30, record.id, "another"])

    assert [first[0], again[0], other[0]] == [b"started", b"started", b"busy"]
    kept = await store.get(record.id)
    assert kept is not None
    assert kept.attempt == 1


async def test_submit_whose_reply_was_lost_does_not_join_itself(store: JobStore) -> None:
    record = new_record(flight=scripts.flight_key("a"))
    await submit(store, record)

    again = await submit(store, record)

    assert again == Submitted("queued", record.id)


async def test_redelivery_of_a_lost_job_starts_the_next_attempt(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    record = new_record()
    await submit(store, record)
    started(runs, record)
    end_lease(client, record)

    run = started(runs, record)

    assert run.record.attempt == 2


async def test_redelivery_does_not_start_more_attempts_than_allowed(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    record = new_record(max_attempts=1)
    await submit(store, record)
    started(runs, record)
    end_lease(client, record)

    assert runs.start(record.id, record.queue) == NotStarted("busy")
    assert runs.lost() == [record.id]


async def test_renewed_job_is_not_lost(store: JobStore, runs: RunStore, client: redis.Redis) -> None:
    record = new_record()
    await submit(store, record)
    started(runs, record)
    end_lease(client, record)

    runs.renew([record.id])

    assert runs.lost() == []


async def test_job_that_came_back_between_look_and_take_over_is_left_alone(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    record = new_record(max_attempts=1)
    await submit(store, record)
    run = started(runs, record)
    end_lease(client, record)
    seen_as_lost = runs.lost()
    runs.renew([record.id])

    outcome = runs.requeue(run.record)

    assert seen_as_lost == [record.id]
    assert outcome == "moved_on"


async def test_late_worker_may_finish_a_job_that_was_requeued(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    record = new_record()
    await submit(store, record)
    run = started(runs, record)
    end_lease(client, record)
    assert runs.requeue(run.record) == "requeued"

    runs.finish(run.record, JobState.SUCCEEDED, result=RESULT)

    after = await store.get(record.id)
    assert after is not None
    assert (after.state, after.attempt) == (JobState.SUCCEEDED, 2)
    assert runs.start(record.id, record.queue) == NotStarted("final")


async def test_what_callers_did_meanwhile_survives_the_end(store: JobStore, runs: RunStore) -> None:
    record = new_record()
    await submit(store, record)
    run = started(runs, record)
    await store.promise(record)
    await store.cancel(record.id, replace(record, state=JobState.CANCELED))

    runs.finish(run.record, JobState.SUCCEEDED, result=RESULT)

    after = await store.get(record.id)
    assert after is not None
    assert (after.promised, after.cancel_requested) == (True, True)


async def test_cancel_of_a_queued_job_ends_it(store: JobStore, runs: RunStore) -> None:
    record = new_record()
    await submit(store, record)

    after = await store.cancel(record.id, replace(record, state=JobState.CANCELED, cancel_requested=True))

    assert after is not None
    assert after.state is JobState.CANCELED
    assert runs.start(record.id, record.queue) == NotStarted("final")


async def test_cancel_of_a_running_job_reaches_its_worker(store: JobStore, runs: RunStore) -> None:
    record = new_record()
    await submit(store, record)
    started(runs, record)

    after = await store.cancel(record.id, replace(record, state=JobState.CANCELED))

    assert after is not None
    assert (after.state, after.cancel_requested) == (JobState.RUNNING, True)
    assert runs.renew([record.id]) == {record.id}


async def test_lost_job_that_was_asked_to_stop_is_canceled_when_it_starts_again(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    record = new_record()
    await submit(store, record)
    run = started(runs, record)
    await store.cancel(record.id, replace(record, state=JobState.CANCELED))
    end_lease(client, record)
    runs.requeue(run.record)

    assert runs.start(record.id, record.queue) == NotStarted("canceled")
    assert (await store.states([record.id])) == [JobState.CANCELED]


async def test_cancel_of_a_job_that_the_store_lost_keeps_it_from_coming_back(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    record = new_record(promised=True)
    await submit(store, record)
    client.flushall()

    after = await store.cancel(record.id, replace(record, state=JobState.CANCELED))

    assert after is not None
    assert after.state is JobState.CANCELED
    assert not runs.restore(record, pack(PAYLOAD))


async def test_job_that_waited_too_long_expires(store: JobStore, runs: RunStore) -> None:
    record = new_record()
    record = replace(record, created_at=record.created_at - 61)
    await submit(store, record)

    assert runs.start(record.id, record.queue) == NotStarted("expired")
    assert (await store.states([record.id])) == [JobState.EXPIRED]


async def test_taken_over_job_does_not_expire(store: JobStore, runs: RunStore, client: redis.Redis) -> None:
    record = new_record()
    record = replace(record, created_at=record.created_at - 61, attempt=2)
    await submit(store, record)

    assert isinstance(runs.start(record.id, record.queue), Run)


async def test_abandoned_job_leaves_nothing(store: JobStore, client: redis.Redis) -> None:
    record = new_record(flight=scripts.flight_key("a"))
    await submit(store, record)

    await store.abandon(record)

    assert sorted(client.keys("tg:job*") + client.keys("tg:flight*")) == []


async def test_abandon_leaves_a_job_alone_that_has_started(store: JobStore, runs: RunStore) -> None:
    record = new_record()
    await submit(store, record)
    started(runs, record)

    await store.abandon(record)

    assert (await store.states([record.id])) == [JobState.RUNNING]


async def test_identical_request_joins_the_job_at_work(store: JobStore, runs: RunStore) -> None:
    first, second = (new_record(flight=scripts.flight_key("a")) for _ in range(2))
    await submit(store, first)
    started(runs, first)

    joined = await submit(store, second)

    assert joined == Submitted("joined", first.id)
    assert await store.get(second.id) is None


async def test_identical_request_after_the_end_is_a_new_job(store: JobStore, runs: RunStore) -> None:
    first, second = (new_record(flight=scripts.flight_key("a")) for _ in range(2))
    await submit(store, first)
    runs.finish(started(runs, first).record, JobState.SUCCEEDED, result=RESULT)

    assert await submit(store, second) == Submitted("queued", second.id)


async def test_flight_that_names_an_ended_or_lost_job_is_not_joined(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    flight = scripts.flight_key("a")
    ended, second, third = (new_record(flight=flight) for _ in range(3))
    await submit(store, ended)
    runs.finish(started(runs, ended).record, JobState.SUCCEEDED, result=RESULT)

    client.set(flight, ended.id)
    after_end = await submit(store, second)
    client.set(flight, "job_lost")
    after_loss = await submit(store, third)

    assert after_end.outcome == after_loss.outcome == "queued"


async def test_end_of_one_job_does_not_end_the_flight_of_another(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    flight = scripts.flight_key("a")
    first, second = (new_record(flight=flight) for _ in range(2))
    await submit(store, first)
    run = started(runs, first)
    client.set(flight, second.id)

    runs.finish(run.record, JobState.SUCCEEDED, result=RESULT)

    assert client.get(flight) == second.id.encode()


async def test_full_queue_takes_no_more(store: JobStore) -> None:
    for _ in range(5):
        await submit(store, new_record())

    refused = new_record(flight=scripts.flight_key("a"))

    assert (await submit(store, refused)).outcome == "full"
    assert await store.get(refused.id) is None


async def test_queue_without_a_live_worker_takes_nothing(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    runs.leave("worker-1", ["render"])
    without = await submit(store, new_record())
    client.zadd(scripts.workers_key("render"), {"worker-2": 1.0})
    with_a_dead_one = await submit(store, new_record())

    assert without.outcome == with_a_dead_one.outcome == "no_worker"
    assert await store.live_queues(["render"]) == set()


async def test_result_is_gone_when_it_was_not_kept(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    record = new_record()
    await submit(store, record)
    runs.finish(started(runs, record).record, JobState.SUCCEEDED, result=RESULT)
    client.delete(scripts.result_key(record.id))

    after, result = await store.ended(record.id)

    assert after is not None
    assert result is None


async def test_end_is_told_to_those_who_listen(store: JobStore, runs: RunStore, client: redis.Redis) -> None:
    record = new_record()
    await submit(store, record)
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(scripts.ENDED_CHANNEL)
        listener.get_message(timeout=1)

        runs.finish(started(runs, record).record, JobState.SUCCEEDED, result=RESULT)

        message = listener.get_message(timeout=2)
    assert message is not None
    assert message["data"] == record.id.encode()
