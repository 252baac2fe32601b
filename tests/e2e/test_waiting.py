"""The wait of a caller ends before the work does: 504 with the job's address, and the job goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest

from tests.e2e.matching import matches
from tests.e2e.payloads import SUMMARIZATION, TEXT_REPR, summary_request
from tests.e2e.provider import Provider, provider, provider_settings

SLOW_MS = 2200


@pytest.fixture(scope="module")
def fake() -> Iterator[Provider]:
    with provider() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(fake: Provider) -> Mapping[str, str]:
    return provider_settings(fake, TRACEGIST_SYNC_WAIT_S="1", TRACEGIST_SUMMARY_CACHE_TTL_S="4")


@pytest.fixture(autouse=True)
def _good_provider(fake: Provider) -> None:
    fake.reset()


def _ended(client: httpx2.Client, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        job: dict[str, Any] = client.get(f"/jobs/{job_id}/", params={"wait": 1}).json()
        if job["finished_at"] or time.monotonic() > deadline:
            return job


def _slow_trace() -> dict[str, Any]:
    """A text request that takes a worker longer than a second: much to render."""
    message = {"role": "user", "content": "word " * 40}
    nodes = [
        {"event": {"id": str(place), "event": "$ai_generation", "properties": {"$ai_input": [message] * 60}}}
        for place in range(1200)
    ]
    trace = {"id": f"slow-{time.time_ns()}", "properties": {}}
    return {"event_type": "$ai_trace", "data": {"trace": trace, "hierarchy": nodes}}


def test_summary_that_is_not_ready_in_time(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=SLOW_MS)
    body = summary_request()

    answer = client.post(SUMMARIZATION, json=body)
    found = answer.json()
    job = _ended(client, found["job_id"])

    assert answer.status_code == 504
    assert matches(found, {"type": "server_error", "code": "llm_timeout", "attr": None})
    assert matches(found, {"error": "Failed to generate summary", "request_id": {"$type": "string"}})
    assert answer.headers["location"] == found["links"]["self"] == job["links"]["self"]
    assert answer.headers["retry-after"] == "5"
    assert "preference-applied" not in answer.headers
    assert (job["state"], job["result_status"]) == ("succeeded", 200)
    again = client.post(SUMMARIZATION, json=body)
    assert again.status_code == 200
    assert again.json()["metadata"]["cached"] is True
    assert client.get(f"/jobs/{job['id']}/result/").json()["summary"] == again.json()["summary"]
    assert fake.stats()["requests"] == 1


def test_repeat_joins_the_job_that_goes_on(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=SLOW_MS)
    body = summary_request()

    answers = [client.post(SUMMARIZATION, json=body) for _ in range(4)]

    statuses = [answer.status_code for answer in answers]
    assert statuses[0] == 504
    assert statuses[-1] == 200
    assert len({answer.json()["job_id"] for answer in answers if answer.status_code == 504}) == 1
    assert fake.stats()["requests"] == 1


def test_who_states_a_preference_gets_the_job(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=SLOW_MS)

    answer = client.post(SUMMARIZATION, json=summary_request(), headers={"Prefer": "wait=1"})

    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"
    assert _ended(client, answer.json()["id"])["state"] == "succeeded"


def test_text_that_is_not_ready_in_time(client: httpx2.Client) -> None:
    answers = [client.post(TEXT_REPR, json=_slow_trace()) for _ in range(2)]

    for answer in answers:
        assert answer.status_code in (200, 504)
        if answer.status_code == 504:
            found = answer.json()
            assert matches(found, {"type": "server_error", "code": "wait_timeout", "attr": None})
            assert answer.headers["location"] == found["links"]["self"]
            assert _ended(client, found["job_id"])["state"] == "succeeded"
            assert client.get(f"/jobs/{found['job_id']}/result/").status_code == 200


def test_longest_wait_is_the_setting(client: httpx2.Client) -> None:
    answer = client.post(SUMMARIZATION, json=summary_request(), headers={"Prefer": "wait=30"})

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=1"


def test_expired_summary_stands_in_for_a_failure(client: httpx2.Client, fake: Provider) -> None:
    body = summary_request()
    first = client.post(SUMMARIZATION, json=body).json()
    time.sleep(5)
    fake.script({"behaviour": "refusal"})

    stale = client.post(SUMMARIZATION, json=body)
    forced = client.post(SUMMARIZATION, json={**body, "force_refresh": True})

    assert stale.status_code == 200
    assert stale.json()["summary"] == first["summary"]
    assert stale.json()["metadata"]["cached"] is True
    assert stale.json()["metadata"]["cache"]["status"] == "stale_hit"
    assert stale.json()["metadata"]["charged_usd"] == 0
    assert forced.json()["metadata"]["cache"]["status"] == "refresh"


def test_expired_summary_is_made_again(client: httpx2.Client, fake: Provider) -> None:
    body = summary_request()
    client.post(SUMMARIZATION, json=body)
    time.sleep(5)

    again = client.post(SUMMARIZATION, json=body)

    assert again.json()["metadata"]["cache"]["status"] == "miss"
    assert fake.stats()["requests"] == 2


def test_changed_content_is_never_answered_with_the_expired_summary(
    client: httpx2.Client, fake: Provider
) -> None:
    body = summary_request()
    client.post(SUMMARIZATION, json=body)
    time.sleep(5)
    fake.script({"behaviour": "refusal"})
    body["data"]["event"]["properties"]["$ai_output_choices"] = "something else"

    answer = client.post(SUMMARIZATION, json=body)

    assert answer.status_code == 502
    assert answer.json()["code"] == "llm_refused"
