"""Pages give every record once, and the sparkline counts exactly what pages list."""

from __future__ import annotations

import os
import random
import uuid
from typing import Any

import httpx2
import pytest

from tests.e2e.logs_support import ask, counted, full, lines_of, listed, sample, sample_lines, upload

FILTERS = int(os.environ.get("TEST_LOG_FILTERS", "50"))
SEED = 20_260_301


@pytest.fixture(scope="module")
def logs(client: httpx2.Client) -> httpx2.Client:
    upload(client, sample_lines())
    return client


@pytest.mark.parametrize("order", ["latest", "earliest"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pages_of_any_size_give_every_record_once_and_in_order(
    logs: httpx2.Client, size: int, order: str
) -> None:
    # 94 records in an hour, many of them within one second.
    span = {"date_from": "2015-05-19T22:00:00Z", "date_to": "2015-05-19T22:59:59.999999Z"}
    expected = sorted(
        record["body"] for record in sample() if record["timestamp"].startswith("2015-05-19T22")
    )

    records = listed(logs, {"dateRange": span, "limit": size, "orderBy": order})

    assert sorted(record["body"] for record in records) == expected
    keys = [(full(record["timestamp"]), record["uuid"]) for record in records]
    assert keys == sorted(set(keys), reverse=order == "latest")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pages_of_one_microsecond_give_every_record_once(client: httpx2.Client, size: int) -> None:
    moment = "2026-03-02T00:00:00.000001Z"
    service = f"one microsecond {size}"
    records = [{"timestamp": moment, "body": f"{n}", "service_name": service} for n in range(150)]
    upload(client, lines_of(records))

    query = {"dateRange": {"date_from": moment, "date_to": moment}, "serviceNames": [service]}
    for order in ("latest", "earliest"):
        found = listed(client, {**query, "limit": size, "orderBy": order})
        assert sorted(int(record["body"]) for record in found) == list(range(150))


def test_a_page_that_is_asked_for_again_with_its_key_is_the_first_one(client: httpx2.Client) -> None:
    service = f"asked again {uuid.uuid4()}"
    record = {"timestamp": "2026-03-02T00:00:00Z", "body": "first", "service_name": service}
    query = {"dateRange": {"date_from": "2026-03-02", "date_to": "2026-03-03"}, "serviceNames": [service]}
    key = {"Idempotency-Key": service.replace(" ", "-")}
    upload(client, lines_of([record]))

    refused = client.post("/logs/query", json={"query": {**query, "limit": "x"}}, headers=key)
    first = client.post("/logs/query", json={"query": query}, headers=key)
    upload(client, lines_of([{**record, "body": "second"}]))
    again = client.post("/logs/query", json={"query": query}, headers=key)
    other = client.post("/logs/query", json={"query": {**query, "limit": 1}}, headers=key)

    assert (refused.status_code, first.status_code) == (400, 200)
    assert "idempotent-replayed" not in first.headers
    assert [found["body"] for found in first.json()["results"]] == ["first"]
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(ask(client, query)["results"]) == 2


def test_records_that_arrive_between_pages_do_not_disturb_them(client: httpx2.Client) -> None:
    service = "between pages"
    old = [
        {"timestamp": f"2026-03-02T00:00:{n:02d}Z", "body": f"{n}", "service_name": service} for n in range(9)
    ]
    new = [{"timestamp": "2026-03-02T01:00:00Z", "body": "new", "service_name": service}]
    query = {"dateRange": {"date_from": "2026-03-02", "date_to": "2026-03-03"}, "serviceNames": [service]}
    upload(client, lines_of(old))
    first = ask(client, {**query, "limit": 4})
    upload(client, lines_of(new))

    rest = listed(client, {**query, "limit": 4, "after": first["nextCursor"]})

    found = [record["body"] for record in [*first["results"], *rest]]
    assert found == [f"{n}" for n in range(8, -1, -1)]


@pytest.mark.timeout(60 + 4 * FILTERS)  # three questions each, on a machine that may be busy
def test_sum_of_the_sparkline_is_the_number_of_records(logs: httpx2.Client) -> None:
    chosen = random.Random(SEED)
    records = sample()
    wrong = []

    for _ in range(FILTERS):
        query = _random_query(chosen, records)
        by = chosen.choice(["severity", "service"])
        count = logs.post("/logs/count", json={"query": query}).json()["count"]
        total = counted(logs, {**query, "sparklineBreakdownBy": by})
        if not total == count == len(listed(logs, {**query, "limit": 2000, "excludeAttributes": True})):
            wrong.append((query, by, count, total))

    assert wrong == []


def _random_query(chosen: random.Random, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Filters that some record matches, over a range with odd ends."""
    like = chosen.choice(records)
    ends = sorted(chosen.choice(records)["timestamp"] for _ in range(2))
    fields: dict[str, Any] = {"dateRange": {"date_from": ends[0], "date_to": ends[1]}}
    if chosen.random() < 0.4:
        fields["severityLevels"] = chosen.sample(["info", "warn", "error", "debug"], 2)
    if chosen.random() < 0.4:
        fields["serviceNames"] = [like["service_name"], chosen.choice(records)["service_name"]]
    if chosen.random() < 0.3:
        start = chosen.randrange(max(1, len(like["body"]) - 5))
        fields["searchTerm"] = like["body"][start : start + chosen.randint(1, 5)]
    filters = [_random_filter(chosen, like) for _ in range(chosen.randint(0, 3))]
    if filters:
        fields["filterGroup"] = {"type": chosen.choice(["AND", "OR"]), "values": filters}
    return fields


def _random_filter(chosen: random.Random, like: dict[str, Any]) -> dict[str, Any]:
    if not like["attributes"] or chosen.random() < 0.3:
        operator = chosen.choice(["exact", "is_not", "icontains"])
        return {"type": "log", "key": "service_name", "operator": operator, "value": like["service_name"]}
    key, value = chosen.choice(sorted(like["attributes"].items()))
    operator = chosen.choice(
        ["exact", "is_not", "icontains", "not_icontains", "starts_with", "is_set", "is_not_set", "gt", "lte"]
    )
    number = chosen.randint(0, 500)
    told: Any = {"is_set": None, "is_not_set": None, "gt": number, "lte": number}.get(operator, value[:900])
    return {"type": "log_attribute", "key": key, "operator": operator, "value": told}
