"""Bulk jobs for tests: send one, wait for its end, read its rows; the limits that they are run with."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import httpx2
from sqlalchemy import func, select

from storage.models import BulkItem, BulkJob, SummaryRow
from storage.session import make_engine
from tests.e2e.payloads import SUMMARIZATION, summary_request
from tests.e2e.provider import Provider, provider_settings
from tests.running import RunningStack

BULK = "/llm_analytics/summarization/bulk/"
NDJSON = {"Content-Type": "application/x-ndjson"}
MOST_ITEMS = 120
MOST_BYTES = 1_000_000
LONGEST_LINE = 200_000


def bulk_settings(fake: Provider) -> Mapping[str, str]:
    return provider_settings(
        fake,
        TRACEGIST_BULK_MAX_ITEMS=str(MOST_ITEMS),
        TRACEGIST_BULK_MAX_BYTES=str(MOST_BYTES),
        TRACEGIST_MAX_BODY_BYTES=str(LONGEST_LINE),
        TRACEGIST_BULK_CHUNK="8",
    )


def line(**members: Any) -> dict[str, Any]:
    return {**summary_request(), **members}


def ndjson(items: list[Any]) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in items)


def post(
    client: httpx2.Client, items: list[Any] | bytes, query: str = "", headers: Mapping[str, str] | None = None
) -> httpx2.Response:
    content = items if isinstance(items, bytes) else ndjson(items)
    return client.post(f"{BULK}{query}", content=content, headers={**NDJSON, **(headers or {})})


def accepted(client: httpx2.Client, items: list[Any], query: str = "") -> dict[str, Any]:
    answer = post(client, items, query)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == job["links"]["self"]
    return job


def ended(client: httpx2.Client, job: Mapping[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 80
    while True:
        found: dict[str, Any] = client.get(f"/jobs/{job['id']}/?wait=20").json()
        if found["state"] not in ("queued", "running"):
            return found
        assert time.monotonic() < deadline, found


def finished_single(client: httpx2.Client) -> dict[str, Any]:
    return ended(client, client.post(SUMMARIZATION, json=line(), headers={"Prefer": "respond-async"}).json())


def rows_of(client: httpx2.Client, job: Mapping[str, Any], query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"/jobs/{job['id']}/results/{query}")
    assert answer.status_code == 200, answer.text
    return [json.loads(text) for text in answer.text.splitlines()]


def run(
    client: httpx2.Client, items: list[Any], query: str = ""
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    job = ended(client, accepted(client, items, query))
    return job, rows_of(client, job)


def until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def stored_items(stack: RunningStack) -> Counter[str]:
    """How many items the database holds for each job."""
    url = stack.environ.get("DATABASE_URL") or f"sqlite:///{stack.data_dir / 'tracegist.db'}"
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            counted = select(BulkItem.job_id, func.count()).group_by(BulkItem.job_id)
            found = Counter[str]()
            for job_id, count in connection.execute(counted):
                found[job_id] = count
            for job_id in connection.scalars(select(BulkJob.job_id)):
                found[job_id] += 0
            return found
    finally:
        engine.dispose()


def noted_since(stack: RunningStack, began: datetime) -> list[tuple[str, bool, bool]]:
    """Status, cached, and whether tokens were counted, for each answer since then."""
    url = stack.environ.get("DATABASE_URL") or f"sqlite:///{stack.data_dir / 'tracegist.db'}"
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            chosen = select(SummaryRow.status, SummaryRow.cached, SummaryRow.total_tokens > 0)
            rows = connection.execute(chosen.where(SummaryRow.created_at >= began))
            return sorted((status, cached, bool(paid)) for status, cached, paid in rows)
    finally:
        engine.dispose()
