"""Processes die, and the store forgets, in the middle of a bulk: no item is lost, no answer paid for twice.

`TEST_SCALE=full` makes the bulks larger.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import httpx2
import pytest
import redis

from tests.faults.conftest import Provider, StartStack
from tests.faults.support import (
    FINAL,
    SUMMARIZE,
    kill_child,
    summary_of,
    wait_for_new_child,
    wait_until,
    wait_until_ready,
)
from tests.integration.cache.support import Server

ITEMS = 500 if os.environ.get("TEST_SCALE") == "full" else 100
PATIENCE_S = 60 + ITEMS / 2


def submit(client: httpx2.Client, *, query: str = "") -> str:
    """A bulk in which each summary is asked for twice."""
    names = [f"order-{number}" for number in range(ITEMS)]
    lines = [json.dumps({**summary_of(name), "custom_id": f"{name}-{n}"}) for n in "ab" for name in names]
    answer = client.post(
        f"{SUMMARIZE}bulk/{query}",
        content="\n".join(lines).encode(),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def look(client: httpx2.Client, job_id: str) -> dict[str, Any]:
    """The job, as soon as somebody answers."""
    found: dict[str, Any] = {}

    def answered() -> bool:
        nonlocal found
        try:
            answer = client.get(f"/jobs/{job_id}/")
        except httpx2.TransportError:
            return False
        found = answer.json()
        return answer.status_code == 200

    wait_until(answered, "an answer", seconds=PATIENCE_S)
    return found


def wait_for_some(client: httpx2.Client, job_id: str, least: int) -> None:
    wait_until(lambda: look(client, job_id)["progress"]["done"] >= least, "some rows", seconds=PATIENCE_S)


def assert_complete(client: httpx2.Client, job_id: str) -> None:
    """Every item has exactly one row, and it is a summary; the counters say the same."""
    wait_until(lambda: look(client, job_id)["state"] in FINAL, "the end", seconds=PATIENCE_S)
    job = look(client, job_id)
    rows = [json.loads(line) for line in client.get(f"/jobs/{job_id}/results/").text.splitlines()]
    assert (job["state"], job["partial_failure"]) == ("succeeded", False)
    assert [row["index"] for row in rows] == list(range(2 * ITEMS))
    assert Counter(row["status"] for row in rows) == {200: 2 * ITEMS}
    assert (job["progress"]["done"], job["progress"]["succeeded"]) == (2 * ITEMS, 2 * ITEMS)


@pytest.mark.timeout(300)
def test_bulk_whose_worker_is_killed_again_and_again_ends_with_every_item(
    provider: Provider, start_stack: StartStack
) -> None:
    stack = start_stack(provider.settings())
    provider.configure(latency_ms=400)
    unanswered = 0
    with stack.client() as client:
        job_id = submit(client, query="?concurrency=20")
        for share in (0.2, 0.6):
            wait_for_some(client, job_id, int(2 * ITEMS * share))
            pid = kill_child(stack, "worker:llm.bulk")
            unanswered += provider.stats()["inflight"]
            wait_for_new_child(stack, "worker:llm.bulk", pid)

        assert_complete(client, job_id)
    # What was in flight had no answer yet; everything else was asked for once.
    assert ITEMS <= provider.stats()["requests"] <= ITEMS + unanswered


@pytest.mark.timeout(300)
def test_bulk_outlives_the_processes_around_its_worker(provider: Provider, start_stack: StartStack) -> None:
    stack = start_stack(provider.settings())
    provider.configure(latency_ms=200)
    with stack.client() as client:
        job_id = submit(client, query="?concurrency=16")
        for victim in ("worker:maintenance", "beat", "shim"):
            pid = kill_child(stack, victim)
            wait_for_new_child(stack, victim, pid)

        assert_complete(client, job_id)
    assert provider.stats()["requests"] == ITEMS


@pytest.mark.timeout(300)
def test_bulk_goes_on_when_the_store_has_forgotten_everything(
    provider: Provider, start_stack: StartStack, forgetful_server: Server
) -> None:
    stack = start_stack({**provider.settings(), "REDIS_URL": forgetful_server.url})
    provider.configure(latency_ms=200)
    with stack.client() as client:
        job_id = submit(client, query="?concurrency=8")
        wait_for_some(client, job_id, ITEMS // 4)
        done = look(client, job_id)["progress"]["done"]

        with redis.Redis.from_url(forgetful_server.url) as store:
            store.flushall()
        wait_until_ready(stack)

        assert look(client, job_id)["progress"]["done"] >= done
        assert_complete(client, job_id)
