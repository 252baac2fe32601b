"""Requests with an `Idempotency-Key`, sent once more: the answers, and that the work is done once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.e2e.matching import error_faults
from tests.e2e.payloads import SUMMARIZATION, TEXT_REPR, summary_request, text_request
from tests.e2e.provider import Provider, provider, provider_settings
from tests.running import RunningStack


@pytest.fixture(scope="module")
def fake() -> Iterator[Provider]:
    with provider() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(fake: Provider) -> Mapping[str, str]:
    return {**provider_settings(fake), "TRACEGIST_SYNC_WAIT_S": "4", "TRACEGIST_LLM_ATTEMPT_TIMEOUT_S": "20"}


@pytest.fixture(autouse=True)
def _good_provider(fake: Provider) -> None:
    fake.reset()


@pytest.fixture
def key() -> str:
    return f"key-{uuid.uuid4()}"


def _send(
    client: httpx2.Client, key: str, body: Any, path: str = SUMMARIZATION, **headers: str
) -> httpx2.Response:
    return client.post(path, json=body, headers={"Idempotency-Key": key, **headers})


def _wait_for_call(fake: Provider) -> None:
    deadline = time.monotonic() + 20
    while fake.stats()["requests"] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)


def test_repeat_gets_the_same_bytes_for_nothing(client: httpx2.Client, fake: Provider, key: str) -> None:
    body = summary_request(force_refresh=True)

    first, again = _send(client, key, body), _send(client, f'"{key}"', body)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.content == again.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert fake.stats()["requests"] == 1


def test_repeat_of_an_accepted_job_is_the_job_as_it_is_now(client: httpx2.Client, key: str) -> None:
    body = text_request()

    first = _send(client, key, body, TEXT_REPR, Prefer="respond-async")
    client.get(f"/jobs/{first.json()['id']}/?wait=20")
    again = _send(client, key, body, TEXT_REPR, Prefer="respond-async")

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["state"] == "succeeded"
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"


def test_other_body_is_refused(client: httpx2.Client, key: str) -> None:
    _send(client, key, text_request(), TEXT_REPR)

    refused = _send(client, key, text_request(), TEXT_REPR)

    assert refused.status_code == 422
    assert refused.json()["code"] == "idempotency_key_reused"
    assert list(error_faults(refused.json())) == []


def test_repeat_during_the_wait_is_a_conflict(client: httpx2.Client, fake: Provider, key: str) -> None:
    fake.configure(latency_ms=1500)
    body = summary_request()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_send, client, key, body)
        _wait_for_call(fake)
        meanwhile = _send(client, key, body)
        answered = first.result()
    again = _send(client, key, body)

    assert meanwhile.status_code == 409
    assert meanwhile.json()["code"] == "idempotency_in_progress"
    assert meanwhile.headers["retry-after"] == "1"
    assert meanwhile.headers["location"].endswith(f"/jobs/{answered.json()['metadata']['job_id']}/")
    assert client.get(meanwhile.headers["location"]).json()["state"] == "succeeded"
    assert again.content == answered.content
    assert fake.stats()["requests"] == 1


def test_one_of_many_at_once_works(client: httpx2.Client, fake: Provider, key: str) -> None:
    fake.configure(latency_ms=300)
    body = summary_request(force_refresh=True)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: _send(client, key, body), range(8)))

    assert sorted({answer.status_code for answer in answers} | {409}) == [200, 409]
    assert fake.stats()["requests"] == 1


def test_repeat_after_the_wait_gets_the_result(client: httpx2.Client, fake: Provider, key: str) -> None:
    fake.configure(latency_ms=5000)
    body = summary_request()

    first = _send(client, key, body)
    again = _send(client, key, body)

    assert (first.status_code, again.status_code) == (504, 200)
    assert again.json()["metadata"]["job_id"] == first.json()["job_id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert fake.stats()["requests"] == 1


def test_failure_of_the_work_is_remembered(client: httpx2.Client, fake: Provider, key: str) -> None:
    fake.script({"behaviour": "refusal"})
    body = summary_request()

    first, again = _send(client, key, body), _send(client, key, body)

    assert (first.status_code, again.status_code) == (502, 502)
    assert first.content == again.content


def test_refused_request_is_not_remembered(client: httpx2.Client, key: str) -> None:
    refused = _send(client, key, {"event_type": "nonsense"}, TEXT_REPR)
    good = _send(client, key, text_request(), TEXT_REPR)

    assert (refused.status_code, good.status_code) == (400, 200)
    assert "idempotent-replayed" not in good.headers


def test_answer_from_the_cache_is_remembered(client: httpx2.Client, key: str) -> None:
    body = text_request()
    client.post(TEXT_REPR, json=body)

    first, again = _send(client, key, body, TEXT_REPR), _send(client, key, body, TEXT_REPR)

    assert first.headers["x-cache"] == again.headers["x-cache"] == "hit"
    assert first.content == again.content
    assert again.headers["content-type"] == "application/json"
    assert again.headers["idempotent-replayed"] == "true"


def test_key_belongs_to_the_user_the_project_and_the_address(
    stack: RunningStack, client: httpx2.Client, key: str
) -> None:
    body = text_request()
    _send(client, key, body, TEXT_REPR)
    elsewhere = f"{stack.url}/api/environments/{stack.projects['flag_off']}"
    same = f"{stack.url}/api/projects/{stack.projects['main']}"

    with stack.client("other_user") as colleague:
        answers = [
            _send(colleague, key, body, TEXT_REPR),
            _send(client, key, body, elsewhere + TEXT_REPR),
            _send(client, key, summary_request()),
        ]
    replayed = _send(client, key, body, same + TEXT_REPR)

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert all("idempotent-replayed" not in answer.headers for answer in answers)
    assert replayed.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("odd", ["", "two words", "x" * 256, '"open'])
def test_odd_key_is_refused(client: httpx2.Client, odd: str) -> None:
    refused = _send(client, odd, text_request(), TEXT_REPR)

    assert refused.status_code == 400
    assert (refused.json()["type"], refused.json()["code"]) == ("invalid_request", "invalid_idempotency_key")


def test_deleted_job_is_not_shown_again(client: httpx2.Client, key: str) -> None:
    body = text_request()
    job = _send(client, key, body, TEXT_REPR, Prefer="respond-async").json()
    client.get(f"/jobs/{job['id']}/?wait=20")
    client.delete(f"/jobs/{job['id']}/")

    again = _send(client, key, body, TEXT_REPR, Prefer="respond-async")

    assert (again.status_code, again.json()["code"]) == (410, "result_expired")


def test_large_body_is_told_from_another(client: httpx2.Client, key: str) -> None:
    body = text_request()
    body["data"]["properties"]["$ai_input"][0]["content"] = "x" * 1_000_000
    first, again = _send(client, key, body, TEXT_REPR), _send(client, key, body, TEXT_REPR)
    body["data"]["properties"]["$ai_input"][0]["content"] += "y"
    other = _send(client, key, body, TEXT_REPR)

    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 422)
    assert first.content == again.content
