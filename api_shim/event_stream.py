"""The events of one job as server-sent events: from where the listener left off until the job's end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from api_shim.answering import live_job
from api_shim.dependencies import Services
from jobs.event_feed import EventsRead, JobEvent
from jobs.json_text import dump_json, load_json
from jobs.records import JobRecord

COMMENT_EVERY_S: Final = 15.0
ASK_AGAIN_S: Final = 1.0  # of a store that is away, or has to be given the job again
HELD_S: Final = 0.3  # progress that was held back is due by then
BEGIN: Final = b"retry: 3000\n\n"
COMMENT: Final = b": still here\n\n"

# The rows of these items, each one line of JSON.
Rows = Callable[[Sequence[int]], Awaitable[dict[int, bytes]]]


@dataclass(frozen=True, slots=True)
class Listener:
    """`after`: the id of the last event that it has seen, 0 for none. `rows`: it wants finished items too."""

    job_id: str
    base_url: str
    after: int = 0
    rows: Rows | None = None


def last_event_id(text: str) -> int:
    """The number in a `Last-Event-ID` header; odd values count as none."""
    text = text.strip()
    return int(text[:15]) if text.isascii() and text.isdigit() else 0


async def stream(services: Services, listener: Listener) -> AsyncIterator[bytes]:
    """The text of the stream, which ends with the job. Waiting costs neither a thread nor a connection."""
    yield BEGIN
    after, spoke_at, nudged = listener.after, time.monotonic(), False
    async with services.feed.listen(listener.job_id, items=listener.rows is not None) as woken:
        while True:
            woken.clear()
            found = await _read(services, listener, after)
            text, after, ended = await _told(services, listener, found, after)
            if text:
                yield text
                spoke_at = time.monotonic()
            if ended:
                return
            silence_s = max(0.0, spoke_at + COMMENT_EVERY_S - time.monotonic())
            if found is None:
                pause_s = min(ASK_AGAIN_S, silence_s)
            else:
                # Who is woken and finds nothing was told of progress that is held back for a moment.
                pause_s = HELD_S if nudged and not text else 0.0 if text else silence_s
            nudged = await _woken(woken, pause_s)
            if time.monotonic() >= spoke_at + COMMENT_EVERY_S:
                yield COMMENT
                spoke_at = time.monotonic()


async def _read(services: Services, listener: Listener, after: int) -> EventsRead | None:
    try:
        return await services.feed.read(listener.job_id, items=listener.rows is not None, after=after)
    except (RedisError, OSError):
        return None


async def _told(
    services: Services, listener: Listener, found: EventsRead | None, after: int
) -> tuple[bytes, int, bool]:
    """What there is to say, the id of the last event in it, and whether that was the last of all."""
    if found is None:
        row = await live_job(services, listener.job_id)
        if row is None or not row.state.final:
            return b"", after, row is None
        events = [*_snapshot(row, dump_json(row.progress), after + 1), JobEvent(after + 3, "done", b"")]
        return _text(events, row, listener, {}), after + 3, True
    if not found.events:
        return b"", after, found.record.state.final  # it had heard the end before
    events = found.events
    if found.gap:
        events = [*_snapshot(found.record, found.progress, events[0].id - 2), *events]
    rows = await _rows_of(listener, found)
    last = events[-1]
    return _text(events, found.record, listener, rows), last.id, last.name == "done"


async def _rows_of(listener: Listener, found: EventsRead) -> dict[int, bytes]:
    indexes = [_index_of(event) for event in found.events if event.name == "item"]
    return await listener.rows(indexes) if listener.rows is not None and indexes else {}


def _snapshot(record: JobRecord, progress: bytes, first_id: int) -> list[JobEvent]:
    """How things stand, for a listener who has missed what led there."""
    state = dump_json({"state": str(record.state), "attempt": record.attempt})
    return [JobEvent(first_id, "state", state), JobEvent(first_id + 1, "progress", progress)]


def _text(events: Sequence[JobEvent], record: JobRecord, listener: Listener, rows: dict[int, bytes]) -> bytes:
    def data_of(event: JobEvent) -> bytes:
        if event.name == "done":
            return dump_json(record.public(listener.base_url))
        return rows.get(_index_of(event), event.data).rstrip() if event.name == "item" else event.data

    return b"".join(
        b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.name.encode(), data_of(event))
        for event in events
    )


def _index_of(event: JobEvent) -> int:
    data = load_json(event.data)
    return int(data["index"]) if isinstance(data, dict) else -1


async def _woken(woken: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return False
    return True
