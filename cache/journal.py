"""The paid-answer journal: what the provider sent, kept before it is parsed, so that no crash pays twice.

It only serves crashes. A flight that ends with any answer, good or bad, drops its journal, so a later request
for the same content is a new call.
"""

from __future__ import annotations

import logging
from typing import Protocol, cast

import redis.asyncio

from cache.connection import Script, StoreGate, StoreUnavailable

logger = logging.getLogger(__name__)

LIFE_S = 3600

PUT = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


class Journal(Protocol):
    """Answers of one flight by attempt, counted from 1. Faults of the store never surface."""

    async def read(self, attempt: int) -> bytes | None: ...

    async def write(self, attempt: int, answer: bytes) -> None: ...


class StoredJournals:
    """In the coordination store, which does not evict; found again by whoever takes the flight over."""

    def __init__(self, client: redis.asyncio.Redis, *, gate: StoreGate) -> None:
        self._client = client
        self._put = Script(client, PUT)
        self._gate = gate

    def open(self, name: str, *, empty: bool = False) -> Journal:
        """The journal of this name; `empty`: nobody has written to it yet."""
        return _StoredJournal(self, name, empty=empty)

    async def read(self, name: str, attempt: int) -> bytes | None:
        try:
            answer = await self._gate.run(lambda: self._client.hget(name, str(attempt)))
        except StoreUnavailable:
            return None
        return cast("bytes | None", answer)

    async def write(self, name: str, attempt: int, answer: bytes) -> None:
        try:
            await self._gate.run(lambda: self._put(attempt, answer, LIFE_S, keys=(name,)))
        except StoreUnavailable:
            logger.warning("A paid answer could not be journaled; a crash now would pay for it again.")


class _StoredJournal:
    def __init__(self, journals: StoredJournals, name: str, *, empty: bool) -> None:
        self._journals = journals
        self._name = name
        self._empty = empty

    async def read(self, attempt: int) -> bytes | None:
        return None if self._empty else await self._journals.read(self._name, attempt)

    async def write(self, attempt: int, answer: bytes) -> None:
        self._empty = False
        await self._journals.write(self._name, attempt, answer)


class MemoryJournal:
    """For one execution, when there is no store: it lasts as long as the execution."""

    def __init__(self) -> None:
        self._answers: dict[int, bytes] = {}

    async def read(self, attempt: int) -> bytes | None:
        return self._answers.get(attempt)

    async def write(self, attempt: int, answer: bytes) -> None:
        self._answers[attempt] = answer
