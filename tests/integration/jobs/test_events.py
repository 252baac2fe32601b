"""The events of a job: what is kept, under which ids, and who is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis
from redis.asyncio import Redis

from cache.connection import coordination_client
from jobs import event_scripts
from jobs.event_feed import EventFeed
from jobs.events import AsyncEventPublisher, EventPublisher
from jobs.json_text import load_json
from jobs.packing import pack
from jobs.records import JobRecord
from jobs.runs import RunStore
from jobs.states import JobState
from jobs.store import JobStore
from tests.integration.cache.support import Server
from tests.integration.jobs.support import PAYLOAD, RESULT, end_lease, new_record, started

pytestmark = pytest.mark.anyio

BULK = {"kind": "summarization.bulk"}


@pytest.fixture
async def shared(server: Server) -> AsyncIterator[Redis]:
    client = coordination_client(server.url)
    yield client
    await client.aclose()


@pytest.fixture
async def feed(shared: Redis) -> AsyncIterator[EventFeed]:
    feed = EventFeed(shared)
    await feed.start()
    yield feed
    await feed.stop()


async def _submitted(store: JobStore, runs: RunStore, **values: object) -> JobRecord:
    record = new_record(**{"promised": True, **values})
    runs.beat("w", [record.queue])
    await store.submit(record, pack(PAYLOAD))
    return record


async def _names(feed: EventFeed, record: JobRecord, *, after: int = 0, items: bool = False) -> list[str]:
    found = await feed.read(record.id, items=items, after=after)
    assert found is not None
    return [event.name for event in found.events]


async def test_every_change_of_a_promised_job_is_an_event(
    store: JobStore, runs: RunStore, feed: EventFeed
) -> None:
    record = await _submitted(store, runs)
    run = started(runs, record)
    runs.finish(run.record, JobState.SUCCEEDED, result=RESULT)

    found = await feed.read(record.id, items=False, after=0)

    assert found is not None
    assert [event.id for event in found.events] == list(range(1, 8))
    assert [event.name for event in found.events] == ["state", "progress"] * 3 + ["done"]
    states = [load_json(event.data) for event in found.events if event.name == "state"]
    assert states == [{"state": state, "attempt": 1} for state in ("queued", "running", "succeeded")]
    last = load_json(found.events[5].data)
    assert last == {
        "total": 1,
        "done": 1,
        "queued": 0,
        "running": 0,
        "succeeded": 1,
        "failed": 0,
        "canceled": 0,
    }


async def test_job_that_nobody_asked_about_keeps_no_events(
    store: JobStore, runs: RunStore, client: redis.Redis
) -> None:
    record = await _submitted(store, runs, promised=False)
    started(runs, record)

    assert client.exists(event_scripts.events_key(record.id)) == 0


async def test_first_listener_finds_how_things_stand_and_then_all_that_follows(
    store: JobStore, runs: RunStore, feed: EventFeed
) -> None:
    record = await _submitted(store, runs, promised=False)
    run = started(runs, record)

    before = await _names(feed, record)
    runs.finish(run.record, JobState.FAILED, error={"type": "server_error"})
    after = await _names(feed, record, after=2)

    assert before == ["state", "progress"]
    assert after == ["state", "progress", "done"]


async def test_ended_job_without_events_tells_its_end(
    store: JobStore, runs: RunStore, feed: EventFeed
) -> None:
    record = await _submitted(store, runs, promised=False)
    runs.finish(started(runs, record).record, JobState.SUCCEEDED, result=RESULT)

    assert await _names(feed, record) == ["state", "progress", "done"]


async def test_lost_attempt_is_an_event(
    store: JobStore, runs: RunStore, feed: EventFeed, client: redis.Redis
) -> None:
    record = await _submitted(store, runs)
    run = started(runs, record)
    end_lease(client, record)
    runs.requeue(run.record)

    found = await feed.read(record.id, items=False, after=4)

    assert found is not None
    assert load_json(found.events[0].data) == {"state": "queued", "attempt": 2}


async def test_progress_is_held_back_and_the_last_one_always_comes(
    store: JobStore, runs: RunStore, feed: EventFeed, client: redis.Redis
) -> None:
    record = await _submitted(store, runs, **BULK)
    run = started(runs, record)
    publisher = EventPublisher(client)
    for done in range(1, 51):
        publisher.progress(record.id, {"total": 50, "done": done})
    runs.finish(run.record, JobState.SUCCEEDED, result=RESULT)

    found = await feed.read(record.id, items=False, after=0)

    assert found is not None
    progress = [load_json(event.data) for event in found.events if event.name == "progress"]
    assert progress[-1] == {"total": 50, "done": 50}
    assert len(progress) < 50
    assert [event.name for event in found.events][-2:] == ["progress", "done"]


async def test_progress_that_was_held_back_is_read_once_it_is_due(
    store: JobStore, runs: RunStore, feed: EventFeed, shared: Redis
) -> None:
    record = await _submitted(store, runs, **BULK)
    started(runs, record)
    publisher = AsyncEventPublisher(shared)
    await publisher.progress(record.id, {"done": 1})
    await publisher.progress(record.id, {"done": 2})
    deadline = time.monotonic() + 20

    seen: list[object] = []
    while {"done": 2} not in seen and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        found = await feed.read(record.id, items=False, after=0)
        assert found is not None
        seen = [load_json(event.data) for event in found.events if event.name == "progress"]

    assert seen == [{"done": 1}, {"done": 2}]


async def test_items_have_a_log_of_their_own_whose_ids_rise_by_one(
    store: JobStore, runs: RunStore, feed: EventFeed, client: redis.Redis
) -> None:
    record = await _submitted(store, runs, **BULK)
    run = started(runs, record)
    for index in range(3):
        EventPublisher(client).item(record.id, index)
    runs.finish(run.record, JobState.SUCCEEDED, result=RESULT)

    plain = await feed.read(record.id, items=False, after=0)
    full = await feed.read(record.id, items=True, after=0)

    assert plain is not None
    assert full is not None
    assert [event.name for event in plain.events] == ["state", "state", "state", "done"]
    assert [event.name for event in full.events] == ["state", "state", *["item"] * 3, "state", "done"]
    assert [event.id for event in full.events] == list(range(1, 8))
    assert load_json(full.events[2].data) == {"index": 0}


async def test_log_keeps_the_last_thousand_and_says_when_some_are_missing(
    store: JobStore, runs: RunStore, feed: EventFeed, client: redis.Redis
) -> None:
    record = await _submitted(store, runs, **BULK)
    started(runs, record)
    for index in range(1100):
        EventPublisher(client).item(record.id, index)

    old = await feed.read(record.id, items=True, after=5)
    recent = await feed.read(record.id, items=True, after=1095)

    assert old is not None
    assert recent is not None
    assert (old.gap, old.events[0].id) == (True, 103)  # 1,102 events, the last 1,000 of them
    assert (recent.gap, recent.events[0].id, len(recent.events)) == (False, 1096, 7)


async def test_nothing_is_told_after_the_end(
    store: JobStore, runs: RunStore, feed: EventFeed, client: redis.Redis
) -> None:
    record = await _submitted(store, runs, **BULK)
    runs.finish(started(runs, record).record, JobState.CANCELED)
    EventPublisher(client).item(record.id, 1)
    EventPublisher(client).progress(record.id, {"done": 1})

    assert (await _names(feed, record, items=True))[-1] == "done"


async def test_events_go_with_the_job(
    store: JobStore, runs: RunStore, feed: EventFeed, client: redis.Redis
) -> None:
    record = await _submitted(store, runs, **BULK)
    runs.finish(started(runs, record).record, JobState.SUCCEEDED, result=RESULT)
    lives = [client.ttl(event_scripts.events_key(record.id, items=items)) for items in (False, True)]
    await store.delete(record.id)

    assert all(0 < ttl <= 60 for ttl in lives)
    assert await feed.read(record.id, items=False, after=0) is None


async def test_listener_is_woken_by_every_event(store: JobStore, runs: RunStore, feed: EventFeed) -> None:
    record = await _submitted(store, runs)
    async with feed.listen(record.id, items=False) as woken, asyncio.timeout(20):
        run = await asyncio.to_thread(started, runs, record)
        after = 0
        names: list[str] = []
        while "done" not in names:
            await woken.wait()
            woken.clear()
            found = await feed.read(record.id, items=False, after=after)
            assert found is not None
            names += [event.name for event in found.events]
            after += len(found.events)
            if len(names) == 4:
                await asyncio.to_thread(runs.finish, run.record, JobState.SUCCEEDED, result=RESULT)

    assert names == ["state", "progress"] * 3 + ["done"]


async def test_listener_is_woken_after_the_connection_was_lost(
    store: JobStore, runs: RunStore, feed: EventFeed, client: redis.Redis
) -> None:
    record = await _submitted(store, runs)
    async with feed.listen(record.id, items=False) as woken, asyncio.timeout(30):
        await woken.wait()
        client.client_kill_filter(_type="pubsub")
        woken.clear()
        await woken.wait()
        woken.clear()
        await asyncio.to_thread(started, runs, record)
        await woken.wait()

    assert await _names(feed, record) == ["state", "progress"] * 2


async def test_job_with_items_that_is_canceled_in_the_queue_tells_its_last_counters(
    store: JobStore, runs: RunStore, feed: EventFeed
) -> None:
    record = await _submitted(store, runs, counters={"total": 3, "done": 1, "failed": 1}, **BULK)
    canceled = replace(record, state=JobState.CANCELED, cancel_requested=True, finished_at=time.time())

    await store.cancel(record.id, canceled)

    found = await feed.read(record.id, items=True, after=0)
    assert found is not None
    assert [event.name for event in found.events] == ["state", "state", "progress", "done"]
    assert load_json(found.events[2].data) == canceled.progress
    assert canceled.progress["canceled"] == 2
