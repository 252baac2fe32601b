"""Sparklines with what was counted ahead: used while fresh; whatever it does not cover is counted now.

What a call or a run counts at the ends of its range is kept as well (`cache/sparkline_edges.py`), so that the
next calls need no worker, as long as no records come in.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from cache.log_marks import LogMarks
from cache.sparkline_edges import (
    MAX_SINGLES,
    Edges,
    Single,
    Slide,
    place_in,
    rows_at,
    slide_from,
    start_after,
)
from cache.sparkline_store import BlockingSparklineCache
from cache.sparklines import Plan, Stored, closed_buckets, hit_headers, plan, rows_between, sparkline_key
from jobs.log_dates import micros
from jobs.log_models import BREAKDOWNS, SparklineQuery
from jobs.logs import parse_sparkline
from jobs.sparklines import PRECOMPUTED, Row
from workers.logs.answers import Answer, answer_sparkline, sparkline_answer
from workers.logs.queries import Window
from workers.logs.reading import Sight
from workers.logs.sparkline import count_rows, read_singles

BUILT_IN_RANGES: Final = ("-1h", "-24h", "-7d")
MISS: Final = {"X-Cache": "miss"}


@dataclass(frozen=True, slots=True)
class Stock:
    """The stored sparklines of one project.

    `quiet_s`: edges are kept only when nothing has been inserted for so long. Before that the next insert
    would make them void at once, or a replica of the log store may lag behind.
    """

    cache: BlockingSparklineCache
    marks: LogMarks
    project_id: int
    quiet_s: float


def answer_with_store(query: SparklineQuery, sight: Sight, stock: Stock, *, fresh: bool) -> Answer:
    """The answer of a call: closed buckets from the store when it has them, all others counted now."""
    now = time.time()
    key = None if fresh else sparkline_key(stock.project_id, query)
    stored = None if key is None else stock.cache.get(key)
    chosen = plan(query, stored, now=now)
    if key is None or stored is None or chosen is None:
        computed = answer_sparkline(query, sight)
        return replace(computed, headers={**computed.headers, **MISS})
    answer = sparkline_answer(query, _merged(query, key, stored, chosen, sight, stock), source=PRECOMPUTED)
    return replace(answer, headers={**answer.headers, **hit_headers(stored, now=now)})


def answer_and_store(
    query: SparklineQuery, sight: Sight, stock: Stock, *, now: datetime, period_s: float
) -> Answer:
    """The answer of a scheduled run, all counted now; what later calls can use of it is kept."""
    key = sparkline_key(stock.project_id, query)
    stored = _store_closed(query, sight, stock, now=now, period_s=period_s)
    chosen = plan(query, stored, now=now.timestamp())
    if key is None or stored is None or chosen is None:
        computed = answer_sparkline(query, sight)
    else:
        rows = _merged(query, key, stored, chosen, sight, stock)
        computed = sparkline_answer(query, rows, source="mixed")
    return replace(computed, headers={**computed.headers, **MISS})


def precompute(query: SparklineQuery, sight: Sight, stock: Stock, *, now: datetime, period_s: float) -> None:
    """Count and keep what later calls with this range can use."""
    key = sparkline_key(stock.project_id, query)
    stored = _store_closed(query, sight, stock, now=now, period_s=period_s)
    if key is not None and stored is not None:
        _count_edges(query, key, stored, sight, stock)


def _store_closed(
    query: SparklineQuery, sight: Sight, stock: Stock, *, now: datetime, period_s: float
) -> Stored | None:
    """The closed buckets of a range, counted and kept; None when there are none."""
    key = sparkline_key(stock.project_id, query)
    closed = closed_buckets(query, now_us=micros(now))
    if key is None or closed is None:
        return None
    start, end = closed
    counted = count_rows(query, [Window(start * 1_000_000, end * 1_000_000 - 1)], sight)
    stored = Stored(now.timestamp(), period_s, start, end, tuple(counted.rows))
    stock.cache.put(key, stored)
    return stored


def _merged(
    query: SparklineQuery, key: str, stored: Stored, chosen: Plan, sight: Sight, stock: Stock
) -> list[Row]:
    """Stored rows, and the rest of the range counted now."""
    edges = _count_edges(query, key, stored, sight, stock) if chosen.live else None
    place = None if edges is None else place_in(query, stored, edges)
    if edges is None or place is None:
        live = count_rows(query, [Window(low, high) for low, high in chosen.live], sight).rows
        return [*rows_between(stored, chosen), *live]
    return rows_at(place, stored, edges, query.width_s)


def _count_edges(query: SparklineQuery, key: str, stored: Stored, sight: Sight, stock: Stock) -> Edges | None:
    """What the range takes besides stored buckets, in the form that serves the next minute's calls too.

    None while records come in, and for a range that the stored rows do not help.
    """
    mark = stock.marks.settled(stock.project_id, quiet_s=stock.quiet_s)
    slide = slide_from(query, stored)
    if mark is None or slide is None:
        return None
    windows = [
        Window(slide.first_low, slide.first_high),
        Window(slide.last_low + 1, slide.last_high),
    ]
    singles = read_singles(query, windows, MAX_SINGLES + 1, sight)
    leaving = [single for single in singles if single[0] <= slide.first_high]
    entering = [single for single in singles if single[0] > slide.last_low]
    leaving, first_high = _bounded(leaving, slide.first_high)
    entering, last_high = _bounded(entering, slide.last_high)
    slide = replace(slide, first_high=first_high, last_high=last_high)
    if first_high < slide.first_low:
        return None
    before, after = _sums_beside(query, slide, stored, sight)
    edges = Edges(mark, stored.stored_at, slide, tuple(leaving), tuple(before), tuple(after), tuple(entering))
    stock.cache.put_edges(key, edges, period_s=stored.period_s)
    return edges


def _bounded(singles: list[Single], high: int) -> tuple[list[Single], int]:
    """At most `MAX_SINGLES`, and up to which time they are all there are."""
    if len(singles) <= MAX_SINGLES:
        return singles, high
    high = singles[MAX_SINGLES][0] - 1
    return [single for single in singles if single[0] <= high], high


def _sums_beside(
    query: SparklineQuery, slide: Slide, stored: Stored, sight: Sight
) -> tuple[list[Row], list[Row]]:
    """Rows between the leaving singles and the first stored bucket, and rows after the last one."""
    before = Window(slide.first_high + 1, start_after(slide, stored, query.width_s) * 1_000_000 - 1)
    after = Window(slide.end_s * 1_000_000, slide.last_low)
    windows = [window for window in (before, after) if not window.empty]
    rows = count_rows(query, windows, sight).rows if windows else []
    early = [row for row in rows if row[0] < slide.end_s]
    return early, [row for row in rows if row[0] >= slide.end_s]


def built_in_queries(now: datetime) -> Sequence[SparklineQuery]:
    """What every project with new records gets ahead of any call."""
    bodies = (
        {"query": {"dateRange": {"date_from": date_from}, "sparklineBreakdownBy": breakdown}}
        for date_from in BUILT_IN_RANGES
        for breakdown in BREAKDOWNS
    )
    return [parse_sparkline(body, now=now, timezone=UTC) for body in bodies]
