"""Records, uploads and whole listings, for the tests of the log routes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import zstandard

from tests.running import RunningStack

DATA = Path(__file__).parents[1] / "data" / "logs"
NDJSON = {"Content-Type": "application/x-ndjson"}
ALL_TIME = {"date_from": "all", "date_to": "2100-01-01"}


def sample_lines() -> bytes:
    """The sample as a body of `logs/import`."""
    return zstandard.decompress((DATA / "acceptance_sample.ndjson.zst").read_bytes())


def sample() -> list[dict[str, Any]]:
    """The records of the sample file."""
    return [json.loads(line) for line in sample_lines().splitlines()]


def lines_of(records: Iterable[Mapping[str, Any]]) -> bytes:
    return "\n".join(json.dumps(record) for record in records).encode()


def project_client(stack: RunningStack, key: str, project: str) -> httpx2.Client:
    """A client of one project."""
    return httpx2.Client(
        base_url=f"{stack.url}/api/environments/{stack.projects[project]}",
        headers={"Authorization": f"Bearer {stack.keys[key]}"},
        timeout=90,
    )


def upload(client: httpx2.Client, content: bytes, **params: str) -> dict[str, Any]:
    answer = client.post("/logs/import", content=content, headers=NDJSON, params=params)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def ask(client: httpx2.Client, query: Mapping[str, Any]) -> dict[str, Any]:
    answer = client.post("/logs/query", json={"query": dict(query)})
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def listed(client: httpx2.Client, query: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All records of all pages; every page but the last is full and says that there is more."""
    records: list[dict[str, Any]] = []
    asked = dict(query)
    while True:
        page = ask(client, asked)
        records += page["results"]
        assert page["hasMore"] is (page["nextCursor"] is not None)
        if not page["hasMore"]:
            return records
        assert len(page["results"]) == min(asked.get("limit", 1000), 2000)
        asked["after"] = page["nextCursor"]


def counted(client: httpx2.Client, query: Mapping[str, Any]) -> int:
    """The sum over the sparkline."""
    answer = client.post("/logs/sparkline?fresh=true", json={"query": dict(query)})
    assert answer.status_code == 200, answer.text
    return sum(row["count"] for row in answer.json())


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def full(text: str) -> str:
    """A time with all six decimals."""
    return moment(text).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def canonical(record: Mapping[str, Any]) -> str:
    """The form of a record that the recorded digests are over."""
    parts = [
        full(record["timestamp"]),
        record["severity_text"],
        record["service_name"],
        record["body"],
        sorted(record["attributes"].items()),
        sorted(record["resource_attributes"].items()),
        _id_of(record["trace_id"]),
        _id_of(record["span_id"]),
    ]
    return json.dumps(parts, ensure_ascii=False)


def digest(records: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over the sorted forms, each followed by a newline."""
    total = hashlib.sha256()
    for form in sorted(map(canonical, records)):
        total.update(form.encode() + b"\n")
    return total.hexdigest()


def _id_of(text: str) -> str:
    return "" if not text.strip("0") else text.lower()
