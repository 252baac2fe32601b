"""The chunks of bulk jobs as workers see them: offered, taken in turn, returned, taken back from the dead.

Blocking calls: these run in worker threads. `Calls` is the one part that event loops use.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from redis import Redis

from jobs import chunk_scripts, scripts
from jobs.chunk_scripts import bulk_key
from jobs.json_text import dump_json
from jobs.records import JobRecord
from jobs.store import LIVE_TTL_S


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that one execution has, as long as it renews its lease."""

    job_id: str
    number: int
    token: str

    @property
    def member(self) -> str:
        return f"{self.job_id} {self.number}"


@dataclass(frozen=True, slots=True)
class LostChunk:
    job_id: str
    number: int
    losses: int


@dataclass(frozen=True, slots=True)
class ChunksOf:
    """How many chunks of a job wait, and how many more may be taken now; how many are at work."""

    waiting: int
    takeable: int
    out: int


class ChunkStore:
    """Redis errors pass through."""

    def __init__(self, redis: Redis, *, lease_s: float) -> None:
        self._redis: Any = redis
        self._lease_s = lease_s
        self._begin: Any = redis.register_script(chunk_scripts.BEGIN)
        self._offer: Any = redis.register_script(chunk_scripts.OFFER)
        self._take: Any = redis.register_script(chunk_scripts.TAKE)
        self._return: Any = redis.register_script(chunk_scripts.RETURN)
        self._lost: Any = redis.register_script(chunk_scripts.LOST)
        self._progress: Any = redis.register_script(chunk_scripts.PROGRESS)
        self._forget = redis.register_script(chunk_scripts.FORGET)

    def begin(self, record: JobRecord) -> bool:
        """Mark a queued job as running; whether it runs now."""
        keys = (
            scripts.record_key(record.id),
            scripts.queued_key(record.queue),
            scripts.JOURNAL_KEY,
            scripts.overtaken_key(record.queue),
        )
        return bool(self._begin(keys=keys, args=[time.time(), record.id]) == b'"running"')

    def offer(self, record: JobRecord, chunks: Sequence[int], *, most: int, calls: int) -> int:
        """Make all unfinished chunks of a job available, unless they are; how many there are new.

        `most` chunks may be at work at once (0: any number); `calls` were made so far, if nobody knows more.
        """
        args = [record.id, record.project_id, most, calls, LIVE_TTL_S, *chunks]
        return int(self._offer(args=args))

    def keep_arrived(self, job_id: str) -> None:
        """Let chunks of the job be taken although it was asked to stop."""
        self._redis.hset(bulk_key(job_id), "keep", 1)

    def take(self) -> Chunk | None:
        """The chunk whose turn it is."""
        token = uuid.uuid4().hex
        found = self._take(args=[time.time(), self._lease_s, token])
        return Chunk(found[0].decode(), int(found[1]), token) if found else None

    def renew(self, chunks: Iterable[Chunk]) -> set[str]:
        """Renew the leases; the jobs among them that were asked to stop."""
        held = list(chunks)
        if not held:
            return set()
        jobs = sorted({chunk.job_id for chunk in held})
        pipe = self._redis.pipeline(transaction=False)
        until = time.time() + self._lease_s
        pipe.zadd(chunk_scripts.OUT_KEY, {chunk.member: until for chunk in held}, xx=True)
        for job_id in jobs:
            pipe.hget(scripts.record_key(job_id), "cancel_requested")
        return {job_id for job_id, flag in zip(jobs, pipe.execute()[1:], strict=True) if flag == b"true"}

    def progress(
        self, chunk: Chunk, *, left: int, revision: int = 0, counters: dict[str, Any] | None = None
    ) -> int:
        """Show what the rows say; how many items of the job are in hand now, everywhere."""
        args = [chunk.job_id, chunk.number, chunk.token, left, revision, dump_json(counters or {})]
        reply = self._progress(keys=(scripts.record_key(chunk.job_id),), args=args)
        return int(reply[1])

    def give_back(self, chunk: Chunk, *, delay_s: float) -> int:
        """The chunk has items left; nobody takes one of its job before `delay_s`. How many wait now."""
        args = [chunk.job_id, chunk.number, chunk.token, 1, time.time() + delay_s]
        return int(self._return(args=args))

    def done(self, chunk: Chunk) -> int:
        """All items of the chunk are finished; how many chunks of the job wait."""
        return int(self._return(args=[chunk.job_id, chunk.number, chunk.token, 0, 0]))

    def take_back_lost(self) -> list[LostChunk]:
        """Chunks whose worker was silent for too long wait again."""
        return [
            LostChunk(job.decode(), int(chunk), int(n)) for job, chunk, n in self._lost(args=[time.time()])
        ]

    def of(self, job_id: str) -> ChunksOf:
        pipe = self._redis.pipeline(transaction=False)
        pipe.llen(bulk_key(job_id, "waiting"))
        pipe.hmget(bulk_key(job_id), "out", "most", "later")
        waiting, (out, most, later) = pipe.execute()
        free = int(most) - int(out or 0) if most and int(most) else waiting
        due = float(later or 0) <= time.time()
        return ChunksOf(waiting, max(0, min(waiting, free)) if due else 0, int(out or 0))

    def forget(self, job_id: str) -> None:
        self._forget(args=[job_id])


class Calls:
    """Counts the requests that a job makes to the provider, over all workers, before each of them."""

    def __init__(self, redis: redis.asyncio.Redis) -> None:
        self._count: Any = redis.register_script(chunk_scripts.COUNT_CALL)

    async def one_more(self, job_id: str, *, most: int) -> bool:
        """Whether the job may make one more; if so it is counted. Redis errors pass through."""
        return bool(await self._count(keys=(bulk_key(job_id),), args=[most]))
