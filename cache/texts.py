"""Rendered text representations, by key (`keys.text_key`): bytes in, the same bytes out.

A broken or slow store, and a body that cannot be read, are misses. One class for event loops, one for
processes without one.
"""

from __future__ import annotations

import asyncio
from typing import cast

import redis
import redis.asyncio

from cache.connection import STORE_FAULTS, FaultCounter, StoreGate, StoreUnavailable
from cache.entries import Undecodable, compress, decompress
from cache.metrics import TEXT_CACHE_REQUESTS

TTL_S = 3600
LARGE_BYTES = 65_536  # packed: opening it takes so long that others have their turn meanwhile
MAX_STORED_BYTES = 8_388_608
MAX_PLAIN_BYTES = 268_435_456


def pack(body: bytes) -> bytes | None:
    """What to store; None when it is too large to be worth keeping."""
    packed = compress(body)
    return packed if len(packed) <= MAX_STORED_BYTES else None


def unpack(stored: bytes | None) -> bytes | None:
    """The body; None when there is none that can be read."""
    try:
        return None if stored is None else decompress(stored, max_bytes=MAX_PLAIN_BYTES)
    except Undecodable:
        return None


class TextCache:
    """For code on an event loop; shares the gate of the cache store."""

    def __init__(self, client: redis.asyncio.Redis, *, gate: StoreGate, ttl_s: float = TTL_S) -> None:
        self._client = client
        self._gate = gate
        self._ttl_ms = int(ttl_s * 1000)

    async def get(self, key: str) -> bytes | None:
        try:
            stored = await self._gate.run(lambda: self._client.get(key))
        except StoreUnavailable:
            return _counted(None, fault=True)
        found = cast("bytes | None", stored)
        if found is None or len(found) <= LARGE_BYTES:
            return _counted(unpack(found))
        return _counted(await asyncio.to_thread(unpack, found))

    async def put(self, key: str, body: bytes) -> None:
        packed = pack(body)
        if packed is None:
            return
        try:
            await self._gate.run(lambda: self._client.set(key, packed, px=self._ttl_ms))
        except StoreUnavailable:
            return


class BlockingTextCache:
    """For worker processes without an event loop; the client's socket timeouts are the time limit."""

    def __init__(self, client: redis.Redis, *, faults: FaultCounter, ttl_s: float = TTL_S) -> None:
        self._client = client
        self._faults = faults
        self._ttl_ms = int(ttl_s * 1000)

    def get(self, key: str) -> bytes | None:
        if self._faults.closed:
            return _counted(None, fault=True)
        try:
            stored = self._client.get(key)
        except STORE_FAULTS:
            self._faults.failed()
            return _counted(None, fault=True)
        self._faults.succeeded()
        return _counted(unpack(cast("bytes | None", stored)))

    def put(self, key: str, body: bytes) -> None:
        packed = None if self._faults.closed else pack(body)
        if packed is None:
            return
        try:
            self._client.set(key, packed, px=self._ttl_ms)
        except STORE_FAULTS:
            self._faults.failed()
        else:
            self._faults.succeeded()


def _counted(body: bytes | None, *, fault: bool = False) -> bytes | None:
    status = "unavailable" if fault else "miss" if body is None else "hit"
    TEXT_CACHE_REQUESTS.labels(status).inc()
    return body
