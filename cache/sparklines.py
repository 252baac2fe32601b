"""Sparklines computed ahead: the rows of closed buckets, before the smaller values are folded.

A bucket is closed when its time is over. Stored rows are used for two periods after they were made and kept
for three, so a record that comes late for a closed bucket shows after two periods at the latest. Whatever is
missing, stale, unreadable or away is computed as if there were no store. The parts of buckets at the ends of
a range are in `sparkline_edges.py`, reading and writing in `sparkline_store.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from cache.entries import Undecodable, compress, decompress
from jobs.json_text import JsonSyntaxError, dump_json, load_json
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
KEPT_DECODED_BYTES: Final = 131_072  # the same few entries are read over and over


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

    def __hash__(self) -> int:
        return hash((self.stored_at, self.start, self.end))

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
    start, end = query.whole_buckets
    end = min(end, (now_us // 1_000_000 - SETTLE_S) // query.width_s * query.width_s)
    return (start, end) if start < end else None


def plan(query: SparklineQuery, stored: Stored | None, *, now: float) -> Plan | None:
    """How to answer with stored rows; None when they are of no use."""
    if stored is None or not stored.fresh(now):
        return None
    first, last = query.bounds_us
    start, end = query.whole_buckets
    start, end = max(start, stored.start), min(end, stored.end)
    if start >= end:
        return None
    before = (first, start * 1_000_000 - 1)
    after = (end * 1_000_000, last)
    return Plan(start, end, tuple(part for part in (before, after) if part[0] <= part[1]))


def rows_between(stored: Stored, chosen: Plan) -> list[Row]:
    return [row for row in stored.rows if chosen.start <= row[0] < chosen.end]


def hit_headers(stored: Stored, *, now: float) -> dict[str, str]:
    """What an answer made of stored rows says about them."""
    return {"X-Cache": "hit", "Age": str(max(0, int(now - stored.stored_at)))}


def encode(stored: Stored) -> bytes:
    head = [stored.stored_at, stored.period_s, stored.start, stored.end]
    return compress(dump_json([head, stored.rows]))


def decode(raw: bytes | None) -> Stored | None:
    """The stored rows; None when there are none that can be read."""
    if raw is None:
        return None
    return _decoded(raw) if len(raw) <= KEPT_DECODED_BYTES else _decoded.__wrapped__(raw)


@lru_cache(maxsize=64)
def _decoded(raw: bytes) -> Stored | None:
    try:
        head, rows = cast("Any", load_json(decompress(raw, max_bytes=MAX_PLAIN_BYTES)))
        stored_at, period_s, start, end = head
        found = tuple((int(at), str(value), int(count), int(size)) for at, value, count, size in rows)
        return Stored(float(stored_at), float(period_s), int(start), int(end), found)
    except (Undecodable, JsonSyntaxError, TypeError, ValueError):
        return None
