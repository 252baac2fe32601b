"""Sparklines with what was counted ahead: used while fresh; whatever it does not cover is counted now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from cache.sparklines import (
    BlockingSparklineCache,
    Plan,
    Stored,
    closed_buckets,
    hit_headers,
    plan,
    rows_between,
    sparkline_key,
)
from jobs.log_dates import micros
from jobs.log_models import BREAKDOWNS, SparklineQuery
from jobs.logs import parse_sparkline
from jobs.sparklines import PRECOMPUTED, Row
from workers.logs.answers import Answer, answer_sparkline, sparkline_answer
from workers.logs.queries import Window
from workers.logs.reading import Sight
from workers.logs.sparkline import count_rows

BUILT_IN_RANGES: Final = ("-1h", "-24h", "-7d")
MISS: Final = {"X-Cache": "miss"}


@dataclass(frozen=True, slots=True)
class Stock:
    """The stored sparklines of one project."""

    cache: BlockingSparklineCache
    project_id: int


def answer_with_store(query: SparklineQuery, sight: Sight, stock: Stock, *, fresh: bool) -> Answer:
    """The answer of a call: closed buckets from the store when it has them, all others counted now."""
    now = time.time()
    key = None if fresh else sparkline_key(stock.project_id, query)
    stored = None if key is None else stock.cache.get(key)
    chosen = plan(query, stored, now=now)
    if stored is None or chosen is None:
        computed = answer_sparkline(query, sight)
        return replace(computed, headers={**computed.headers, **MISS})
    rows = [*rows_between(stored, chosen), *_live(query, chosen, sight)]
    answer = sparkline_answer(query, rows, source=PRECOMPUTED)
    return replace(answer, headers={**answer.headers, **hit_headers(stored, now=now)})


def answer_and_store(
    query: SparklineQuery, sight: Sight, stock: Stock, *, now: datetime, period_s: float
) -> Answer:
    """The answer of a scheduled run, all counted now; its closed buckets are kept for later calls."""
    stored = precompute(query, sight, stock, now=now, period_s=period_s)
    chosen = plan(query, stored, now=now.timestamp())
    if stored is None or chosen is None:
        computed = answer_sparkline(query, sight)
    else:
        rows = [*rows_between(stored, chosen), *_live(query, chosen, sight)]
        computed = sparkline_answer(query, rows, source="mixed")
    return replace(computed, headers={**computed.headers, **MISS})


def precompute(
    query: SparklineQuery, sight: Sight, stock: Stock, *, now: datetime, period_s: float
) -> Stored | None:
    """Count and keep the closed buckets of a range; None when there are none, or none that could be kept."""
    key = sparkline_key(stock.project_id, query)
    closed = closed_buckets(query, now_us=micros(now))
    if key is None or closed is None:
        return None
    start, end = closed
    counted = count_rows(query, [Window(start * 1_000_000, end * 1_000_000 - 1)], sight)
    stored = Stored(now.timestamp(), period_s, start, end, tuple(counted.rows))
    stock.cache.put(key, stored)
    return stored


def built_in_queries(now: datetime) -> Sequence[SparklineQuery]:
    """What every project with new records gets ahead of any call."""
    bodies = (
        {"query": {"dateRange": {"date_from": date_from}, "sparklineBreakdownBy": breakdown}}
        for date_from in BUILT_IN_RANGES
        for breakdown in BREAKDOWNS
    )
    return [parse_sparkline(body, now=now, timezone=UTC) for body in bodies]


def _live(query: SparklineQuery, chosen: Plan, sight: Sight) -> list[Row]:
    return count_rows(query, [Window(low, high) for low, high in chosen.live], sight).rows
