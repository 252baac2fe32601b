"""Phone numbers of a connected account, by key (`keys.phone_numbers_key`): the bytes of an answer.

A broken or slow store is a miss. One class for event loops, one for threads.
"""

from __future__ import annotations

from typing import cast

import redis
import redis.asyncio

from cache.connection import STORE_FAULTS, StoreGate, StoreUnavailable

TTL_S = 3600


class PhoneNumberCache:
    """The shim's side: look, and forget when the integration goes."""

    def __init__(self, client: redis.asyncio.Redis, *, gate: StoreGate) -> None:
        self._client = client
        self._gate = gate

    async def get(self, key: str) -> bytes | None:
        try:
            return cast("bytes | None", await self._gate.run(lambda: self._client.get(key)))
        except StoreUnavailable:
            return None

    async def forget(self, key: str) -> None:
        try:
            await self._gate.run(lambda: self._client.delete(key), always=True)
        except StoreUnavailable:
            return  # nothing asks for the key of a removed row, and it ends by itself


class BlockingPhoneNumberCache:
    """The worker's side; the client's socket timeouts are the time limit."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def get(self, key: str) -> bytes | None:
        try:
            return cast("bytes | None", self._client.get(key))
        except STORE_FAULTS:
            return None

    def put(self, key: str, body: bytes) -> None:
        try:
            self._client.set(key, body, ex=TTL_S)
        except STORE_FAULTS:
            return

    def forget(self, key: str) -> None:
        try:
            self._client.delete(key)
        except STORE_FAULTS:
            return
