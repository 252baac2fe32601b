"""Throttles over HTTP: which bucket a route counts in, what is refused, and what is told."""

from __future__ import annotations

import re
from collections.abc import Mapping

import httpx2
import pytest

from api_shim.app import create_app
from config.settings import Settings
from tests.e2e.matching import error_faults
from tests.e2e.payloads import SUMMARIZATION, TEXT_REPR, text_request
from tests.running import RunningStack

# A rate of its own for each bucket: the policy in an answer then names the bucket.
QUOTAS = {"default": 9000, "logs": 8000, "summarization": 7000, "insight": 6000}
OWN_BUCKETS = {
    "/api/environments/{project_id}/llm_analytics/text_repr/": "text_repr",
    "/api/environments/{project_id}/llm_analytics/summarization/": "summarization",
    "/api/environments/{project_id}/logs/query/": "logs",
    "/api/environments/{project_id}/logs/sparkline/": "logs",
    "/api/environments/{project_id}/logs/attributes/": "logs",
    "/api/environments/{project_id}/logs/values/": "logs",
    "/api/environments/{project_id}/max_tools/create_and_query_insight/": "insight",
}
OPERATIONS = [
    (method.upper(), path)
    for path, operations in create_app(Settings()).openapi()["paths"].items()
    for method in operations
    if path.startswith("/api/")
]


@pytest.fixture(scope="module")
def stack_settings() -> Mapping[str, str]:
    rates = {f"TRACEGIST_RATE_{name.upper()}": f"{quota}/hour" for name, quota in QUOTAS.items()}
    return {
        **rates,
        "TRACEGIST_RATE_LIMITS": "on",
        "TRACEGIST_RATE_TEXT_REPR": "3/hour,100/day",
        "TRACEGIST_AUTH_FAILURES": "4/hour",
        "TRACEGIST_TRUSTED_PROXIES": "127.0.0.0/8",
    }


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_route_counts_in_its_bucket(stack: RunningStack, method: str, path: str) -> None:
    address = re.sub(
        r"\{(\w+)\}", lambda found: str(stack.projects["main"]) if found[1] == "project_id" else "x", path
    )
    bucket = OWN_BUCKETS.get(path, "default")
    quota = {**QUOTAS, "text_repr": 3}[bucket]

    with stack.client("llm_write" if bucket == "text_repr" else "valid") as client:
        answer = client.request(method, stack.url + address, json={})

    assert answer.headers["ratelimit-policy"].startswith(f'"burst";q={quota};w=3600')
    assert re.match(r'"burst";r=\d+;t=\d+', answer.headers["ratelimit"])


def test_as_many_pass_as_the_rate_says_and_buckets_are_apart(stack: RunningStack) -> None:
    with stack.client("other_user") as client:
        answers = [client.post(TEXT_REPR, json=text_request()) for _ in range(5)]
        elsewhere = client.get("/jobs/")

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    refused = answers[-1]
    assert list(error_faults(refused.json())) == []
    assert (refused.json()["type"], refused.json()["code"]) == ("throttled_error", "throttled")
    assert 3500 < int(refused.headers["retry-after"]) <= 3600
    assert [answer.headers["ratelimit"].partition(",")[0].partition(";t")[0] for answer in answers] == [
        f'"burst";r={left}' for left in (2, 1, 0, 0, 0)
    ]
    assert elsewhere.status_code == 200


def test_throttle_comes_after_the_scope_and_before_the_body(stack: RunningStack) -> None:
    with stack.client("pinned") as pinned, stack.client("wrong_scope") as weak:
        home = f"{stack.url}/api/environments/{stack.projects['flag_off']}"
        allowed = [pinned.post(home + TEXT_REPR, content=b"{") for _ in range(4)]
        unscoped = [weak.post(TEXT_REPR, json={}) for _ in range(5)]
        switched_off = [pinned.post(home + SUMMARIZATION, json={}) for _ in range(2)]

    assert [answer.status_code for answer in allowed] == [400, 400, 400, 429]
    assert {answer.status_code for answer in unscoped} == {403}
    assert all("ratelimit" not in answer.headers for answer in (*unscoped, *switched_off))


def test_keys_that_are_not_valid_are_limited_by_address(stack: RunningStack) -> None:
    def ask(address: str, key: str) -> int:
        headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": f"192.0.2.1, {address}"}
        return httpx2.get(f"{stack.url}/api/projects/", headers=headers).status_code

    refused = [ask("203.0.113.9", "tgp_" + "x" * 54) for _ in range(6)]
    elsewhere = ask("203.0.113.10", "tgp_" + "x" * 54)
    valid = ask("203.0.113.9", stack.keys["valid"])

    assert refused == [401, 401, 401, 401, 429, 429]
    assert (elsewhere, valid) == (401, 200)


def test_operators_routes_are_not_counted(stack: RunningStack) -> None:
    for path in ("/_health", "/metrics", "/openapi.json"):
        assert "ratelimit" not in httpx2.get(stack.url + path).headers
    assert "throttled_total" in httpx2.get(f"{stack.url}/metrics").text
