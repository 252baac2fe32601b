"""Bulk summaries over HTTP: how they run: equal items, caches, failures, caps, cancel, retries, progress."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import httpx2
import pytest

from tests.e2e.bulks import (
    accepted,
    bulk_settings,
    ended,
    finished_single,
    line,
    noted_since,
    rows_of,
    run,
    until,
)
from tests.e2e.payloads import SUMMARIZATION, event
from tests.e2e.provider import Provider, provider
from tests.running import RunningStack


@pytest.fixture(scope="module")
def fake() -> Iterator[Provider]:
    with provider() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(fake: Provider) -> Mapping[str, str]:
    return bulk_settings(fake)


@pytest.fixture(autouse=True)
def _well_behaved(fake: Provider) -> None:
    fake.reset()


def test_row_holds_what_the_single_call_would_have_answered(client: httpx2.Client) -> None:
    asked = line(format="structured", include_text_repr=True)

    job, rows = run(client, [asked])
    single = client.post(SUMMARIZATION, json=asked).json()

    body = rows[0]["body"]
    assert {**body, "metadata": 0} == {**single, "metadata": 0}
    assert body["metadata"].keys() == single["metadata"].keys()
    assert (body["metadata"]["job_id"], body["metadata"]["cache"]["status"]) == (job["id"], "miss")
    assert (single["metadata"]["cached"], rows[0]["cached"], rows[0]["attempts"]) == (True, False, 1)


def test_equal_items_share_one_generation(client: httpx2.Client, fake: Provider) -> None:
    one, other = line(), line()
    items = [one, other, {**one, "format": "structured"}, {**one, "mode": "detailed"}, one]

    job, rows = run(client, items)

    assert fake.stats()["requests"] == 3
    told = [row["body"]["metadata"].get("duplicate_of") for row in rows]
    assert told == [None, None, 0, None, 0]
    assert [row["attempts"] for row in rows] == [1, 1, 0, 1, 0]
    assert [row["body"]["metadata"]["cache"]["status"] for row in rows] == [
        "miss",
        "miss",
        "follower",
        "miss",
        "follower",
    ]
    assert rows[2]["body"]["summary"] == rows[0]["body"]["structured"]
    assert [row["body"]["metadata"]["charged_usd"] > 0 for row in rows] == [True, True, False, True, False]
    counted = {name: job["progress"][name] for name in ("duplicates", "llm_calls", "cached")}
    assert counted == {"duplicates": 2, "llm_calls": 3, "cached": 0}
    assert job["progress"]["tokens"] > 0
    assert job["progress"]["cost_usd"] > 0


def test_cached_items_cost_no_call(client: httpx2.Client, fake: Provider) -> None:
    items = [line() for _ in range(20)]
    run(client, items)
    calls = fake.stats()["requests"]

    job, rows = run(client, [*items, line(**items[0])])

    assert fake.stats()["requests"] == calls
    assert all(row["cached"] and row["attempts"] == 0 for row in rows)
    assert (job["progress"]["cached"], job["progress"]["llm_calls"], job["progress"]["cost_usd"]) == (
        21,
        0,
        0,
    )


def test_every_answered_item_can_be_asked_about(stack: RunningStack, client: httpx2.Client) -> None:
    one, other = line(), line()
    twins = [one, {**one, "format": "structured"}, other, other]
    began = datetime.now(UTC)

    run(client, [*twins, b"{"], "?max_llm_calls=1")
    made = [("budget_exceeded", False, False)] * 2 + [("follower", False, False), ("miss", False, True)]
    until(lambda: len(noted_since(stack, began)) >= 4, "the rows of the answers")

    assert noted_since(stack, began) == made


def test_forced_items_are_made_anew(client: httpx2.Client, fake: Provider) -> None:
    item = line()
    run(client, [item])

    _, rows = run(client, [{**item, "force_refresh": True}, {**item, "force_refresh": True}])

    assert fake.stats()["requests"] == 2
    statuses = [row["body"]["metadata"]["cache"]["status"] for row in rows]
    assert statuses == ["refresh", "follower"]


def test_failures_of_the_model_are_failures_of_items(client: httpx2.Client, fake: Provider) -> None:
    marked = f"mark-{uuid.uuid4().hex}"
    fake.script({"behaviour": "refusal", "count": 2, "match": marked})
    data = {"event": event(properties={"$ai_input": [{"role": "user", "content": marked}]})}
    other = {"event": event(properties={"$ai_input": [{"role": "user", "content": marked}]})}

    job, rows = run(client, [line(), line(data=data), line(data=other, on_llm_failure="extractive")])

    assert [row["status"] for row in rows] == [200, 502, 200]
    error = rows[1]["error"]
    assert (error["code"], error["job_id"], error["attempts"]) == ("llm_refused", job["id"], 1)
    assert list(error)[:5] == ["type", "code", "detail", "attr", "error"]
    assert rows[2]["body"]["metadata"]["fallback_reason"] == "llm_refused"
    assert (job["state"], job["partial_failure"], job["progress"]["failed"]) == ("succeeded", True, 1)


def test_cap_on_calls_is_never_passed(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=50)

    job, rows = run(client, [line() for _ in range(30)], "?max_llm_calls=7")

    assert fake.stats()["requests"] == 7
    assert Counter(row["status"] for row in rows) == {200: 7, 503: 23}
    assert {row["error"]["code"] for row in rows if row["error"]} == {"budget_exceeded"}
    assert job["progress"]["llm_calls"] == 7


def test_cap_on_spend_is_never_passed_and_well_used(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=50)
    free, _ = run(client, [line()])
    one = free["progress"]["cost_usd"]
    cap = 0.01

    job, rows = run(client, [line() for _ in range(60)], f"?max_spend_usd={cap}&concurrency=30")

    assert job["progress"]["cost_usd"] <= cap
    done = Counter(row["status"] for row in rows)
    assert done[200] + done[503] == 60
    assert done[503] > 0
    # A call is made only when its upper bound fits, so the last few cents stay.
    assert done[200] * one >= cap / 4


def test_cancel_stops_new_calls_and_keeps_what_was_made(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=1000)
    job = accepted(client, [line(custom_id=f"c{number}") for number in range(60)], "?concurrency=4")
    until(lambda: bool(client.get(f"/jobs/{job['id']}/").json()["progress"]["succeeded"]), "the first rows")

    answer = client.post(f"/jobs/{job['id']}/cancel/")
    time.sleep(2)
    calls = fake.stats()["requests"]
    job = ended(client, job)
    rows = rows_of(client, job)

    assert answer.status_code == 202
    assert answer.json()["cancel_requested"] is True
    assert job["state"] == "canceled"
    assert fake.stats()["requests"] == calls
    kept = Counter(row["status"] for row in rows)
    assert kept == {200: calls, 499: 60 - calls}
    assert {row["error"]["code"] for row in rows if row["error"]} == {"job_canceled"}
    assert [row["custom_id"] for row in rows] == [f"c{number}" for number in range(60)]
    assert job["progress"]["canceled"] == 60 - calls
    assert rows == rows_of(client, job)


def test_retry_takes_the_failed_and_canceled_items_only(client: httpx2.Client, fake: Provider) -> None:
    items = [line(custom_id=f"c{number}") for number in range(6)]
    job, rows = run(client, [*items, items[5] | {"custom_id": "twin"}, b"{"], "?max_llm_calls=2")
    failed = [row["custom_id"] for row in rows if row["status"] >= 400]
    calls = fake.stats()["requests"]

    answer = client.post(f"/jobs/{job['id']}/retry/")
    again = ended(client, answer.json())

    assert answer.status_code == 202
    assert (again["parent_id"], again["source"]) == (job["id"], "retry")
    found = rows_of(client, again)
    assert [row["custom_id"] for row in found] == failed
    assert [row["index"] for row in found] == list(range(len(failed)))
    assert found[-1]["error"]["code"] == "parse_error"
    # The options are those of the first job: two more calls.
    assert fake.stats()["requests"] == calls + 2
    listed = client.get(f"/jobs/?parent_id={job['id']}").json()["results"]
    assert [one["id"] for one in listed] == [again["id"]]


def test_retry_of_what_cannot_be_retried_is_a_conflict(client: httpx2.Client, fake: Provider) -> None:
    done, _ = run(client, [line()])
    single = finished_single(client)
    fake.configure(latency_ms=1000)
    active = accepted(client, [line()])

    statuses = [client.post(f"/jobs/{job['id']}/retry/").status_code for job in (done, single, active)]

    assert statuses == [409, 409, 409]
    ended(client, active)


def test_progress_adds_up_at_every_look(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=150)
    job = accepted(client, [line() for _ in range(100)], "?concurrency=16")
    done = 0
    while job["state"] in ("queued", "running"):
        job = client.get(f"/jobs/{job['id']}/").json()
        counted = job["progress"]
        assert counted["total"] == counted["queued"] + counted["running"] + counted["done"] == 100
        assert counted["done"] == counted["succeeded"] + counted["failed"] + counted["canceled"]
        assert counted["done"] >= done
        done = counted["done"]
        time.sleep(0.03)

    assert fake.stats()["max_inflight"] <= 16
    assert (job["state"], done) == ("succeeded", 100)
