"""The live job record in Redis, as the shim uses it: submit, look, cancel, delete.

The worker's side of the same record is `jobs/runs.py`. Jobs that a caller was promised are also rows in
`storage/jobs.py`, written before the promise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from jobs import event_scripts, scripts
from jobs.envelopes import broker_list
from jobs.json_text import dump_json
from jobs.kinds import JOB_KINDS
from jobs.packing import unpack
from jobs.records import JobRecord, JobResult
from jobs.states import JobState

LIVE_TTL_S = 2 * 86_400  # of a job that has not ended: longer than any queue time and deadline together
LARGE_BYTES = 65_536  # of a packed result: opening it takes so long that others have their turn meanwhile
UNKEPT_TTL_S = 120  # of a result that only its waiting caller can ask for


@dataclass(frozen=True, slots=True)
class Submitted:
    """`joined`: another job is at work on the same request, and `job_id` is that one's."""

    outcome: Literal["queued", "joined", "full", "no_worker"]
    job_id: str


class JobStore:
    """Job records for the shim. Redis errors pass through: the caller decides what an absent store means."""

    def __init__(self, redis: Redis, *, result_ttl_s: float, max_queued: int) -> None:
        self._redis: Any = redis  # its annotations describe text and bytes replies at once; ours are bytes
        self._result_ttl_s = result_ttl_s
        self._max_queued = max_queued
        self._submit = redis.register_script(scripts.SUBMIT)
        self._abandon = redis.register_script(scripts.ABANDON)
        self._finish = redis.register_script(scripts.FINISH)
        self._cancel = redis.register_script(scripts.REQUEST_CANCEL)

    async def submit(self, record: JobRecord, payload: bytes, *, message: bytes = b"") -> Submitted:
        """Store a queued job with its packed payload, or say why not. One atomic step.

        `message` is put on the broker's list in the same step, when the broker is this Redis.
        """
        broker = broker_list(record.queue) if message else ""
        keys = (*_submit_keys(record), scripts.workers_key(record.queue), record.flight, broker)
        fields = flat(record)
        args = [record.created_at, self._max_queued, LIVE_TTL_S, record.id, payload, message, *fields]
        reply = await self._submit(keys=keys, args=args)
        outcome = reply[0].decode()
        return Submitted(outcome, reply[1].decode() if len(reply) > 1 else record.id)

    async def abandon(self, record: JobRecord) -> None:
        """Forget a job whose message could not be sent."""
        await self._abandon(keys=(*_submit_keys(record), record.flight), args=[record.id])

    async def get(self, job_id: str) -> JobRecord | None:
        return JobRecord.from_hash(await self._redis.hgetall(scripts.record_key(job_id)))

    async def get_many(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hgetall(scripts.record_key(job_id))
        return [JobRecord.from_hash(raw) for raw in await pipe.execute()]

    async def states(self, job_ids: Sequence[str]) -> list[JobState | None]:
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hget(scripts.record_key(job_id), "state")
        return [JobState(raw.decode().strip('"')) if raw else None for raw in await pipe.execute()]

    async def ended(self, job_id: str) -> tuple[JobRecord | None, JobResult | None]:
        """The record, and its result when it ended and the result is still kept."""
        # Two commands and no pipeline: on a busy loop they travel with those of other callers.
        raw, blob = await asyncio.gather(
            self._redis.hgetall(scripts.record_key(job_id)), self._redis.get(scripts.result_key(job_id))
        )
        record = JobRecord.from_hash(raw)
        if record is None or blob is None or record.result_status is None:
            return record, None
        content = unpack(blob) if len(blob) <= LARGE_BYTES else await asyncio.to_thread(unpack, blob)
        return record, JobResult(record.result_status, content, record.result_headers)

    async def promise(self, record: JobRecord) -> None:
        """Mark a live job as one that a caller was promised."""
        if await self._redis.exists(scripts.record_key(record.id)):
            marks = {"promised": b"true", "asynchronous": b"true" if record.asynchronous else b"false"}
            await self._redis.hset(scripts.record_key(record.id), mapping=marks)

    async def cancel(
        self, job_id: str, finished: JobRecord, *, keep_s: float | None = None
    ) -> JobRecord | None:
        """Cancel a queued job at once (as `finished`), ask a running one to stop; the record afterwards.

        A job that the store has lost is at work nowhere: it is canceled too, and never restored.
        """
        key = scripts.record_key(job_id)
        state = await self._cancel(keys=(key, scripts.JOURNAL_KEY), args=[job_id])
        if state in (None, b'"queued"'):
            await self._finish(**finish_call(finished, b"", keep_s or self._result_ttl_s))
        return await self.get(job_id)

    async def delete(self, job_id: str) -> None:
        logs = (event_scripts.events_key(job_id), event_scripts.events_key(job_id, items=True))
        keys = (scripts.record_key(job_id), scripts.payload_key(job_id), scripts.result_key(job_id), *logs)
        await self._redis.delete(*keys)

    async def live_queues(self, queues: Sequence[str]) -> set[str]:
        """The queues that some worker serves right now."""
        pipe = self._redis.pipeline(transaction=False)
        now = time.time()
        for queue in queues:
            pipe.zcount(scripts.workers_key(queue), now, "+inf")
        return {queue for queue, count in zip(queues, await pipe.execute(), strict=True) if count}

    async def last_journal_entry(self) -> bytes | None:
        """Where the journal ends now: rows of all jobs that ended until now are written once it is gone."""
        entries = await self._redis.xrevrange(scripts.JOURNAL_KEY, count=1)
        return entries[0][0] if entries else None

    async def journal_reaches(self, entry: bytes) -> bool:
        """Whether something up to `entry` still waits to be written to the database."""
        return bool(await self._redis.xrange(scripts.JOURNAL_KEY, max=entry, count=1))


def finish_call(record: JobRecord, content: bytes, result_ttl_s: float) -> dict[str, Any]:
    """Keys and arguments of `scripts.FINISH` for a record in its final state."""
    kind = JOB_KINDS.get(record.kind)
    kept = kind is None or kind.kept
    keys = (
        scripts.record_key(record.id),
        scripts.payload_key(record.id),
        scripts.result_key(record.id),
        scripts.queued_key(record.queue),
        scripts.RUNNING_KEY,
        scripts.JOURNAL_KEY if kept else "",
        record.flight,
    )
    args = [
        record.id,
        int(result_ttl_s) if kept else UNKEPT_TTL_S,
        content,
        scripts.ENDED_CHANNEL,
        *flat(record),
    ]
    if record.counters:  # what listeners hear last, whoever ends the job
        args += ["progress_latest", dump_json(record.progress)]
    return {"keys": keys, "args": args}


def _submit_keys(record: JobRecord) -> tuple[str, str, str]:
    return scripts.record_key(record.id), scripts.payload_key(record.id), scripts.queued_key(record.queue)


def flat(record: JobRecord) -> list[str | bytes]:
    """The fields of the record as one list of names and values, for a script."""
    return [part for pair in record.to_hash().items() for part in pair]
