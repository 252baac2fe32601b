"""A key of another project: on every documented route it sees 403 or 404, and none of the data.

The routes are taken from the OpenAPI document, so a new one is tested without being added here. Objects of
the project `main` hold a word that nobody else knows; it must be in no answer to anybody else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest

from api_shim.app import create_app
from config.settings import Settings
from tests.running import RunningStack

CANARY = "tenant-canary-7f3a"
ROUTES = sorted(
    (method.upper(), path)
    for path, operations in create_app(Settings()).openapi()["paths"].items()
    for method in operations
    if "{project_id}" in path
)
STREAMS_S = 20


@pytest.fixture(scope="module")
def stack_settings() -> Mapping[str, str]:
    return {"TRACEGIST_WEBHOOK_ALLOW_PRIVATE": "1"}


@pytest.fixture(scope="module")
def owned(stack: RunningStack) -> dict[str, str]:
    """One object of every kind in `main`, by the name of its path parameter."""
    with stack.client() as client:
        event = {"id": CANARY, "event": "$ai_generation", "properties": {"$ai_input": CANARY}}
        asked = {"summarize_type": "event", "data": {"event": event}}
        job = _made(client, "/llm_analytics/summarization/", asked, {"Prefer": "respond-async"})
        folder = _made(client, "/persisted_folder/", {"type": "pinned", "path": CANARY})
        webhook = _made(
            client,
            "/webhooks/",
            {"url": "http://127.0.0.1:9/hook", "events": ["job.failed"], "description": CANARY},
        )
        schedule = _made(
            client,
            "/schedules/",
            {"name": CANARY, "kind": "logs.sparkline", "request": {"query": {}}, "interval_seconds": 3600},
        )
        record = {"body": CANARY, "service_name": CANARY, "attributes": {CANARY: CANARY}}
        stored = client.post(
            "/logs/import/", content=json.dumps(record), headers={"Content-Type": "application/x-ndjson"}
        )
        assert stored.json()["accepted"] == 1
        client.get(f"/jobs/{job}/?wait=30")
        found = client.post("/logs/query/", json={"query": {}}).json()["results"]
        assert [record["body"] for record in found] == [CANARY]
    return {
        "job_id": job,
        "folder_id": folder,
        "webhook_id": webhook,
        "schedule_id": schedule,
        "integration_id": "1",
        "delivery_id": "dlv_1",
    }


def _made(
    client: httpx2.Client, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> str:
    answer = client.post(path, json=dict(body), headers=headers)
    assert answer.status_code in (200, 201, 202), answer.text
    return str(answer.json()["id"])


@pytest.fixture(scope="module")
def foreign(stack: RunningStack) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {stack.keys['other_project']}"}
    with httpx2.Client(base_url=stack.url, headers=headers, timeout=60) as client:
        yield client


def _ask(client: httpx2.Client, method: str, path: str) -> tuple[int, str]:
    """Status and text; of a stream only what comes before it is closed."""
    body = {} if method in ("POST", "PUT", "PATCH") else None
    timeout = httpx2.Timeout(60, read=STREAMS_S)
    with client.stream(method, path, json=body, timeout=timeout, follow_redirects=False) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer.status_code, next(answer.iter_text(), "")
        answer.read()
        return answer.status_code, answer.text


def _filled(path: str, project_id: int, owned: Mapping[str, str]) -> str:
    values = {"project_id": str(project_id), **owned}
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], path)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_foreign_project_is_closed(
    stack: RunningStack, foreign: httpx2.Client, owned: dict[str, str], method: str, path: str
) -> None:
    status, text = _ask(foreign, method, _filled(path, stack.projects["main"], owned))

    assert status in (403, 404)
    assert CANARY not in text


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route[1].count("{") > 1])
def test_objects_of_another_project_are_not_found(
    stack: RunningStack, foreign: httpx2.Client, owned: dict[str, str], method: str, path: str
) -> None:
    status, text = _ask(foreign, method, _filled(path, stack.projects["other"], owned))

    assert status in (400, 404)  # what is wrong with the body itself may be said first
    assert CANARY not in text


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route[1].count("{") == 1])
def test_own_project_shows_nothing_of_another(
    stack: RunningStack, foreign: httpx2.Client, owned: dict[str, str], method: str, path: str
) -> None:
    status, text = _ask(foreign, method, _filled(path, stack.projects["other"], owned))

    assert status < 500
    assert CANARY not in text


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_unknown_project_is_not_found(
    foreign: httpx2.Client, owned: dict[str, str], method: str, path: str
) -> None:
    assert _ask(foreign, method, _filled(path, 999_999, owned))[0] == 404


def test_everything_is_still_there(stack: RunningStack, owned: dict[str, str]) -> None:
    with stack.client() as client:
        answers = [
            client.get(f"/{place}/{owned[name]}/")
            for place, name in (
                ("jobs", "job_id"),
                ("persisted_folder", "folder_id"),
                ("webhooks", "webhook_id"),
                ("schedules", "schedule_id"),
            )
        ]

    assert [answer.status_code for answer in answers] == [200] * 4
