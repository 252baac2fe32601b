"""Submit a job and wait for its end: one subscription a process, no thread and no polling per caller."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs import scripts
from jobs.envelopes import envelope
from jobs.errors import Unavailable
from jobs.kinds import JOB_KINDS
from jobs.records import JobRecord
from jobs.store import JobStore, Submitted

log = structlog.get_logger()

SENDERS = 4  # threads that talk to the broker; a send takes about a millisecond
SEND_PATIENCE_S = 2.0
SWEEP_S = 1.0  # a lost notification costs a caller at most this
RECONNECT_S = 0.2


class EndedJobs:
    """Tells waiters that their job has ended. A missed message is made up for by a sweep every second."""

    def __init__(self, redis: Redis, store: JobStore) -> None:
        self._redis = redis
        self._store = store
        self._waiters: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._sweep())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def waiting(self) -> int:
        return sum(len(events) for events in self._waiters.values())

    @asynccontextmanager
    async def watch(self, job_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the job has ended. Watch first, read the state then, wait last."""
        event = asyncio.Event()
        self._waiters[job_id].add(event)
        try:
            yield event
        finally:
            self._waiters[job_id].discard(event)
            if not self._waiters[job_id]:
                del self._waiters[job_id]

    def _wake(self, job_id: str) -> None:
        for event in self._waiters.get(job_id, ()):
            event.set()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(scripts.ENDED_CHANNEL)
                    async for message in pubsub.listen():
                        self._wake(message["data"].decode())
            except (RedisError, OSError) as error:
                log.warning("job_notifications_lost", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_S)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            job_ids = list(self._waiters)
            if not job_ids:
                continue
            try:
                states = await self._store.states(job_ids)
            except (RedisError, OSError):
                continue
            for job_id, state in zip(job_ids, states, strict=True):
                if state is not None and state.final:
                    self._wake(job_id)


class JobQueue:
    """What the shim does with jobs: submit and wait. Raises `Unavailable` when the queue cannot take one."""

    def __init__(self, store: JobStore, ended: EndedJobs, celery: Celery, *, broker_in_store: bool) -> None:
        """`broker_in_store`: the broker is the Redis of the job store, so a submit needs no second step."""
        self.store = store
        self._broker_in_store = broker_in_store
        self._ended = ended
        self._celery = celery
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="broker-send")

    def close(self) -> None:
        self._senders.shutdown(wait=False, cancel_futures=True)

    async def submit(self, record: JobRecord, payload: bytes) -> Submitted:
        """Store the job and send its task; `joined` when another job already does this very work.

        Raises:
            Unavailable: no store, no broker, no worker, or a full queue. The job then does not exist.
        """
        submitted = await self._store(record, payload)
        if submitted.outcome == "full":
            raise Unavailable(
                "Too many jobs are waiting; try again later.", code="queue_full", retry_after_s=10
            )
        if submitted.outcome == "no_worker":
            raise queue_unavailable("No worker serves this queue right now; try again shortly.")
        if submitted.outcome == "queued" and not self._broker_in_store:
            await self._send(record)
        return submitted

    async def notify(self, task: str, queue: str) -> None:
        """Send a task that is no job and that beat sends too: when the broker is away, it comes later."""
        loop = asyncio.get_running_loop()
        send = partial(self._celery.send_task, task, queue=queue)
        try:
            async with asyncio.timeout(SEND_PATIENCE_S):
                await loop.run_in_executor(self._senders, send)
        except (OperationalError, RedisError, OSError, TimeoutError):
            log.warning("task_not_sent", task=task)

    async def wait(self, job_id: str, seconds: float) -> bool:
        """Whether the job ended within `seconds`."""
        async with self._ended.watch(job_id) as event:
            if await self._is_final(job_id):
                return True
            return await _within(event, seconds)

    async def _is_final(self, job_id: str) -> bool:
        try:
            state = (await self.store.states([job_id]))[0]
        except (RedisError, OSError):
            return False  # the sweep will tell once the store is back
        return state is not None and state.final

    async def submit_and_wait(self, record: JobRecord, payload: bytes, seconds: float) -> tuple[str, bool]:
        """Submit, then wait; the id of the job that does the work, and whether it ended in time."""
        async with self._ended.watch(record.id) as event:
            submitted = await self.submit(record, payload)
            if submitted.outcome == "queued":
                return record.id, await _within(event, seconds)
        return submitted.job_id, await self.wait(submitted.job_id, seconds)

    async def _store(self, record: JobRecord, payload: bytes) -> Submitted:
        try:
            async with asyncio.timeout(SEND_PATIENCE_S):
                return await self.store.submit(record, payload, message=self._message(record))
        except (RedisError, OSError, TimeoutError) as error:
            raise _unreachable() from error

    def _message(self, record: JobRecord) -> bytes:
        if not self._broker_in_store:
            return b""
        return envelope(JOB_KINDS[record.kind].task, record.id, record.queue)

    async def _send(self, record: JobRecord) -> None:
        try:
            await self._send_task(record)
        except Unavailable:
            await self._abandon(record)
            raise

    async def _send_task(self, record: JobRecord) -> None:
        kind = JOB_KINDS[record.kind]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SEND_PATIENCE_S):
                await loop.run_in_executor(self._senders, self._publish, kind.task, record.id, kind.queue)
        except (OperationalError, RedisError, OSError, TimeoutError) as error:
            raise _unreachable() from error

    def _publish(self, task: str, job_id: str, queue: str) -> None:
        self._celery.send_task(task, args=[job_id], queue=queue)

    async def _abandon(self, record: JobRecord) -> None:
        try:
            await self.store.abandon(record)
        except (RedisError, OSError):
            log.warning("job_not_abandoned", job_id=record.id)


def queue_unavailable(detail: str) -> Unavailable:
    return Unavailable(detail, code="queue_unavailable", retry_after_s=5)


def _unreachable() -> Unavailable:
    return queue_unavailable("The job queue cannot be reached; try again shortly.")


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
