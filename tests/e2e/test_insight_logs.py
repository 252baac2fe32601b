"""Questions about logs that were sent in over HTTP."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from tests.e2e.test_insight import ask, result

SERVICES = ("checkout", "mail", "checkout", "cart", "checkout", "mail")
LONG_S = 30.0


@pytest.fixture(scope="module")
def stored(client: httpx2.Client) -> int:
    """The number of records, all of the last minutes; half of them are warnings."""
    now = datetime.now(UTC)
    records = [
        {
            "timestamp": (now - timedelta(seconds=place)).isoformat(),
            "body": f"request {place} timeout" if place % 3 == 0 else f"request {place}",
            "severity_text": "warn" if place % 2 else "error",
            "service_name": SERVICES[place % len(SERVICES)],
            "attributes": {"latency": str(place * 10), "route": "/it's"},
        }
        for place in range(60)
    ]
    body = "\n".join(json.dumps(record) for record in records)
    answer = client.post("/logs/import", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.json()["accepted"] == len(records), answer.text
    deadline = time.monotonic() + LONG_S
    while time.monotonic() < deadline:
        if result(ask(client, "how many logs in the last hour"))["rows"] == [[len(records)]]:
            return len(records)
        time.sleep(0.2)
    raise AssertionError("the records are not found")


def test_counts_by_service(client: httpx2.Client, stored: int) -> None:
    found = result(ask(client, "how many logs by service in the last hour"))

    assert found["rows"] == [["checkout", 30], ["mail", 20], ["cart", 10]]


def test_a_series_sums_to_the_count(client: httpx2.Client, stored: int) -> None:
    found = result(ask(client, "How many warning logs per hour by service in the last 6 hours?"))

    assert found["columns"] == ["time", "service_name", "value"]
    assert sum(row[2] for row in found["rows"]) == stored // 2


def test_texts_and_attributes(client: httpx2.Client, stored: int) -> None:
    assert result(ask(client, 'how many messages mentioning "TIMEOUT"'))["rows"] == [[20]]
    assert result(ask(client, 'how many logs where route = "/it\'s"'))["rows"] == [[stored]]
    assert result(ask(client, 'max of "latency" in logs'))["rows"] == [[590]]
    assert result(ask(client, 'median of "latency" in logs'))["rows"] == [[295]]


def test_the_statement_binds_its_values(client: httpx2.Client, stored: int) -> None:
    found = result(ask(client, "how many errors", insight_type="sql"))

    assert found["rows"] == [[stored // 2]]
    assert "error" in found["parameters"].values()
    assert "'error'" not in found["sql"]
