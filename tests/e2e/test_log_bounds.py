"""Queries that hit a bound fail alone, with a clean error; listings show the newest part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.e2e.logs_support import ask, lines_of, upload

OLD, NEW = 20_000, 20
BODY_CHARS = 400
ALL = {"date_from": "2026-01-01", "date_to": "2026-03-02"}
# A quarter of what the old records' bodies take, and more than one mark of the index does.
READ_BYTES = 5_000_000
BODY = {"type": "log", "key": "body", "operator": "regex"}  # no index helps it
# Long to analyze, whatever the engine does with it then.
HEAVY = [
    {"type": "log_attribute", "key": f"k{number}", "operator": "is_date_after", "value": "2026-01-01"}
    for number in range(200)
]


@pytest.fixture(scope="module")
def stack_settings() -> Mapping[str, str]:
    return {
        "TRACEGIST_LOGS_READ_BYTES": str(READ_BYTES),
        "TRACEGIST_LOGS_PROJECT_QUERIES": "1",
        "TRACEGIST_LOGS_QUERY_TIMEOUT_S": "600",
        "TRACEGIST_SYNC_WAIT_S": "600",
    }


@pytest.fixture(scope="module")
def logs(client: httpx2.Client) -> httpx2.Client:
    """Many old records, and some new ones with another attribute."""
    old = (
        record(f"2026-01-01T{number // 3600:02d}:{number // 60 % 60:02d}:00Z", "old") for number in range(OLD)
    )
    upload(client, lines_of(old))
    upload(client, lines_of(record("2026-03-01T00:00:00Z", "new") for _ in range(NEW)))
    client.timeout = 600
    return client


def record(timestamp: str, part: str) -> dict[str, Any]:
    return {
        "timestamp": timestamp,
        "body": part.ljust(BODY_CHARS, "."),
        "attributes": {"part": part, part: "1"},
    }


def refused(answer: httpx2.Response, status: int) -> dict[str, Any]:
    told: dict[str, Any] = answer.json()
    assert answer.status_code == status, answer.text
    assert told["error"] == told["detail"]
    for hidden in ("SELECT", "logs_", "Code:", "DB::", "project_id"):
        assert hidden not in answer.text
    return told


@pytest.mark.parametrize("path", ["query", "sparkline", "count", "export"])
def test_query_that_reads_too_much_asks_for_a_narrower_one(logs: httpx2.Client, path: str) -> None:
    # A pattern of its own: the engine remembers where others were not found.
    too_much = {"dateRange": ALL, "filterGroup": [{**BODY, "value": f"no such {path}"}]}

    answer = logs.post(f"/logs/{path}", json={"query": too_much})

    assert refused(answer, 400)["code"] == "query_too_large"
    narrower = {**too_much, "dateRange": {"date_from": "2026-03-01", "date_to": "2026-03-02"}}
    assert logs.post(f"/logs/{path}", json={"query": narrower}).status_code == 200


def test_page_that_the_newest_part_fills_reads_no_more(logs: httpx2.Client) -> None:
    page = ask(logs, {"dateRange": ALL, "searchTerm": "new", "limit": NEW - 1})

    assert len(page["results"]) == NEW - 1
    assert page["hasMore"]


@pytest.mark.parametrize("path", ["attributes", "values"])
def test_listing_that_reads_too_much_shows_the_newest_part(logs: httpx2.Client, path: str) -> None:
    params = {
        "dateRange": json.dumps(ALL),
        "filterGroup": json.dumps([{**BODY, "value": "old|new"}]),
        "key": "part",
    }

    told = logs.get(f"/logs/{path}", params=params).json()

    assert told["partial"] is True
    assert {entry["name"] for entry in told["results"]} == ({"new"} if path == "values" else {"new", "part"})


def test_more_queries_at_once_than_a_project_may_have_are_sent_away(logs: httpx2.Client) -> None:
    heavy = {"query": {"dateRange": ALL, "filterGroup": HEAVY}}

    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda _: logs.post("/logs/query", json=heavy), range(4)))

    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert refused(answer, 429)["code"] == "throttled"
            assert int(answer.headers["retry-after"]) >= 1
    assert ask(logs, {"dateRange": ALL, "limit": 1})["hasMore"]
