"""Tell whoever listens to a job what happens to it: progress and finished items.

Changes of state are events without anybody's doing: the scripts that make them write the event in the same
step. Single jobs have nothing else to tell. Reading is `jobs/event_feed.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import redis.asyncio
from redis import Redis

from jobs import event_scripts, scripts
from jobs.json_text import dump_json

Counters = Mapping[str, int | float | None]


class EventPublisher:
    """For worker threads. Redis errors pass through; events of a job that has ended are dropped."""

    def __init__(self, redis: Redis) -> None:
        self._publish = redis.register_script(event_scripts.PUBLISH_EVENT)
        self._publish_items = redis.register_script(event_scripts.PUBLISH_ITEMS)

    def progress(self, job_id: str, counters: Counters) -> None:
        """All counters as they are now. Call it as often as they change: listeners get at most 4 a second."""
        self._publish(**_call(job_id, "progress", counters))

    def item(self, job_id: str, index: int) -> None:
        """The item at `index` is finished. Its row is read when it is shown, so it must be stored before."""
        self._publish(**_call(job_id, "item", {"index": index}))

    def items(self, job_id: str, indexes: Iterable[int]) -> None:
        """The same for several items, in one step."""
        if told := [dump_json({"index": index}) for index in indexes]:
            self._publish_items(keys=(scripts.record_key(job_id),), args=told)


class AsyncEventPublisher:
    """The same on an event loop."""

    def __init__(self, redis: redis.asyncio.Redis) -> None:
        self._publish: Any = redis.register_script(event_scripts.PUBLISH_EVENT)

    async def progress(self, job_id: str, counters: Counters) -> None:
        await self._publish(**_call(job_id, "progress", counters))

    async def item(self, job_id: str, index: int) -> None:
        await self._publish(**_call(job_id, "item", {"index": index}))


def _call(job_id: str, event: str, data: Counters) -> dict[str, Any]:
    return {"keys": (scripts.record_key(job_id),), "args": (event, dump_json(dict(data)))}
