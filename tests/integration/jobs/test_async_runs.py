"""Taking and ending a job from an event loop, on a real server."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator

import pytest

from cache.connection import coordination_client
from jobs.packing import pack
from jobs.records import JobRecord, JobResult
from jobs.runs import AsyncRunStore, NotStarted, Run, RunStore
from jobs.states import JobState
from jobs.store import JobStore
from tests.integration.cache.support import Server
from tests.integration.jobs.support import PAYLOAD, RESULT, new_record, started

pytestmark = pytest.mark.anyio


@pytest.fixture
async def on_a_loop(server: Server, runs: RunStore) -> AsyncIterator[AsyncRunStore]:
    runs.beat("worker-1", ["render"])
    client = coordination_client(server.url)
    yield AsyncRunStore(client, runs.lifetimes)
    await client.aclose()


async def take(on_a_loop: AsyncRunStore, record: JobRecord) -> Run:
    run = await on_a_loop.start(record.id, record.queue)
    assert isinstance(run, Run)
    return run


@pytest.mark.parametrize("size", [0, 100, 200_000])  # the last one is packed and opened in a thread
async def test_a_job_runs_from_submit_to_result(on_a_loop: AsyncRunStore, store: JobStore, size: int) -> None:
    content = random.Random(1).randbytes(size)
    record = new_record()
    await store.submit(record, pack(content))

    run = await take(on_a_loop, record)
    finished = await on_a_loop.finish(run.record, JobState.SUCCEEDED, result=JobResult(200, content))

    assert (run.payload, run.record.state, finished) == (content, JobState.RUNNING, True)
    after, result = await store.ended(record.id)
    assert after is not None
    assert after.state is JobState.SUCCEEDED
    assert result == JobResult(200, content)


async def test_a_running_or_unknown_job_is_not_taken(
    on_a_loop: AsyncRunStore, runs: RunStore, store: JobStore
) -> None:
    record = new_record()
    await store.submit(record, pack(PAYLOAD))
    started(runs, record)

    assert await on_a_loop.start(record.id, record.queue) == NotStarted("busy")
    assert await on_a_loop.start("job_unknown", "render") == NotStarted("missing")


@pytest.mark.parametrize(
    ("values", "reason", "state"),
    [
        ({"cancel_requested": True}, "canceled", JobState.CANCELED),
        ({"created_at": time.time() - 3600}, "expired", JobState.EXPIRED),
    ],
)
async def test_a_job_that_is_not_wanted_any_more_ends_unworked(
    on_a_loop: AsyncRunStore, store: JobStore, values: dict[str, object], reason: str, state: JobState
) -> None:
    record = new_record(**values)
    await store.submit(record, pack(PAYLOAD))

    taken = await on_a_loop.start(record.id, record.queue)

    assert taken == NotStarted(reason)  # type: ignore[arg-type]
    after = await store.get(record.id)
    assert after is not None
    assert after.state is state


async def test_the_first_end_wins(on_a_loop: AsyncRunStore, runs: RunStore, store: JobStore) -> None:
    record = new_record()
    await store.submit(record, pack(PAYLOAD))
    run = await take(on_a_loop, record)
    runs.finish(run.record, JobState.SUCCEEDED, result=RESULT)

    late = await on_a_loop.finish(run.record, JobState.FAILED, result=JobResult(500, b"{}"))

    assert not late
    assert (await store.ended(record.id))[1] == RESULT
