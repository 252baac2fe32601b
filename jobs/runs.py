"""The live job record in Redis, as a worker uses it: start, renew, finish, take over.

The shim's side of the same record is `jobs/store.py`. `RunStore` blocks: it is for the threads of a worker.
`AsyncRunStore` has the two steps of a job that runs on an event loop.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import redis.asyncio
from redis import Redis
from redis.exceptions import RedisError

from jobs import scripts
from jobs.packing import pack, unpack
from jobs.records import JobRecord, JobResult
from jobs.states import JobState
from jobs.store import LARGE_BYTES, LIVE_TTL_S, finish_call, flat

_NOTHING = pack(b"{}")


@dataclass(slots=True)
class Run:
    """A job that this worker may work on, with its unpacked request."""

    record: JobRecord
    payload: bytes

    def take_payload(self) -> bytes:
        """The request, handed out once: a large one is not to be held twice while it is worked on."""
        payload, self.payload = self.payload, b""
        return payload


@dataclass(frozen=True, slots=True)
class NotStarted:
    """Why a delivery is dropped: the job is over, at work elsewhere, or unknown."""

    reason: Literal["missing", "final", "busy", "expired", "canceled"]
    # A job that ends here, in this state, without having been worked on.
    ends: tuple[JobRecord, JobState] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Seconds: a lease without a heartbeat, a result, a job in its queue."""

    lease_s: float
    result_ttl_s: float
    queue_ttl_s: float


class RunStore:
    """Job records for a worker process. Redis errors pass through."""

    def __init__(self, redis: Redis, *, lease_s: float, result_ttl_s: float, queue_ttl_s: float) -> None:
        self._redis: Any = redis  # its annotations describe text and bytes replies at once; ours are bytes
        self.lifetimes = Lifetimes(lease_s, result_ttl_s, queue_ttl_s)
        self._start = redis.register_script(scripts.START)
        self._finish = redis.register_script(scripts.FINISH)
        self._requeue = redis.register_script(scripts.REQUEUE)
        self._restore = redis.register_script(scripts.RESTORE)

    def start(self, job_id: str, queue: str) -> Run | NotStarted:
        """Take the job, or learn why not. A second delivery of a running job is refused."""
        taken = _taken(self._start(**_start_call(job_id, queue, self.lifetimes)), self.lifetimes)
        if isinstance(taken, NotStarted):
            if taken.ends:
                self.finish(*taken.ends)
            return taken
        record, blob = taken
        return Run(record, unpack(blob))

    def finish(
        self,
        record: JobRecord,
        state: JobState,
        *,
        result: JobResult | None = None,
        error: dict[str, object] | None = None,
        keep_s: float | None = None,
    ) -> bool:
        """Write the final state with its result and wake the waiters; False when the job had ended before."""
        content = pack(result.content) if result else b""
        keep_s = keep_s or self.lifetimes.result_ttl_s
        done = _ended(record, state, result=result, error=error, keep_s=keep_s)
        return bool(self._finish(**finish_call(done, content, keep_s)))

    def renew(self, job_ids: Iterable[str]) -> set[str]:
        """Renew the leases of running jobs; the ids among them that were asked to stop."""
        ids = list(job_ids)
        if not ids:
            return set()
        pipe = self._redis.pipeline(transaction=False)
        pipe.zadd(scripts.RUNNING_KEY, dict.fromkeys(ids, time.time() + self.lifetimes.lease_s), xx=True)
        for job_id in ids:
            pipe.hget(scripts.record_key(job_id), "cancel_requested")
        flags = pipe.execute()[1:]
        return {job_id for job_id, flag in zip(ids, flags, strict=True) if flag == b"true"}

    def cancel_requested(self, job_id: str) -> bool:
        """Whether a running job was asked to stop; not when the store cannot say."""
        try:
            return bool(self._redis.hget(scripts.record_key(job_id), "cancel_requested") == b"true")
        except RedisError:
            return False

    def beat(self, worker_id: str, queues: Sequence[str]) -> None:
        """Say that this worker is alive and serves these queues."""
        now = time.time()
        pipe = self._redis.pipeline(transaction=False)
        for queue in queues:
            pipe.zadd(scripts.workers_key(queue), {worker_id: now + self.lifetimes.lease_s})
            pipe.zremrangebyscore(scripts.workers_key(queue), "-inf", now - self.lifetimes.lease_s)
        pipe.execute()

    def leave(self, worker_id: str, queues: Sequence[str]) -> None:
        for queue in queues:
            self._redis.zrem(scripts.workers_key(queue), worker_id)

    # taking over ---------------------------------------------------------------------------------

    def lost(self, limit: int = 1000) -> list[str]:
        """Jobs that run without a heartbeat."""
        found = self._redis.zrangebyscore(scripts.RUNNING_KEY, "-inf", time.time(), start=0, num=limit)
        return [job_id.decode() for job_id in found]

    def waiting_since(self, queue: str, end: float, *, limit: int = 1000) -> list[str]:
        """Jobs whose message was sent before `end` (UNIX seconds) and that no worker has started."""
        found = self._redis.zrangebyscore(scripts.queued_key(queue), "-inf", end, start=0, num=limit)
        return [job_id.decode() for job_id in found]

    def overtaken_before(self, queue: str, *, by_s: float) -> float:
        """Jobs whose message was sent before this time should have been started before others that were."""
        youngest = self._redis.get(scripts.overtaken_key(queue))
        return float(youngest) - by_s if youngest else 0.0

    def requeue(self, record: JobRecord) -> Literal["requeued", "exhausted", "moved_on"]:
        """Give a lost job back to its queue, unless it has had its last attempt, or is not lost after all."""
        keys = (
            scripts.record_key(record.id),
            scripts.queued_key(record.queue),
            scripts.RUNNING_KEY,
            scripts.JOURNAL_KEY,
        )
        attempt = int(self._requeue(keys=keys, args=[time.time(), record.id]))
        if attempt > 0:
            return "requeued"
        return "exhausted" if attempt == 0 else "moved_on"

    def forget_lost(self, job_id: str) -> None:
        self._redis.zrem(scripts.RUNNING_KEY, job_id)

    def sent_again(self, record: JobRecord) -> None:
        self._redis.zadd(scripts.queued_key(record.queue), {record.id: time.time()}, xx=True)

    def forget_queued(self, queue: str, job_id: str) -> None:
        self._redis.zrem(scripts.queued_key(queue), job_id)

    def get(self, job_id: str) -> JobRecord | None:
        return JobRecord.from_hash(self._redis.hgetall(scripts.record_key(job_id)))

    def restore(self, record: JobRecord, payload: bytes) -> bool:
        """Bring back a promised job that the store has lost (its row has not); False when it is there."""
        queued = replace(record, state=JobState.QUEUED)
        keys = (
            scripts.record_key(record.id),
            scripts.payload_key(record.id),
            scripts.queued_key(record.queue),
        )
        args = [time.time(), LIVE_TTL_S, record.id, payload, *flat(queued)]
        return bool(self._restore(keys=keys, args=args))

    # journal -------------------------------------------------------------------------------------

    def journal(self, limit: int = 500) -> tuple[list[bytes], list[JobRecord]]:
        """The oldest journal entries, and the records they name (each once, those still there)."""
        entries = self._redis.xrange(scripts.JOURNAL_KEY, count=limit)
        ids = list(dict.fromkeys(fields[b"id"].decode() for _, fields in entries))
        pipe = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hgetall(scripts.record_key(job_id))
        records = [JobRecord.from_hash(raw) for raw in pipe.execute()]
        return [entry for entry, _ in entries], [record for record in records if record]

    def stream(self, name: str, limit: int = 500) -> tuple[list[bytes], list[bytes]]:
        """The oldest entries of another stream: their ids, and the field `entry` of each."""
        entries = self._redis.xrange(name, count=limit)
        return [entry for entry, _ in entries], [fields[b"entry"] for _, fields in entries]

    def written(self, entries: Sequence[bytes], *, stream: str = scripts.JOURNAL_KEY) -> None:
        """Forget entries whose rows are in the database."""
        if entries:
            self._redis.xdel(stream, *entries)


