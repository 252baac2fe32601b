"""Large bulks: what dies meanwhile, where they are cut off, and how several share the work.

`TEST_SCALE=full` has them hold 1,000 items each.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest

from storage.ledger import job_spend_usd
from storage.session import make_engine, make_sessions
from tests.faults.conftest import Provider, StartStack
from tests.faults.support import (
    FINAL,
    SUMMARIZE,
    frozen,
    kill_child,
    summary_of,
    wait_for_new_child,
    wait_until,
)
from tests.faults.test_bulk import look, wait_for_some
from tests.running import RunningStack

ITEMS = 1000 if os.environ.get("TEST_SCALE") == "full" else 200
PATIENCE_S = 120 + ITEMS / 2
AT_ONCE = 32  # items in flight while processes die
PRICES = {"TRACEGIST_LLM_PRICES": '{"gpt-4.1-mini": {"input": 0.4, "output": 1.6}}'}
OWN_STORE = {"REDIS_URL": ""}  # the store that is killed is the stack's own
NARROW = {
    "TRACEGIST_BULK_CONCURRENCY": "32",
    "TRACEGIST_BULK_CHUNK": "8",
}  # so that there is something to share

pytestmark = pytest.mark.timeout(600)


def submit(client: httpx2.Client, names: Sequence[str], query: str = "") -> str:
    lines = [json.dumps({**summary_of(name), "custom_id": name}) for name in names]
    answer = client.post(
        f"{SUMMARIZE}bulk/{query}",
        content="\n".join(lines).encode(),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def names_of(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


def ended(client: httpx2.Client, job_id: str) -> dict[str, Any]:
    wait_until(lambda: look(client, job_id)["state"] in FINAL, "the end", seconds=PATIENCE_S)
    return look(client, job_id)


def rows_of(client: httpx2.Client, job_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.get(f"/jobs/{job_id}/results/").text.splitlines()]


def database_of(stack: RunningStack) -> str:
    return stack.environ.get("DATABASE_URL") or f"sqlite:///{stack.data_dir / 'tracegist.db'}"


def kill_worker(stack: RunningStack, provider: Provider) -> None:
    """Kill the worker of bulks while it waits for answers."""
    wait_until(lambda: provider.stats()["inflight"] >= AT_ONCE // 4, "calls in flight", seconds=PATIENCE_S)
    wait_for_new_child(stack, "worker:llm.bulk", kill_child(stack, "worker:llm.bulk"))


def test_bulk_outlives_three_workers_a_shim_and_the_store(
    provider: Provider, start_stack: StartStack
) -> None:
    stack = start_stack({**provider.settings(), **OWN_STORE})
    provider.configure(latency_ms=500)
    names = names_of("order", ITEMS)
    with stack.client() as client:
        job_id = submit(client, names, f"?concurrency={AT_ONCE}")
        wait_for_some(client, job_id, ITEMS // 10)
        kill_worker(stack, provider)
        wait_for_some(client, job_id, ITEMS // 4)
        shim = kill_child(stack, "shim")
        kill_worker(stack, provider)
        wait_for_new_child(stack, "shim", shim)
        wait_for_some(client, job_id, ITEMS // 2)
        wait_for_new_child(stack, "valkey", kill_child(stack, "valkey"))
        wait_for_some(client, job_id, ITEMS * 3 // 4)
        kill_worker(stack, provider)

        job, rows = ended(client, job_id), rows_of(client, job_id)

    assert (job["state"], job["partial_failure"]) == ("succeeded", False)
    assert [(row["index"], row["custom_id"]) for row in rows] == list(enumerate(names))
    assert Counter(row["status"] for row in rows) == {200: ITEMS}
    assert (job["progress"]["done"], job["progress"]["succeeded"]) == (ITEMS, ITEMS)
    calls = provider.stats()["requests"]
    print(f"{ITEMS} items, {calls} calls, at most {AT_ONCE} in flight at each of three kills")
    # Neither the shim nor the store has calls in flight of its own; an answer that had arrived is kept.
    assert ITEMS <= calls <= ITEMS + 3 * AT_ONCE


def test_cancel_half_way_stops_calls_and_keeps_what_is_there(
    provider: Provider, start_stack: StartStack
) -> None:
    stack = start_stack(provider.settings())
    provider.configure(latency_ms=400)
    with stack.client() as client:
        job_id = submit(client, names_of("order", ITEMS), "?concurrency=16")
        wait_for_some(client, job_id, ITEMS // 2)

        answer = client.post(f"/jobs/{job_id}/cancel/")
        time.sleep(2)
        calls = provider.stats()["requests"]
        job, rows = ended(client, job_id), rows_of(client, job_id)
        time.sleep(1)

    counted = Counter(row["status"] for row in rows)
    print(f"{answer.status_code}, {counted}, {calls} calls")
    assert answer.status_code == 202
    assert job["state"] == "canceled"
    assert provider.stats()["requests"] == calls
    assert counted == {200: calls, 499: ITEMS - calls}
    assert calls >= ITEMS // 2
    progress = job["progress"]
    assert (progress["succeeded"], progress["canceled"], progress["done"]) == (calls, ITEMS - calls, ITEMS)


def test_cap_on_spend_holds_in_the_ledger(provider: Provider, start_stack: StartStack) -> None:
    stack = start_stack({**provider.settings(), **PRICES})
    provider.configure(latency_ms=100)
    with stack.client() as client:
        probe = submit(client, ["probe"])
        cap = round(ended(client, probe)["progress"]["cost_usd"] * ITEMS / 2, 6)
        job_id = submit(client, names_of("order", ITEMS), f"?max_spend_usd={cap}")
        job, rows = ended(client, job_id), rows_of(client, job_id)

    engine = make_engine(database_of(stack))
    with make_sessions(engine)() as session:
        spent = job_spend_usd(session, job_id)
    engine.dispose()
    codes = Counter(row["error"]["code"] for row in rows if row["error"])
    counted = Counter(row["status"] for row in rows)
    print(f"cap {cap}, spent {spent:.6f}, {counted}, {codes}")
    assert cap / 2 < spent <= cap
    assert job["progress"]["cost_usd"] == pytest.approx(spent, abs=1e-6)
    assert set(counted) == {200, 503}
    assert set(codes) == {"budget_exceeded"}
    assert len(rows) == ITEMS


def test_bulks_of_two_projects_share_evenly_and_let_single_calls_pass(
    provider: Provider, start_stack: StartStack
) -> None:
    stack = start_stack({**provider.settings(), **NARROW})
    provider.configure(latency_ms=300)
    with stack.client() as ours, stack.client("other_project") as theirs:
        theirs.base_url = f"{stack.url}/api/environments/{stack.projects['other']}"
        with frozen(stack.children()["worker:llm.bulk"]):  # both wait at the line before either starts
            jobs = [(ours, submit(ours, names_of("ours", ITEMS)))]
            jobs.append((theirs, submit(theirs, names_of("theirs", ITEMS))))
        wait_for_some(*jobs[0], ITEMS // 2)
        done = [look(*job)["progress"]["done"] for job in jobs]
        single = ours.post(SUMMARIZE, json=summary_of("single"))
        after = [look(*job)["progress"]["done"] for job in jobs]
        states = [ended(*job)["state"] for job in jobs]

    print(f"done {done}, after a single call {after}")
    assert max(done) - min(done) <= 0.2 * max(done)
    assert single.status_code == 200
    assert max(after) < ITEMS  # it waited for none of them
    assert states == ["succeeded", "succeeded"]
