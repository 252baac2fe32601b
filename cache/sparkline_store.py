"""Read and write precomputed sparklines: the shim without waiting threads, the workers without a loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import redis
import redis.asyncio

from cache.connection import STORE_FAULTS, FaultCounter, StoreGate, StoreUnavailable
from cache.log_marks import EPOCH_KEY, current_mark, mark_key
from cache.metrics import SPARKLINE_READS
from cache.sparkline_edges import Edges, decode_edges, encode_edges
from cache.sparklines import KEPT_PERIODS, Stored, decode, encode

MAX_STORED_BYTES: Final = 4_194_304


@dataclass(frozen=True, slots=True)
class Found:
    """What is stored under a key; `edges` only if the project's records are still those they were made of."""

    stored: Stored
    edges: Edges | None


class SparklineCache:
    """For the shim, which only reads; shares the gate of the cache store."""

    def __init__(
        self, client: redis.asyncio.Redis, *, gate: StoreGate, marks: redis.asyncio.Redis | None = None
    ) -> None:
        """`marks`: where the marks of the projects are; None: in the same store."""
        self._client = client
        self._gate = gate
        self._marks = marks

    async def get(self, key: str, project_id: int) -> Found | None:
        mark_keys = (EPOCH_KEY, mark_key(project_id))
        try:
            if self._marks is None:
                values = await self._read(self._client, key, edges_key(key), *mark_keys)
            else:
                values = [
                    *await self._read(self._client, key, edges_key(key)),
                    *await self._read(self._marks, *mark_keys),
                ]
        except StoreUnavailable:
            SPARKLINE_READS.labels("unavailable").inc()
            return None
        raw, raw_edges, epoch, mark = values
        stored = decode(raw)
        SPARKLINE_READS.labels("miss" if stored is None else "hit").inc()
        if stored is None:
            return None
        edges, current = decode_edges(raw_edges), current_mark(epoch, mark)
        return Found(stored, edges if edges is not None and edges.mark == current else None)

    async def _read(self, client: redis.asyncio.Redis, *keys: str) -> Sequence[bytes | None]:
        values: Any = await self._gate.run(lambda: client.mget(keys))
        return cast("Sequence[bytes | None]", values)


class BlockingSparklineCache:
    """For the logs worker; the client's socket timeouts are the time limit."""

    def __init__(self, client: redis.Redis, *, faults: FaultCounter) -> None:
        self._client = client
        self._faults = faults

    def get(self, key: str) -> Stored | None:
        stored, status = self._read(key)
        SPARKLINE_READS.labels(status).inc()
        return stored

    def put(self, key: str, stored: Stored) -> bool:
        """Whether the rows are kept now; they take the place of earlier ones."""
        return self._write(key, encode(stored), period_s=stored.period_s)

    def put_edges(self, key: str, edges: Edges, *, period_s: float) -> bool:
        return self._write(edges_key(key), encode_edges(edges), period_s=period_s)

    def _write(self, key: str, packed: bytes, *, period_s: float) -> bool:
        if self._faults.closed or len(packed) > MAX_STORED_BYTES:
            return False
        try:
            self._client.set(key, packed, px=int(period_s * KEPT_PERIODS * 1000))
        except STORE_FAULTS:
            self._faults.failed()
            return False
        self._faults.succeeded()
        return True

    def _read(self, key: str) -> tuple[Stored | None, str]:
        if self._faults.closed:
            return None, "unavailable"
        try:
            raw = self._client.get(key)
        except STORE_FAULTS:
            self._faults.failed()
            return None, "unavailable"
        self._faults.succeeded()
        stored = decode(cast("bytes | None", raw))
        return stored, "miss" if stored is None else "hit"


def edges_key(key: str) -> str:
    return f"{key}:edges"