class AsyncRunStore:
    """`RunStore.start` and `RunStore.finish` for jobs that share an event loop. Redis errors pass through."""

    def __init__(self, client: redis.asyncio.Redis, lifetimes: Lifetimes) -> None:
        self._lifetimes = lifetimes
        self._start = client.register_script(scripts.START)
        self._finish = client.register_script(scripts.FINISH)

    async def start(self, job_id: str, queue: str) -> Run | NotStarted:
        """Take the job, or learn why not. A second delivery of a running job is refused."""
        taken = _taken(await self._start(**_start_call(job_id, queue, self._lifetimes)), self._lifetimes)
        if isinstance(taken, NotStarted):
            if taken.ends:
                await self.finish(*taken.ends)
            return taken
        record, blob = taken
        # Others have their turn while a large one is opened.
        return Run(
            record, unpack(blob) if len(blob) <= LARGE_BYTES else await asyncio.to_thread(unpack, blob)
        )

    async def finish(
        self,
        record: JobRecord,
        state: JobState,
        *,
        result: JobResult | None = None,
        error: dict[str, object] | None = None,
    ) -> bool:
        """Write the final state with its result and wake the waiters; False when the job had ended before."""
        content = result.content if result else b""
        if len(content) > LARGE_BYTES:
            content = await asyncio.to_thread(pack, content)
        elif result:
            content = pack(content)
        keep_s = self._lifetimes.result_ttl_s
        done = _ended(record, state, result=result, error=error, keep_s=keep_s)
        return bool(await self._finish(**finish_call(done, content, keep_s)))


def _start_call(job_id: str, queue: str, lifetimes: Lifetimes) -> dict[str, Any]:
    """Keys and arguments of `scripts.START`."""
    keys = (
        scripts.record_key(job_id),
        scripts.payload_key(job_id),
        scripts.queued_key(queue),
        scripts.RUNNING_KEY,
        scripts.JOURNAL_KEY,
        scripts.overtaken_key(queue),
    )
    return {"keys": keys, "args": [time.time(), lifetimes.lease_s, job_id, uuid.uuid4().hex]}


def _taken(reply: list[Any], lifetimes: Lifetimes) -> tuple[JobRecord, bytes] | NotStarted:
    """What the reply of `scripts.START` says: the record and the packed request, or why there is no work."""
    word = reply[0].decode()
    if word != "started":
        return NotStarted(word)
    record = JobRecord.from_hash(dict(zip(reply[1][::2], reply[1][1::2], strict=True)))
    if record is None:
        return NotStarted("missing")
    if record.cancel_requested:
        return NotStarted("canceled", ends=(record, JobState.CANCELED))
    if time.time() > record.created_at + lifetimes.queue_ttl_s and record.attempt == 1:
        return NotStarted("expired", ends=(record, JobState.EXPIRED))
    return record, reply[2] or _NOTHING


def _ended(
    record: JobRecord,
    state: JobState,
    *,
    result: JobResult | None,
    error: dict[str, object] | None,
    keep_s: float,
) -> JobRecord:
    now = time.time()
    return replace(
        record,
        state=state,
        finished_at=now,
        expires_at=now + keep_s,
        result_status=result.status if result else None,
        result_headers=result.headers if result else {},
        error=error,
    )
