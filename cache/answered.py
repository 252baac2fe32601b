"""Note answered summaries for the questions about them: a batch at a time, off the callers' path."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.answered import STREAM, STREAM_LENGTH, AnsweredSummary, entry_of

log = structlog.get_logger()

FLUSH_S = 0.5
MAX_BATCH = 500  # answers in one entry of the stream
MAX_HELD = 10_000  # answers between two flushes; a whole bulk from the cache fits


class AnsweredLog:
    """An answer costs its caller an append to a list. What a crash loses is half a second of statistics."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._answers: list[AnsweredSummary] = []
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def start(self) -> None:
        self._task = asyncio.create_task(self._flush_until_stopped())

    async def stop(self) -> None:
        # Not canceled: answers that are on their way would be lost.
        self._stopping.set()
        if self._task is not None:
            await self._task
        await self.flush()

    def add(self, answer: AnsweredSummary) -> None:
        if len(self._answers) < MAX_HELD:
            self._answers.append(answer)

    def add_all(self, answers: Iterable[AnsweredSummary]) -> None:
        for answer in answers:
            self.add(answer)

    async def flush(self) -> None:
        answers, self._answers = self._answers, []
        if not answers:
            return
        pipe = self._redis.pipeline(transaction=False)
        for first in range(0, len(answers), MAX_BATCH):
            entry = entry_of(answers[first : first + MAX_BATCH])
            pipe.xadd(STREAM, {"entry": entry}, maxlen=STREAM_LENGTH, approximate=True)
        try:
            await pipe.execute()
        except (RedisError, OSError):
            log.warning("answers_not_noted", count=len(answers))

    async def _flush_until_stopped(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._stopping.wait()
            await self.flush()
