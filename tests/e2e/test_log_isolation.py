"""Two projects with the same records: no request of one ever shows or counts those of the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.e2e.logs_support import ALL_TIME, lines_of, listed, project_client, upload
from tests.running import RunningStack

SERVICE = "isolated"
PROJECTS = (("valid", "main"), ("other_project", "other"))


def records_of(project: str) -> list[dict[str, Any]]:
    """Equal in both projects, but for one that only its own project has, twice as many in `other`."""
    shared = [
        {"timestamp": f"2026-03-01T00:{number:02d}:00Z", "body": "shared", "service_name": SERVICE}
        for number in range(30)
    ]
    secret = {
        "timestamp": "2026-03-01T00:10:30Z",
        "body": f"secret of {project}",
        "service_name": SERVICE,
        "attributes": {f"key.{project}": f"value of {project}", "common": project},
        "resource_attributes": {f"resource.{project}": "r"},
    }
    return [*shared, *[secret] * (2 if project == "other" else 1)]


@pytest.fixture(scope="module")
def clients(stack: RunningStack) -> Iterator[dict[str, httpx2.Client]]:
    with project_client(stack, *PROJECTS[0]) as main, project_client(stack, *PROJECTS[1]) as other:
        opened = {"main": main, "other": other}
        for name, client in opened.items():
            upload(client, lines_of(records_of(name)))
        yield opened


def filtered(**fields: Any) -> dict[str, Any]:
    return {"query": {"dateRange": ALL_TIME, "serviceNames": [SERVICE], **fields}}


def listing(**parameters: str) -> dict[str, str]:
    return {"dateRange": json.dumps(ALL_TIME), "serviceNames": json.dumps([SERVICE]), **parameters}


ASKED: dict[str, Callable[[httpx2.Client], httpx2.Response]] = {
    "query": lambda client: client.post("/logs/query", json=filtered()),
    "query with a filter of its own": lambda client: client.post(
        "/logs/query",
        json=filtered(filterGroup={"type": "OR", "values": [_body("secret"), _body("shared")]}),
    ),
    "sparkline from the rollup": lambda client: client.post("/logs/sparkline", json=filtered()),
    "sparkline from the records": lambda client: client.post(
        "/logs/sparkline", json=filtered(searchTerm="secret", sparklineBreakdownBy="service")
    ),
    "count": lambda client: client.post("/logs/count", json=filtered()),
    "export": lambda client: client.post("/logs/export", json={**filtered(), "format": "ndjson"}),
    "export as CSV": lambda client: client.post("/logs/export", json={**filtered(), "format": "csv"}),
    "keys from the rollup": lambda client: client.get("/logs/attributes", params=listing()),
    "keys from the records": lambda client: client.get(
        "/logs/attributes", params=listing(search="secret", search_values="true")
    ),
    "resource keys": lambda client: client.get("/logs/attributes", params=listing(attribute_type="resource")),
    "values": lambda client: client.get("/logs/values", params=listing(key="common")),
    "context": lambda client: client.get("/logs/context", params=_place(client)),
}


def _body(text: str) -> dict[str, str]:
    return {"type": "log", "key": "body", "operator": "icontains", "value": text}


def _place(client: httpx2.Client) -> dict[str, str]:
    found = listed(client, {"dateRange": ALL_TIME, "serviceNames": [SERVICE], "searchTerm": "shared"})
    return {"uuid": found[0]["uuid"], "timestamp": found[0]["timestamp"], "before": "50", "after": "50"}


@pytest.mark.parametrize("asked", ASKED)
def test_answer_holds_nothing_of_the_other_project(clients: dict[str, httpx2.Client], asked: str) -> None:
    answers = {name: ASKED[asked](client) for name, client in clients.items()}

    for name, other in (("main", "other"), ("other", "main")):
        assert answers[name].status_code == 200, answers[name].text
        for mark in (f"secret of {other}", f"key.{other}", f"value of {other}", f"resource.{other}"):
            assert mark not in answers[name].text


def test_counts_are_those_of_the_project(clients: dict[str, httpx2.Client]) -> None:
    for name, count in (("main", 31), ("other", 32)):
        client = clients[name]
        assert len(listed(client, filtered()["query"])) == count
        assert client.post("/logs/count", json=filtered()).json()["count"] == count
        rows = client.post("/logs/sparkline", json=filtered()).json()
        assert sum(row["count"] for row in rows) == count
        values = client.get("/logs/values", params=listing(key="common")).json()["results"]
        assert values == [{"id": name, "name": name, "count": count - 30}]


def test_record_of_the_other_project_is_not_found(clients: dict[str, httpx2.Client]) -> None:
    secret = listed(clients["other"], filtered(searchTerm="secret")["query"])[0]
    place = {"uuid": secret["uuid"], "timestamp": secret["timestamp"]}

    assert clients["other"].get("/logs/context", params=place).status_code == 200
    assert clients["main"].get("/logs/context", params=place).status_code == 404


def test_cursor_of_the_other_project_opens_nothing(clients: dict[str, httpx2.Client]) -> None:
    page = clients["other"].post("/logs/query", json=filtered(limit=1)).json()

    answer = clients["main"].post("/logs/query", json=filtered(after=page["nextCursor"]))

    assert "other" not in answer.json()["results"][0]["body"]
    assert "secret of other" not in answer.text


@pytest.mark.parametrize("path", ["query", "sparkline", "count", "export", "import", "rollups/rebuild"])
def test_address_of_the_other_project_is_closed(stack: RunningStack, path: str) -> None:
    with stack.client("other_project") as client:
        answer = client.post(f"/logs/{path}", json={})

    assert answer.status_code == 403
    assert answer.json()["error"] == answer.json()["detail"]
