"""Random requests: pages, sparklines and listings are what the plain model makes of the same records.

`LOG_ANSWER_ROUNDS` multiplies the number of requests.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fakes import log_model as model
from tests.integration.logs.asking import Asking
from tests.integration.logs.drawn import KEYS, SERVICES, TEXTS, Drawn, as_record
from tests.integration.logs.rows import START
from workers.logs.batches import Batch
from workers.logs.records import Row
from workers.logs.store import LogStore

PROJECT = 902
ROUNDS = int(os.environ.get("LOG_ANSWER_ROUNDS", "1"))
DAY_US = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")


@pytest.fixture(scope="module")
def rows(embedded_store: LogStore) -> list[Row]:
    drawn = Drawn(2)
    made = [drawn.row(number, spread_us=2 * DAY_US) for number in range(300)]
    made += [drawn.row(number, spread_us=60_000_000) for number in range(300, 500)]
    embedded_store.insert(PROJECT, Batch.of(PROJECT, b"answers"), made)
    return made


@pytest.fixture
def asking(embedded_store: LogStore, rows: list[Row]) -> Asking:
    return Asking(embedded_store, PROJECT)


def moment(micros: int) -> str:
    return (EPOCH + timedelta(microseconds=micros)).isoformat()


def drawn_range(drawn: Drawn, rows: list[Row]) -> tuple[int, int]:
    """Often with bounds that are a record's own time, or one beside it."""
    near = [START, START + 60_000_000, START + DAY_US, START + 2 * DAY_US]
    bounds = []
    for _ in range(2):
        at = drawn.random.choice([drawn.random.choice(rows)[0], drawn.random.choice(near)])
        bounds.append(at + drawn.random.choice([0, 0, -1, 1, -30_000_000, 30_000_000]))
    return min(bounds), max(bounds)


def drawn_query(drawn: Drawn, low: int, high: int) -> dict[str, Any]:
    query: dict[str, Any] = {"dateRange": {"date_from": moment(low), "date_to": moment(high)}}
    chosen = drawn.random.random()
    if chosen < 0.3:
        query["filterGroup"] = drawn.group()
    elif chosen < 0.5:
        query["searchTerm"] = drawn.one(TEXTS)
    elif chosen < 0.8:  # what a rollup can answer
        query["severityLevels"] = drawn.random.sample(LEVELS, drawn.random.randrange(4))
        query["serviceNames"] = drawn.random.sample(SERVICES, drawn.random.randrange(6))
        query["filterGroup"] = {
            "type": "OR",
            "values": [
                {"type": "log", "key": "level", "operator": "is_not", "value": ["Info", "warn"]},
                {"type": "log", "key": "service_name", "operator": "in", "value": ["api", "s3"]},
            ],
        }
    return query


def expected(rows: list[Row], query: dict[str, Any], low: int, high: int) -> list[dict[str, Any]]:
    records = [as_record(row) for row in rows if low <= row[0] <= high]
    return [
        record
        for record in records
        if (not query.get("severityLevels") or record["severity_text"] in query["severityLevels"])
        and (not query.get("serviceNames") or record["service_name"] in query["serviceNames"])
        and model.found_ignoring_case(record["body"], query.get("searchTerm") or "")
        and model.matches(record, query.get("filterGroup"))
    ]


@pytest.mark.parametrize("seed", range(60 * ROUNDS))
def test_pages_and_sparkline_show_what_matches(asking: Asking, rows: list[Row], seed: int) -> None:
    drawn = Drawn(seed)
    low, high = drawn_range(drawn, rows)
    query = drawn_query(drawn, low, high)
    breakdown, rank = drawn.one(("severity", "service")), drawn.one(("count", "bytes"))
    order, limit = drawn.one(("latest", "earliest")), drawn.one((40, 200, 2000))
    matching = expected(rows, query, low, high)

    records = asking.records({**query, "orderBy": order, "limit": limit})
    answer = asking.sparkline({**query, "sparklineBreakdownBy": breakdown, "sparklineRankBy": rank})

    assert sorted(record["event_name"] for record in records) == sorted(
        record["event_name"] for record in matching
    )
    places = [
        (
            record["timestamp"].ljust(20, "Z").replace("Z", ".000000Z")
            if "." not in record["timestamp"]
            else record["timestamp"],
            record["uuid"],
        )
        for record in records
    ]
    assert places == sorted(places, reverse=order == "latest")
    shown = answer.body
    assert isinstance(shown, list)
    found = [
        (
            int(datetime.fromisoformat(row["time"]).timestamp()),
            row[breakdown],
            row["count"],
            row["bytes_uncompressed"],
        )
        for row in shown
    ]
    assert found == model.bars(matching, low, high, key=breakdown, rank=rank)
    assert sum(row["count"] for row in shown) == len(records)


@pytest.mark.parametrize("seed", range(30 * ROUNDS))
def test_listings_show_what_the_records_hold(asking: Asking, rows: list[Row], seed: int) -> None:
    drawn = Drawn(seed)
    low, high = drawn_range(drawn, rows)
    query = drawn_query(drawn, low, high)
    query.pop("searchTerm", None)
    query.pop("severityLevels", None)
    resource = drawn.one((True, False))
    column = "resource_attributes" if resource else "attributes"
    tens = 600_000_000
    matching = expected(rows, query, low // tens * tens, high // tens * tens + tens - 1)
    params = {name: json.dumps(value) for name, value in query.items()}
    params["attribute_type"] = "resource" if resource else "log"
    search, in_values = (
        drawn.one(("", "K", "http", "status", "kEy", "2026", "erro", "ÜBER")),
        drawn.one(("true", "false")),
    )
    key, part = drawn.one(KEYS), drawn.one(TEXTS, ("", "0"))

    keys = asking.attributes({**params, "search": search, "search_values": in_values, "limit": "1000"})
    page = asking.attributes(
        {**params, "search": search, "search_values": in_values, "limit": "2", "offset": "1"}
    )
    values = asking.values({**params, "key": key, "value": part, "limit": "1000"})

    named = model.keys(matching, column, search, in_values=in_values == "true")
    assert [(entry["name"], entry.get("matchedValue")) for entry in keys["results"]] == named
    assert keys["count"] == page["count"] == len(named)
    assert page["results"] == keys["results"][1:3]
    listed = model.values(matching, column, key, part)
    assert [(entry["id"], entry["count"]) for entry in values["results"]] == listed
