"""Bulk summaries through the provider's batch interface: half the price, the same rows."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from storage.models import BulkBatch, BulkRequest, LedgerEntry
from storage.session import make_engine
from tests.e2e.bulks import accepted, ended, line, noted_since, post, rows_of, run, until
from tests.e2e.listening import listen
from tests.e2e.payloads import event
from tests.e2e.provider import Provider, provider, provider_settings
from tests.running import RunningStack

POLL = "1"


@pytest.fixture(scope="module")
def fake() -> Iterator[Provider]:
    with provider() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(fake: Provider) -> Mapping[str, str]:
    return provider_settings(fake, TRACEGIST_BULK_BATCH_POLL_S=POLL, TRACEGIST_BULK_CHUNK="8")


@pytest.fixture(autouse=True)
def _well_behaved(fake: Provider) -> None:
    fake.reset()


def marked(mark: str) -> dict[str, Any]:
    return line(data={"event": event(properties={"$ai_input": [{"role": "user", "content": mark}]})})


def new_mark() -> str:
    return f"mark-{uuid.uuid4().hex}"


def booked(stack: RunningStack, job: Mapping[str, Any], entries: int) -> list[LedgerEntry]:
    """The ledger of a job, once it has so many entries."""
    url = stack.environ.get("DATABASE_URL") or f"sqlite:///{stack.data_dir / 'tracegist.db'}"
    engine = make_engine(url)
    try:
        found: list[Any] = []

        def complete() -> bool:
            with engine.connect() as connection:
                found[:] = connection.execute(
                    select(LedgerEntry.__table__).where(LedgerEntry.job_id == job["id"])
                ).all()
            return len(found) >= entries

        until(complete, f"{entries} entries in the ledger")
        return found
    finally:
        engine.dispose()


def test_batch_answers_every_item_at_half_price(
    stack: RunningStack, client: httpx2.Client, fake: Provider
) -> None:
    cached = line()
    run(client, [cached])
    calls = fake.stats()["requests"]
    mark = new_mark()
    items = [marked(f"{mark} {number:02}") | {"custom_id": f"c{number}"} for number in range(20)]

    job, rows = run(client, [*items, {**items[3], "custom_id": "twin"}, cached, b"{"], "?batch_api=always")

    stats = fake.stats()
    assert (stats["batches"], stats["batch_rows"], stats["requests"]) == (1, 20, calls)
    assert [row["status"] for row in rows] == [200] * 22 + [400]
    assert all(f"{mark} {number:02}" in str(row["body"]["summary"]) for number, row in enumerate(rows[:20]))
    assert rows[20]["body"]["metadata"]["duplicate_of"] == 3
    assert (rows[21]["cached"], rows[21]["attempts"], rows[0]["attempts"]) == (True, 0, 1)
    progress = job["progress"]
    assert (progress["llm_calls"], progress["duplicates"], progress["cached"]) == (20, 1, 1)
    entries = booked(stack, job, 20)
    assert len(entries) == 20
    full = sum(one.prompt_tokens * 0.4e-6 + one.completion_tokens * 1.6e-6 for one in entries)
    assert sum(one.cost_usd for one in entries) == pytest.approx(full / 2)
    assert progress["cost_usd"] == pytest.approx(full / 2, abs=1e-5)
    again, _ = run(client, items)
    assert again["progress"]["cached"] == 20


def test_items_of_a_batch_are_told_and_can_be_asked_about(stack: RunningStack, client: httpx2.Client) -> None:
    began = datetime.now(UTC)

    job, rows = run(client, [line() for _ in range(10)], "?batch_api=always")
    heard = listen(client, job["id"], "?items=true")
    until(lambda: len(noted_since(stack, began)) >= 10, "the rows of the answers")

    told = [event.data for event in heard if event.name == "item"]
    assert sorted(told, key=lambda row: int(row["index"])) == rows
    assert noted_since(stack, began) == [("miss", False, True)] * 10


def test_rows_that_fail_or_expire_go_the_normal_way(
    stack: RunningStack, client: httpx2.Client, fake: Provider
) -> None:
    lost, expired, odd, refused = (new_mark() for _ in range(4))
    fake.script(
        {"behaviour": "500", "match": lost},
        {"behaviour": "expired", "match": expired},
        {"behaviour": "prose", "match": odd, "content": "I would rather not say."},
        {"behaviour": "refusal", "match": refused},
    )

    job, rows = run(client, [line(), *map(marked, (lost, expired, odd, refused))], "?batch_api=always")

    assert [row["status"] for row in rows] == [200, 200, 200, 200, 502]
    assert [row["attempts"] for row in rows] == [1, 2, 2, 2, 1]
    assert rows[4]["error"]["code"] == "llm_refused"
    stats = fake.stats()
    assert (stats["batches"], stats["batch_rows"], stats["requests"]) == (1, 3, 3)
    kept = Counter((one.call_id.startswith("bat_"), one.kept) for one in booked(stack, job, 6))
    assert kept == {(True, True): 1, (True, False): 2, (False, True): 3}


@pytest.mark.parametrize(
    ("count", "forced", "headers", "batches"),
    [(200, False, {}, 1), (199, False, {}, 0), (200, True, {}, 0), (200, False, {"Prefer": "wait=5"}, 0)],
)
def test_auto_takes_large_bulks_that_nobody_waits_for(
    client: httpx2.Client,
    fake: Provider,
    count: int,
    forced: bool,
    headers: dict[str, str],
    batches: int,
) -> None:
    mark = new_mark()
    items = [marked(f"{mark} {number // 4}") for number in range(count)]
    for number, item in enumerate(items):
        item["data"]["event"]["id"] = f"{mark}-{number // 4}"
    items[7]["force_refresh"] = forced

    answer = post(client, items, "?batch_api=auto", headers)
    job = ended(client, answer.json())

    assert job["progress"]["succeeded"] == count
    assert fake.stats()["batches"] == batches


def test_canceled_batch_keeps_what_arrived(
    stack: RunningStack, client: httpx2.Client, fake: Provider
) -> None:
    fake.configure(batch_delay_ms=600_000)
    job = accepted(client, [line() for _ in range(20)], "?batch_api=always")
    until(lambda: bool(fake.stats()["batches"]), "a batch")

    client.post(f"/jobs/{job['id']}/cancel/")
    job = ended(client, job)

    assert job["state"] == "canceled"
    assert Counter(row["status"] for row in rows_of(client, job)) == {200: 10, 499: 10}
    assert fake.stats()["requests"] == 0
    assert len(booked(stack, job, 10)) == 10


def test_batch_stays_within_the_caps(client: httpx2.Client, fake: Provider) -> None:
    job, rows = run(client, [line() for _ in range(12)], "?batch_api=always&max_llm_calls=5")
    one_usd = job["progress"]["cost_usd"] / 5

    assert Counter(row["status"] for row in rows) == {200: 5, 503: 7}
    assert {row["error"]["code"] for row in rows if row["error"]} == {"budget_exceeded"}
    assert (fake.stats()["batch_rows"], fake.stats()["requests"]) == (5, 0)

    cap = 0.006
    capped, rows = run(client, [line() for _ in range(30)], f"?batch_api=always&max_spend_usd={cap}")

    assert 0 < capped["progress"]["cost_usd"] <= cap
    assert {row["error"]["code"] for row in rows if row["error"]} <= {"budget_exceeded"}
    assert fake.stats()["batch_rows"] > 5
    assert capped["progress"]["cost_usd"] >= one_usd


@pytest.mark.parametrize(("told", "batches", "calls"), [("404", 0, 3), ("lost", 1, 0)])
def test_batch_whose_creation_fails(
    client: httpx2.Client, fake: Provider, told: str, batches: int, calls: int
) -> None:
    """A provider without batches is asked as always; a batch that it made unseen is found again."""
    fake.configure(batch_create="404_model" if told == "404" else told)

    job, _ = run(client, [line() for _ in range(3)], "?batch_api=always")

    assert job["progress"]["succeeded"] == 3
    assert (fake.stats()["batches"], fake.stats()["requests"]) == (batches, calls)


def test_nothing_of_a_batch_is_left_when_its_job_is_deleted(
    stack: RunningStack, client: httpx2.Client
) -> None:
    job, _ = run(client, [line()], "?batch_api=always")

    assert client.delete(f"/jobs/{job['id']}/").status_code == 204

    url = stack.environ.get("DATABASE_URL") or f"sqlite:///{stack.data_dir / 'tracegist.db'}"
    engine = make_engine(url)
    with engine.connect() as connection:
        left = [
            connection.scalar(select(func.count()).where(table.job_id == job["id"]))
            for table in (BulkBatch, BulkRequest)
        ]
    engine.dispose()
    assert left == [0, 0]


def test_progress_adds_up_while_a_batch_is_under_way(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(batch_delay_ms=2000)
    job = accepted(client, [line() for _ in range(10)], "?batch_api=always")
    while job["state"] in ("queued", "running"):
        job = client.get(f"/jobs/{job['id']}/").json()
        counted = job["progress"]
        assert counted["total"] == counted["queued"] + counted["running"] + counted["done"] == 10
        time.sleep(0.05)

    assert (job["state"], counted["done"]) == ("succeeded", 10)
