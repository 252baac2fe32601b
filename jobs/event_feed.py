"""Read the events of a job and learn of new ones: one subscription a process, however many listeners."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs import event_scripts, scripts
from jobs.json_text import dump_json
from jobs.records import JobRecord

log = structlog.get_logger()

READ_AT_ONCE = 200
RECONNECT_S = 0.2
_IDLE_CHANNEL = "tg:jobs:events"  # a subscription to nothing would end the connection's loop


@dataclass(frozen=True, slots=True)
class JobEvent:
    """`data` is JSON text; empty for `done`, whose data is the job itself."""

    id: int
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class EventsRead:
    """What a read found: the job, its latest counters, and events in the order of their ids.

    `gap`: events between the one asked for and the first of these are no longer kept.
    """

    record: JobRecord
    progress: bytes
    gap: bool
    events: list[JobEvent] = field(default_factory=list)


class EventFeed:
    """The events of jobs for the shim. Redis errors of reads pass through."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._read: Any = redis.register_script(event_scripts.READ_EVENTS)
        self._listeners: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._pubsub: Any = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def read(self, job_id: str, *, items: bool, after: int) -> EventsRead | None:
        """The events with ids above `after`, some at a time; None when the store does not know the job.

        `items`: with the rows of finished items, for a job that has items.
        """
        keys = (scripts.record_key(job_id), event_scripts.events_key(job_id, items=items))
        reply = await self._read(keys=keys, args=(after, READ_AT_ONCE))
        if not reply:
            return None
        raw = dict(zip(reply[0][::2], reply[0][1::2], strict=True))
        record = JobRecord.from_hash(raw)
        if record is None:
            return None
        progress = raw.get(b"progress_latest") or dump_json(record.progress)
        return EventsRead(record, progress, bool(reply[1]), [_event(*entry) for entry in reply[2]])

    @asynccontextmanager
    async def listen(self, job_id: str, *, items: bool) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever there may be something to read. Clear it, then read, then wait.

        It is also set once the subscription stands, so nothing that happens around the first read is missed.
        """
        channel = event_scripts.events_key(job_id, items=items)
        woken = asyncio.Event()
        first = not self._listeners[channel]
        self._listeners[channel].add(woken)
        try:
            if first:
                await self._tell("subscribe", channel)
            yield woken
        finally:
            self._listeners[channel].discard(woken)
            if not self._listeners[channel]:
                del self._listeners[channel]
                await self._tell("unsubscribe", channel)

    async def _tell(self, command: str, channel: str) -> None:
        if self._pubsub is None:
            return  # all channels are asked for when the connection is there
        try:
            await getattr(self._pubsub, command)(channel)
        except (RedisError, OSError):
            log.warning("event_subscription_not_changed", command=command)

    async def _run(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(_IDLE_CHANNEL, *self._listeners)
                    self._pubsub = pubsub
                    self._wake_all()
                    async for message in pubsub.listen():
                        if message["type"] in ("message", "subscribe"):
                            self._wake(message["channel"].decode())
            except (RedisError, OSError) as error:
                log.warning("event_notifications_lost", error=type(error).__name__)
            finally:
                self._pubsub = None
            await asyncio.sleep(RECONNECT_S)

    def _wake(self, channel: str) -> None:
        for woken in self._listeners.get(channel, ()):
            woken.set()

    def _wake_all(self) -> None:
        for channel in self._listeners:
            self._wake(channel)


def _event(entry: bytes, fields: list[bytes]) -> JobEvent:
    members = dict(zip(fields[::2], fields[1::2], strict=True))
    return JobEvent(int(entry.partition(b"-")[0]), members[b"event"].decode(), members[b"data"])
