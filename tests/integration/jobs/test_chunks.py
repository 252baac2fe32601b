"""Chunks of bulk jobs in Redis: whose turn it is, who has which, and what becomes of the lost ones."""

from __future__ import annotations

import time

import pytest
import redis

from jobs import chunk_scripts, scripts
from jobs.chunks import Chunk, ChunkStore
from jobs.records import JobRecord
from jobs.runs import RunStore
from jobs.states import JobState
from jobs.store import flat
from tests.integration.jobs.support import LEASE_S, new_record


@pytest.fixture
def chunks(client: redis.Redis) -> ChunkStore:
    return ChunkStore(client, lease_s=LEASE_S)


def running(client: redis.Redis, *, project_id: int = 1, **values: object) -> JobRecord:
    counters = {"total": 100, "done": 0}
    record = new_record(
        kind="summarization.bulk",
        queue="llm.bulk",
        project_id=project_id,
        state=JobState.RUNNING,
        promised=True,
        counters=counters,
        **values,
    )
    fields = flat(record)
    client.hset(scripts.record_key(record.id), items=fields)  # type: ignore[arg-type]
    return record


def end_leases(client: redis.Redis) -> None:
    for member in client.zrange(chunk_scripts.OUT_KEY, 0, -1):
        client.zadd(chunk_scripts.OUT_KEY, {member: time.time() - 1})


def take(chunks: ChunkStore) -> Chunk:
    chunk = chunks.take()
    assert chunk is not None
    return chunk


def test_chunks_of_a_job_are_taken_in_order(chunks: ChunkStore, client: redis.Redis) -> None:
    job = running(client)
    chunks.offer(job, [0, 1], most=0, calls=0)

    taken = [chunks.take() for _ in range(3)]

    assert [chunk and (chunk.job_id, chunk.number) for chunk in taken] == [(job.id, 0), (job.id, 1), None]


def test_projects_take_turns_and_so_do_the_jobs_of_each(chunks: ChunkStore, client: redis.Redis) -> None:
    first, second = running(client, project_id=1), running(client, project_id=1)
    other = running(client, project_id=2)
    for job in (first, second, other):
        chunks.offer(job, list(range(20)), most=0, calls=0)

    taken = [take(chunks).job_id for _ in range(16)]

    assert [taken.count(job.id) for job in (first, second, other)] == [4, 4, 8]


def test_job_has_no_more_chunks_at_work_than_it_may(chunks: ChunkStore, client: redis.Redis) -> None:
    job = running(client)
    chunks.offer(job, [0, 1, 2], most=2, calls=0)
    taken = [take(chunks), take(chunks)]

    assert chunks.take() is None
    assert chunks.of(job.id).takeable == 0
    assert chunks.done(taken[0]) == 1
    assert take(chunks).number == 2


def test_chunks_are_offered_once(chunks: ChunkStore, client: redis.Redis) -> None:
    job = running(client)
    chunks.offer(job, [0, 1], most=0, calls=0)
    chunk = take(chunks)

    assert chunks.offer(job, [0, 1], most=0, calls=0) == 0
    assert chunks.done(take(chunks)) == 0
    assert chunks.offer(job, [0, 1], most=0, calls=0) == 0
    assert chunks.done(chunk) == 0
    assert chunks.offer(job, [1], most=0, calls=0) == 1


def test_job_that_was_asked_to_stop_has_no_turn(chunks: ChunkStore, client: redis.Redis) -> None:
    job = running(client)
    chunks.offer(job, [0], most=0, calls=0)
    client.hset(scripts.record_key(job.id), "cancel_requested", "true")

    assert chunks.take() is None


def test_chunk_that_is_given_back_waits_for_its_time(chunks: ChunkStore, client: redis.Redis) -> None:
    job = running(client)
    chunks.offer(job, [0, 1], most=0, calls=0)

    chunks.give_back(take(chunks), delay_s=60)

    assert chunks.take() is None
    assert (chunks.of(job.id).waiting, chunks.of(job.id).takeable) == (2, 0)


def test_chunk_of_a_lost_worker_is_next_and_its_late_return_counts_for_nothing(
    chunks: ChunkStore, client: redis.Redis
) -> None:
    job = running(client)
    chunks.offer(job, [0, 1], most=0, calls=0)
    old = take(chunks)
    end_leases(client)

    lost = chunks.take_back_lost()
    new = take(chunks)

    assert [(chunk.job_id, chunk.number, chunk.losses) for chunk in lost] == [(job.id, 0, 1)]
    assert new.number == 0
    assert chunks.done(old) == -1
    assert chunks.of(job.id).out == 1


def test_lease_that_is_renewed_is_not_lost(chunks: ChunkStore, client: redis.Redis) -> None:
    job = running(client)
    chunks.offer(job, [0], most=0, calls=0)
    chunk = take(chunks)
    end_leases(client)

    assert chunks.renew([chunk]) == set()
    assert chunks.take_back_lost() == []
    client.hset(scripts.record_key(job.id), "cancel_requested", "true")
    assert chunks.renew([chunk]) == {job.id}


def test_losses_are_counted_until_there_is_progress(chunks: ChunkStore, client: redis.Redis) -> None:
    job = running(client)
    chunks.offer(job, [0], most=0, calls=0)
    losses = []
    for progress in (False, False, True, False):
        chunk = take(chunks)
        if progress:
            chunks.progress(chunk, left=1, revision=7, counters={"total": 100, "done": 1})
        end_leases(client)
        losses += [lost.losses for lost in chunks.take_back_lost()]

    assert losses == [1, 2, 1, 2]


def test_record_shows_the_youngest_counters_and_what_is_in_hand(
    chunks: ChunkStore, runs: RunStore, client: redis.Redis
) -> None:
    job = running(client)
    chunks.offer(job, [0, 1], most=0, calls=0)
    first, second = take(chunks), take(chunks)
    chunks.progress(first, left=30)
    chunks.progress(second, left=20, revision=3, counters={"total": 100, "done": 12})

    in_hand = chunks.progress(first, left=18, revision=2, counters={"total": 100, "done": 4})

    record = runs.get(job.id)
    assert record is not None
    assert in_hand == 38
    assert {name: record.progress[name] for name in ("total", "done", "running", "queued")} == {
        "total": 100,
        "done": 12,
        "running": 38,
        "queued": 50,
    }


def test_job_begins_once_and_not_after_its_end(
    chunks: ChunkStore, runs: RunStore, client: redis.Redis
) -> None:
    job = running(client)
    client.hset(scripts.record_key(job.id), "state", '"queued"')

    assert chunks.begin(job)
    assert chunks.begin(job)
    runs.finish(job, JobState.CANCELED)
    assert not chunks.begin(job)


def test_nothing_is_left_of_a_job_that_is_forgotten(chunks: ChunkStore, client: redis.Redis) -> None:
    job = running(client)
    chunks.offer(job, [0, 1], most=0, calls=0)
    take(chunks)

    chunks.forget(job.id)

    assert chunks.take() is None
    assert chunks.take_back_lost() == []
    assert client.keys(f"tg:bulk:{job.id}*") == []
