"""The paid-answer journal: what the provider sent, kept before it is parsed, so that no crash pays twice.

It only serves crashes. A flight that ends with any answer, good or bad, drops its journal, so a later request
for the same content is a new call.
"""

from __future__ import annotations

import logging
from typing import Protocol, cast

import redis.asyncio

from cache.connection import StoreGate, StoreUnavailable

logger = logging.getLogger(__name__)

LIFE_S = 3600


class Journal(Protocol):
    """Answers of one flight by attempt, counted from 1. Faults of the store never surface."""

    async def read(self, attempt: int) -> bytes | None: ...

    async def write(self, attempt: int, answer: bytes) -> None: ...


class StoredJournal:
    """In the coordination store, which does not evict; found again by whoever takes the flight over."""

    def __init__(self, client: redis.asyncio.Redis, name: str, *, gate: StoreGate) -> None:
        self._client = client
        self._name = name
        self._gate = gate

    async def read(self, attempt: int) -> bytes | None:
        try:
            answer = await self._gate.run(lambda: self._client.hget(self._name, str(attempt)))
        except StoreUnavailable:
            return None
        return cast("bytes | None", answer)

    async def write(self, attempt: int, answer: bytes) -> None:
        try:
            await self._gate.run(lambda: self._put(attempt, answer))
        except StoreUnavailable:
            logger.warning("A paid answer could not be journaled; a crash now would pay for it again.")

    async def _put(self, attempt: int, answer: bytes) -> None:
        pipeline = self._client.pipeline(transaction=True)
        pipeline.hset(self._name, str(attempt), answer)
        pipeline.expire(self._name, LIFE_S)
        await pipeline.execute()


class MemoryJournal:
    """For one execution, when there is no store: it lasts as long as the execution."""

    def __init__(self) -> None:
        self._answers: dict[int, bytes] = {}

    async def read(self, attempt: int) -> bytes | None:
        return self._answers.get(attempt)

    async def write(self, attempt: int, answer: bytes) -> None:
        self._answers[attempt] = answer
