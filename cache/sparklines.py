"""Sparklines computed ahead: the rows of closed buckets, before the smaller values are folded.

A bucket is closed when its time is over. Stored rows are used for two periods after they were made and kept
for three, so a record that comes late for a closed bucket shows after two periods at the latest. Whatever is
missing, stale, unreadable or away is computed as if there were no store.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final, cast

import redis
import redis.asyncio

from cache.connection import STORE_FAULTS, FaultCounter, StoreGate, StoreUnavailable
from cache.entries import Undecodable, compress, decompress
from cache.metrics import SPARKLINE_READS
from jobs.json_text import JsonSyntaxError, dump_json, load_json
from jobs.log_dates import micros
from jobs.log_models import SparklineQuery
from jobs.log_normal import depends_on_now
from jobs.logs import filters_key
from jobs.sparklines import Row

PREFIX: Final = "tg:logs:sparkline:1"  # the number is that of the stored form
USED_PERIODS: Final = 2
KEPT_PERIODS: Final = 3
SETTLE_S: Final = 2  # in which an accepted record becomes visible: a bucket is closed only then
MAX_STORED_BYTES: Final = 4_194_304
MAX_PLAIN_BYTES: Final = 67_108_864


@dataclass(frozen=True, slots=True)
class Stored:
    """All rows of the buckets from `start` up to `end` (UNIX seconds, `end` not included).

    `stored_at` is when the query that gave them began, `period_s` how often it is repeated.
    """

    stored_at: float
    period_s: float
    start: int
    end: int
    rows: tuple[Row, ...]

    def fresh(self, now: float) -> bool:
        """Whether the rows may be used at `now`."""
        return now - self.stored_at <= USED_PERIODS * self.period_s


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a range comes from the store, and what is to be computed.

    `start` and `end` bound the buckets taken from the store, in UNIX seconds. `live` are the ranges around
    them in microseconds since 1970, both bounds included, as in a request.
    """

    start: int
    end: int
    live: tuple[tuple[int, int], ...]


def sparkline_key(project_id: int, query: SparklineQuery) -> str | None:
    """The key of a request's rows; None when its filters mean something else every time (relative dates)."""
    if depends_on_now(query.filters.group):
        return None
    filters = hashlib.sha256(filters_key(query)).hexdigest()[:32]
    return f"{PREFIX}:{project_id}:{filters}:{query.breakdown}:{query.rank}:{query.width_s}"


def closed_buckets(query: SparklineQuery, *, now_us: int) -> tuple[int, int] | None:
    """Start and end (UNIX seconds) of the range's whole buckets whose time is over; None: there are none."""
    start, end = _whole_buckets(query)
    end = min(end, (now_us // 1_000_000 - SETTLE_S) // query.width_s * query.width_s)
    return (start, end) if start < end else None


def plan(query: SparklineQuery, stored: Stored | None, *, now: float) -> Plan | None:
    """How to answer with stored rows; None when they are of no use."""
    if stored is None or not stored.fresh(now):
        return None
    first, last = _bounds_us(query)
    start, end = _whole_buckets(query)
    start, end = max(start, stored.start), min(end, stored.end)
    if start >= end:
        return None
    before = (first, start * 1_000_000 - 1)
    after = (end * 1_000_000, last)
    return Plan(start, end, tuple(part for part in (before, after) if part[0] <= part[1]))


def has_whole_buckets_only(query: SparklineQuery) -> bool:
    """Whether stored rows alone may answer: no bucket is cut by a bound of the range."""
    first, last = _bounds_us(query)
    width_us = query.width_s * 1_000_000
    return first % width_us == 0 and (last + 1) % width_us == 0


def rows_between(stored: Stored, chosen: Plan) -> list[Row]:
    return [row for row in stored.rows if chosen.start <= row[0] < chosen.end]


def hit_headers(stored: Stored, *, now: float) -> dict[str, str]:
    """What an answer made of stored rows says about them."""
    return {"X-Cache": "hit", "Age": str(max(0, int(now - stored.stored_at)))}


class SparklineCache:
    """For the shim, which only reads; shares the gate of the cache store."""

    def __init__(self, client: redis.asyncio.Redis, *, gate: StoreGate) -> None:
        self._client = client
        self._gate = gate

    async def get(self, key: str) -> Stored | None:
        try:
            raw = await self._gate.run(lambda: self._client.get(key))
        except StoreUnavailable:
            SPARKLINE_READS.labels("unavailable").inc()
            return None
        stored = decode(cast("bytes | None", raw))
        SPARKLINE_READS.labels("miss" if stored is None else "hit").inc()
        return stored


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
        packed = encode(stored)
        if self._faults.closed or len(packed) > MAX_STORED_BYTES:
            return False
        try:
            self._client.set(key, packed, px=int(stored.period_s * KEPT_PERIODS * 1000))
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


def encode(stored: Stored) -> bytes:
    head = [stored.stored_at, stored.period_s, stored.start, stored.end]
    return compress(dump_json([head, stored.rows]))


def decode(raw: bytes | None) -> Stored | None:
    """The stored rows; None when there are none that can be read."""
    if raw is None:
        return None
    try:
        head, rows = cast("Any", load_json(decompress(raw, max_bytes=MAX_PLAIN_BYTES)))
        stored_at, period_s, start, end = head
        found = tuple((int(at), str(value), int(count), int(size)) for at, value, count, size in rows)
        return Stored(float(stored_at), float(period_s), int(start), int(end), found)
    except (Undecodable, JsonSyntaxError, TypeError, ValueError):
        return None


def _bounds_us(query: SparklineQuery) -> tuple[int, int]:
    return micros(query.date_from), micros(query.range.date_to)


def _whole_buckets(query: SparklineQuery) -> tuple[int, int]:
    """Start of the first and end of the last bucket that lie in the range as a whole, in UNIX seconds."""
    first, last = _bounds_us(query)
    width_us = query.width_s * 1_000_000
    return -(-first // width_us) * query.width_s, (last + 1) // width_us * query.width_s
