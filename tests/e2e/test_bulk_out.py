"""Bulk summaries over HTTP: their rows and events, and what else is left of a job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest

from tests.e2e.bulks import (
    accepted,
    bulk_settings,
    ended,
    finished_single,
    line,
    rows_of,
    run,
    stored_items,
    until,
)
from tests.e2e.listening import listen
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


@pytest.fixture(scope="module")
def mixed(client: httpx2.Client, fake: Provider) -> dict[str, Any]:
    """Ten items, of which those at 2, 5 and 8 are refused."""
    fake.reset()
    items: list[Any] = [b"{" if number % 3 == 2 else line(custom_id=f"c{number}") for number in range(10)]
    job, _ = run(client, items)
    return job


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        ("", list(range(10))),
        ("?after=6", [7, 8, 9]),
        ("?after=99", []),
        ("?only=failed", [2, 5, 8]),
        ("?only=succeeded&after=3", [4, 6, 7, 9]),
        ("?only=canceled", []),
        ("?follow=false", list(range(10))),
    ],
)
def test_rows_are_chosen_by_query(
    client: httpx2.Client, mixed: dict[str, Any], query: str, indexes: list[int]
) -> None:
    assert [row["index"] for row in rows_of(client, mixed, query)] == indexes


@pytest.mark.parametrize("query", ["?after=x", "?only=some", "?follow=maybe"])
def test_query_that_is_not_valid_is_refused(client: httpx2.Client, mixed: dict[str, Any], query: str) -> None:
    answer = client.get(f"/jobs/{mixed['id']}/results/{query}")

    assert (answer.status_code, answer.json()["attr"]) == (400, query[1:].split("=")[0])


def test_rows_are_the_same_bytes_whenever_they_are_read(client: httpx2.Client, mixed: dict[str, Any]) -> None:
    address = f"/jobs/{mixed['id']}/results/"
    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    packed = client.get(address, headers={"Accept-Encoding": "gzip"})

    assert plain.headers["content-type"].startswith("application/x-ndjson")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.content == packed.content == client.get(address).content


def test_rows_come_in_pages_for_those_who_want_json(client: httpx2.Client, mixed: dict[str, Any]) -> None:
    address = f"/jobs/{mixed['id']}/results/?limit=4&only=succeeded"
    found: list[dict[str, Any]] = []
    while address:
        page = client.get(address, headers={"Accept": "application/json"}).json()
        assert page["count"] == 7
        found += page["results"]
        address = page["next"]

    assert found == rows_of(client, mixed, "?only=succeeded")


def test_follower_sees_every_row_once_and_then_the_end(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=300)
    job = accepted(client, [line() for _ in range(24)] + [b"{"], "?concurrency=4")

    with client.stream("GET", f"/jobs/{job['id']}/results/?follow=true") as answer:
        rows = [json.loads(text) for text in answer.iter_lines() if text]

    assert sorted(row["index"] for row in rows) == list(range(25))
    assert rows[0]["index"] == 24
    assert ended(client, job)["state"] == "succeeded"


def test_follower_of_a_canceled_job_gets_the_canceled_rows_too(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=500)
    job = accepted(client, [line() for _ in range(40)], "?concurrency=2")
    client.post(f"/jobs/{job['id']}/cancel/")

    rows = rows_of(client, job, "?follow=true")

    assert sorted(row["index"] for row in rows) == list(range(40))
    assert {row["status"] for row in rows} <= {200, 499}


def test_listener_hears_of_each_item_and_resumes(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=300)
    job = accepted(client, [line(custom_id=f"c{number}") for number in range(3)])

    live = listen(client, job["id"], "?items=true")
    replayed = listen(client, job["id"], "?items=true")
    seen = next(event.id for event in live if event.name == "item")
    resumed = listen(client, job["id"], "?items=true", **{"Last-Event-ID": str(seen)})
    plain = listen(client, job["id"])

    assert [event.id for event in live] == list(range(1, len(live) + 1))
    told = [event.data for event in live if event.name == "item"]
    assert sorted(told, key=lambda row: int(row["index"])) == rows_of(client, job)
    assert len(told) == 3
    assert live[-1].name == "done"
    assert live[-1].data["progress"]["succeeded"] == 3
    assert replayed == live
    assert resumed == live[seen:]
    assert [event.name for event in plain if event.name == "item"] == []


@pytest.mark.parametrize("good", [0, 30])
def test_listener_hears_of_refused_items_too(client: httpx2.Client, good: int) -> None:
    job = accepted(client, [b"{", *(line() for _ in range(good)), b"[]"])

    heard = listen(client, job["id"], "?items=true")

    told = [event.data for event in heard if event.name == "item"]
    assert sorted(told, key=lambda row: int(row["index"])) == rows_of(client, job)
    assert [row["index"] for row in told][:2] == [0, good + 1]


def test_listener_hears_of_canceled_items_too(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=600)
    job = accepted(client, [line(custom_id=f"c{number}") for number in range(20)], "?concurrency=4")
    until(lambda: bool(client.get(f"/jobs/{job['id']}/").json()["progress"]["succeeded"]), "the first rows")
    client.post(f"/jobs/{job['id']}/cancel/")

    heard = listen(client, job["id"], "?items=true")

    told = [event.data for event in heard if event.name == "item"]
    assert sorted(told, key=lambda row: int(row["index"])) == rows_of(client, job)
    assert {row["status"] for row in told} == {200, 499}
    assert (heard[-1].name, heard[-1].data["state"]) == ("done", "canceled")


def test_deleted_job_takes_its_rows_along(stack: RunningStack, client: httpx2.Client) -> None:
    job, _ = run(client, [line(), b"{"])

    deleted = client.delete(f"/jobs/{job['id']}/")

    assert deleted.status_code == 204
    assert client.get(f"/jobs/{job['id']}/results/").status_code == 404
    assert job["id"] not in stored_items(stack)


def test_job_with_one_result_has_no_rows(client: httpx2.Client) -> None:
    single = finished_single(client)

    answer = client.get(f"/jobs/{single['id']}/results/")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_rows_are_for_those_who_may_see_the_job(stack: RunningStack, mixed: dict[str, Any]) -> None:
    for key, status in (("llm_read", 403), ("wrong_scope", 403)):
        with stack.client(key) as other:
            assert other.get(f"/jobs/{mixed['id']}/results/").status_code == status
            assert other.post(f"/jobs/{mixed['id']}/retry/").status_code == status


def test_result_of_a_bulk_says_how_it_ended(client: httpx2.Client, mixed: dict[str, Any]) -> None:
    answer = client.get(f"/jobs/{mixed['id']}/result/")

    assert answer.status_code == 200
    assert answer.json()["progress"] == mixed["progress"]
    assert answer.json()["partial_failure"] is True
