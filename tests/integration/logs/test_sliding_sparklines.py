"""A sparkline that ends now, answered from stored buckets and edges: always what the records say."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from api_shim.sparklines import counted_ahead
from cache.connection import FaultCounter
from cache.log_marks import EPOCH_KEY, LogMarks, current_mark, mark_key
from cache.sparkline_edges import MAX_SINGLES, SLIDE_US, decode_edges
from cache.sparkline_store import BlockingSparklineCache, Found, edges_key
from cache.sparklines import decode, sparkline_key
from jobs.json_text import load_json
from jobs.log_dates import micros
from jobs.log_models import SparklineQuery
from jobs.logs import parse_sparkline
from tests.integration.cache.support import Server
from tests.integration.logs.asking import Asking
from tests.integration.logs.rows import row
from workers.logs.answers import answer_sparkline
from workers.logs.batches import Batch
from workers.logs.records import ROW_TIMESTAMP, Row
from workers.logs.store import LogStore
from workers.sparklines import Stock, answer_with_store, precompute

SECOND = 1_000_000


@pytest.fixture(scope="module")
def client() -> Iterator[redis.Redis]:
    with tempfile.TemporaryDirectory() as folder:  # a short path: it holds a socket
        server = Server(Path(folder))
        server.start()
        with redis.Redis.from_url(server.url) as opened:
            yield opened
        server.stop()


@pytest.fixture
def stock(client: redis.Redis, project: int) -> Stock:
    cache = BlockingSparklineCache(client, faults=FaultCounter(skip_s=0))
    return Stock(cache, LogMarks(client), project, quiet_s=0)


def records_around(moments: list[int], dice: random.Random, count: int) -> list[Row]:
    """Records near the given times (microseconds) and spread over the day before the last of them."""
    found = []
    for number in range(count):
        if dice.random() < 0.7:
            at = dice.choice(moments) + dice.choice((-1, 1)) * int(dice.random() ** 3 * 200 * SECOND)
        else:
            at = moments[-1] - int(dice.random() * 86_400 * SECOND)
        one = row(number, service=f"service {dice.randrange(14):02}", level=dice.choice(LEVELS))
        found.append((at, *one[ROW_TIMESTAMP + 1 :]))
    return found


LEVELS = [("info", 9), ("error", 17), ("debug", 5)]


def sparkline(now: datetime, **members: Any) -> SparklineQuery:
    return parse_sparkline({"query": members}, now=now, timezone=UTC)


def found_by_shim(client: redis.Redis, stock: Stock, query: SparklineQuery) -> Found | None:
    """What the shim reads, at once."""
    key = sparkline_key(stock.project_id, query) or ""
    keys = (key, edges_key(key), EPOCH_KEY, mark_key(stock.project_id))
    raw, raw_edges, epoch, mark = cast("list[bytes | None]", client.mget(keys))
    stored, edges = decode(raw), decode_edges(raw_edges)
    fits = edges is not None and edges.mark == current_mark(epoch, mark)
    return None if stored is None else Found(stored, edges if fits else None)


@pytest.mark.parametrize("date_from", ["-1h", "-24h", "-7d", "-5M", "-90M"])
@pytest.mark.parametrize("breakdown", ["severity", "service"])
def test_answers_of_the_shim_equal_those_from_the_records(
    client: redis.Redis, stock: Stock, embedded_store: LogStore, date_from: str, breakdown: str
) -> None:
    dice = random.Random(f"{date_from} {breakdown}")
    now = datetime.now(UTC) + timedelta(microseconds=dice.randrange(60 * SECOND))
    members = {"dateRange": {"date_from": date_from}, "sparklineBreakdownBy": breakdown}
    query = sparkline(now, **members)
    embedded_store.insert(
        stock.project_id,
        Batch.of(stock.project_id, repr(members).encode()),
        records_around([micros(query.date_from), micros(now)], dice, 900),
    )
    sight = Asking(embedded_store, stock.project_id).sight()
    precompute(query, sight, stock, now=now, period_s=60)

    answered = 0
    for _ in range(25):
        later = now + timedelta(microseconds=dice.choice((0, 1, dice.randrange(SLIDE_US), SLIDE_US)))
        query = sparkline(later, **members)
        found = found_by_shim(client, stock, query)
        answer = counted_ahead(query, found, as_object=False) if found else None
        if answer is not None:
            answered += 1
            assert load_json(answer.content) == answer_sparkline(query, sight).body

    assert answered == 25


def test_a_filter_holds_at_both_ends(client: redis.Redis, stock: Stock, embedded_store: LogStore) -> None:
    dice, now = random.Random(7), datetime.now(UTC)
    members = {"dateRange": {"date_from": "-1h"}, "searchTerm": "RECORD 1", "serviceNames": ["service 03"]}
    query = sparkline(now, **members)
    embedded_store.insert(
        stock.project_id,
        Batch.of(stock.project_id, b"filtered"),
        records_around([micros(query.date_from), micros(now)], dice, 2000),
    )
    sight = Asking(embedded_store, stock.project_id).sight()
    precompute(query, sight, stock, now=now, period_s=60)

    query = sparkline(now + timedelta(seconds=20), **members)
    answer = counted_ahead(query, cast("Found", found_by_shim(client, stock, query)), as_object=False)

    assert answer is not None
    body = cast("list[dict[str, int]]", load_json(answer.content))
    assert body == answer_sparkline(query, sight).body
    assert sum(each["count"] for each in body) > 0


def test_many_records_at_an_end_make_the_slide_shorter_not_wrong(
    client: redis.Redis, stock: Stock, embedded_store: LogStore
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    members = {"dateRange": {"date_from": "-1h"}}
    low = micros(now) - 3600 * SECOND
    dense = [(low + number * 10_000, *row(number)[1:]) for number in range(MAX_SINGLES + 500)]
    embedded_store.insert(stock.project_id, Batch.of(stock.project_id, b"dense"), dense)
    sight = Asking(embedded_store, stock.project_id).sight()
    precompute(sparkline(now, **members), sight, stock, now=now, period_s=60)

    def asked(seconds: float) -> object:
        query = sparkline(now + timedelta(seconds=seconds), **members)
        found = found_by_shim(client, stock, query)
        answer = counted_ahead(query, found, as_object=False) if found else None
        return answer and (load_json(answer.content) == answer_sparkline(query, sight).body)

    assert [asked(0), asked(11.234), asked(MAX_SINGLES / 100 + 1)] == [True, True, None]


def test_after_an_insert_the_shim_leaves_the_answer_to_a_worker_that_counts_anew(
    client: redis.Redis, stock: Stock, embedded_store: LogStore
) -> None:
    now = datetime.now(UTC)
    query = sparkline(now, dateRange={"date_from": "-1h"})
    sight = Asking(embedded_store, stock.project_id).sight()
    precompute(query, sight, stock, now=now, period_s=60)
    with stock.marks.changing(stock.project_id):
        late = (micros(now) - 1, *row(1)[1:])
        embedded_store.insert(stock.project_id, Batch.of(stock.project_id, b"late"), [late])

    found = found_by_shim(client, stock, query)
    refused = counted_ahead(query, cast("Found", found), as_object=False)
    worked = answer_with_store(query, sight, stock, fresh=False)
    again = counted_ahead(query, cast("Found", found_by_shim(client, stock, query)), as_object=True)

    assert refused is None
    assert sum(each["count"] for each in cast("list[dict[str, int]]", worked.body)) == 1
    assert worked.headers["X-Cache"] == "hit"
    assert again is not None
    assert load_json(again.content) == {
        "results": worked.body,
        "interval_seconds": 60,
        "source": "precomputed",
    }


def test_no_edges_are_kept_while_records_come_in(
    client: redis.Redis, stock: Stock, embedded_store: LogStore
) -> None:
    busy = Stock(stock.cache, stock.marks, stock.project_id, quiet_s=60)
    now = datetime.now(UTC)
    query = sparkline(now, dateRange={"date_from": "-1h"})
    with stock.marks.changing(stock.project_id):
        pass

    sight = Asking(embedded_store, stock.project_id).sight()
    precompute(query, sight, busy, now=now, period_s=60)

    found = found_by_shim(client, stock, query)
    assert found is not None
    assert found.edges is None


def test_what_cannot_be_read_is_no_edge() -> None:
    assert [decode_edges(raw) for raw in (None, b"", b"x", b"\x01broken")] == [None] * 4
