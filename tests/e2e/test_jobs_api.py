"""Jobs over HTTP: list, look, wait, result, cancel, delete, and who may see them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest

from tests.e2e.matching import matches
from tests.e2e.payloads import SUMMARIZATION, TEXT_REPR, summary_request, text_request
from tests.e2e.provider import Provider, provider, provider_settings
from tests.running import RunningStack

ASYNC = {"Prefer": "respond-async"}
JOB_KEYS = [
    "id",
    "object",
    "kind",
    "state",
    "source",
    "parent_id",
    "schedule_id",
    "metadata",
    "created_at",
    "started_at",
    "finished_at",
    "expires_at",
    "cancel_requested",
    "attempt",
    "max_attempts",
    "progress",
    "partial_failure",
    "result_status",
    "error",
    "request_id",
    "links",
]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
ODD_IDS = [
    "job_",
    "job_01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "x",
    "1",
    "job_%00",
    "job_%27%20OR%201=1",
    "job_" + "A" * 500,
    "job_ä",
    "*",
    "JOB_01ARZ3NDEKTSV4RRFFQ69G5FAV",
]


@pytest.fixture(scope="module")
def fake() -> Iterator[Provider]:
    with provider() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(fake: Provider) -> Mapping[str, str]:
    # No call may time out, however slow the machine: enough of them would open the circuit breaker for all.
    slow = {"TRACEGIST_LLM_ATTEMPT_TIMEOUT_S": "30", "TRACEGIST_LLM_DEADLINE_S": "45"}
    return {**provider_settings(fake), **slow}


@pytest.fixture(autouse=True)
def _good_provider(fake: Provider) -> None:
    fake.reset()


def _start(client: httpx2.Client, path: str = TEXT_REPR, **changes: Any) -> dict[str, Any]:
    body = text_request(**changes) if path == TEXT_REPR else summary_request(**changes)
    answer = client.post(path, json=body, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def _ended(client: httpx2.Client, job: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/jobs/{job['id']}/", params={"wait": 30}).json()
    assert found["state"] in ("succeeded", "failed", "canceled", "expired")
    return found


def _failed_job(client: httpx2.Client, fake: Provider) -> dict[str, Any]:
    fake.script({"behaviour": "refusal"})
    return _ended(client, _start(client, SUMMARIZATION))


def _running_job(client: httpx2.Client, fake: Provider, *, latency_ms: int) -> dict[str, Any]:
    fake.configure(latency_ms=latency_ms)
    job = _start(client, SUMMARIZATION)
    _arrived(fake)
    return job


def _arrived(fake: Provider) -> None:
    """Wait for the test's own call: one of an earlier test may still be in flight."""
    deadline = time.monotonic() + 20
    while fake.stats()["requests"] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)


# the job ----------------------------------------------------------------------------------------------


def test_job_has_the_documented_members(client: httpx2.Client) -> None:
    job = _ended(client, _start(client))

    assert list(job) == JOB_KEYS
    assert re.fullmatch(r"job_[0-9A-Z]{26}", job["id"])
    assert (job["object"], job["kind"], job["state"], job["source"]) == (
        "job",
        "text_repr",
        "succeeded",
        "api",
    )
    assert (job["result_status"], job["error"], job["attempt"], job["metadata"]) == (200, None, 1, {})
    assert job["progress"]["total"] == job["progress"]["done"] == job["progress"]["succeeded"] == 1
    for name in ("created_at", "started_at", "finished_at", "expires_at"):
        assert TIME.fullmatch(job[name])
    assert job["created_at"] <= job["started_at"] <= job["finished_at"] < job["expires_at"]


def test_request_id_of_the_call_is_in_the_job(client: httpx2.Client) -> None:
    answer = client.post(TEXT_REPR, json=text_request(), headers={**ASYNC, "X-Request-Id": "my-request-0001"})

    assert answer.headers["x-request-id"] == "my-request-0001"
    assert answer.json()["request_id"] == "my-request-0001"


def test_request_body_is_not_in_the_job(client: httpx2.Client) -> None:
    body = text_request()

    answer = client.post(TEXT_REPR, json=body, headers=ASYNC)
    job = client.get(f"/jobs/{answer.json()['id']}/?wait=20")

    assert body["data"]["id"] not in answer.text + job.text
    assert "France" not in answer.text + job.text


def test_links_of_the_job_work(client: httpx2.Client) -> None:
    job = _ended(client, _start(client))

    assert client.get(job["links"]["self"]).json()["id"] == job["id"]
    assert client.get(job["links"]["result"]).status_code == 200
    assert client.get(job["links"]["results"]).status_code == 404  # bulk jobs only
    assert client.post(job["links"]["cancel"]).status_code == 200


# waiting ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["query", "header"])
def test_waiting_for_a_job_ends_with_the_job(client: httpx2.Client, fake: Provider, how: str) -> None:
    fake.configure(latency_ms=400)
    job = _start(client, SUMMARIZATION)

    if how == "query":
        answer = client.get(f"/jobs/{job['id']}/?wait=30")
    else:
        answer = client.get(f"/jobs/{job['id']}/", headers={"Prefer": "wait=30"})

    assert answer.json()["state"] == "succeeded"
    if how == "header":
        assert answer.headers["preference-applied"] == "wait=30"


def test_a_wait_that_is_too_short_shows_the_job_as_it_is(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=2500)
    job = _start(client, SUMMARIZATION)

    answer = client.get(f"/jobs/{job['id']}/?wait=1")

    assert answer.status_code == 200
    assert answer.json()["state"] in ("queued", "running")
    assert answer.json()["finished_at"] is None
    assert _ended(client, job)["state"] == "succeeded"


@pytest.mark.parametrize("wait", ["", "abc", "-1", "1.5", "٣", "9" * 30])
def test_odd_wait_is_no_error(client: httpx2.Client, wait: str) -> None:
    job = _ended(client, _start(client))

    assert client.get(f"/jobs/{job['id']}/", params={"wait": wait}).status_code == 200


# the result -------------------------------------------------------------------------------------------


def test_result_is_the_bytes_of_a_waiting_caller(client: httpx2.Client) -> None:
    body = text_request()
    job = client.post(TEXT_REPR, json=body, headers=ASYNC).json()
    _ended(client, job)

    result = client.get(f"/jobs/{job['id']}/result/")
    cached = client.post(TEXT_REPR, json=body)

    assert result.status_code == 200
    assert result.headers["content-type"] == "application/json"
    assert result.content == cached.content == client.get(f"/jobs/{job['id']}/result").content


def test_result_of_a_summary_is_the_bytes_of_a_waiting_caller(client: httpx2.Client) -> None:
    answer = client.post(SUMMARIZATION, json=summary_request(), headers={"Prefer": "wait=30"})

    result = client.get(f"/jobs/{answer.json()['metadata']['job_id']}/result/")

    assert answer.status_code == result.status_code == 200
    assert result.content == answer.content


def test_result_before_the_end_is_the_job(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=1500)
    job = _start(client, SUMMARIZATION)

    answer = client.get(f"/jobs/{job['id']}/result/")

    assert answer.status_code == 202
    assert answer.json()["id"] == job["id"]
    assert int(answer.headers["retry-after"]) >= 1
    _ended(client, job)


def test_result_of_a_failed_job_is_its_failure(client: httpx2.Client, fake: Provider) -> None:
    fake.script({"behaviour": "refusal"})
    waited = client.post(SUMMARIZATION, json=summary_request())
    job_id = waited.json()["job_id"]

    job = client.get(f"/jobs/{job_id}/").json()
    result = client.get(f"/jobs/{job_id}/result/")

    assert (waited.status_code, result.status_code) == (502, 502)
    assert result.content == waited.content
    assert (job["state"], job["result_status"]) == ("failed", 502)
    assert job["error"]["code"] == "llm_refused"
    assert job["progress"]["failed"] == 1


# cancel and delete ------------------------------------------------------------------------------------


def test_canceling_what_has_ended_changes_nothing(client: httpx2.Client) -> None:
    job = _ended(client, _start(client))

    answers = [client.post(f"/jobs/{job['id']}/cancel/") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert all(answer.json() == job for answer in answers)


def test_canceling_what_runs_is_asked_for(client: httpx2.Client, fake: Provider) -> None:
    job = _running_job(client, fake, latency_ms=2000)

    first = client.post(f"/jobs/{job['id']}/cancel/")
    again = client.post(f"/jobs/{job['id']}/cancel/")
    ended = _ended(client, job)

    assert first.status_code == 202
    assert first.json()["cancel_requested"] is True
    assert again.status_code in (200, 202)
    assert ended["cancel_requested"] is True
    assert ended["state"] in ("canceled", "succeeded")  # a call in flight may finish and be kept


def test_canceled_job_stops_asking(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(behaviour="503", latency_ms=800)
    job = _start(client, SUMMARIZATION)
    _arrived(fake)

    client.post(f"/jobs/{job['id']}/cancel/")
    ended = _ended(client, job)

    assert ended["state"] == "canceled"
    assert fake.stats()["requests"] == 1


def test_result_of_a_canceled_job_is_a_conflict(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=6000)
    jobs = [_start(client, SUMMARIZATION) for _ in range(90)]  # more than the worker runs at once
    last = jobs[-1]["id"]

    canceled = client.post(f"/jobs/{last}/cancel/")
    result = client.get(f"/jobs/{last}/result/")
    fake.reset()
    for job in jobs:
        client.post(f"/jobs/{job['id']}/cancel/")

    assert canceled.status_code == 200
    assert canceled.json()["state"] == "canceled"
    assert canceled.json()["finished_at"]
    assert result.status_code == 409
    assert matches(result.json(), {"type": "invalid_request", "code": "job_canceled", "attr": None})
    for job in jobs:
        _ended(client, job)


def test_deleted_job_is_gone(client: httpx2.Client) -> None:
    job = _ended(client, _start(client))

    deleted = client.delete(f"/jobs/{job['id']}/")

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert client.get(f"/jobs/{job['id']}/").status_code == 404
    assert client.get(f"/jobs/{job['id']}/result/").status_code == 404
    assert client.delete(f"/jobs/{job['id']}/").status_code == 404
    assert job["id"] not in client.get("/jobs/?limit=1000").text


def test_active_job_is_not_deleted(client: httpx2.Client, fake: Provider) -> None:
    job = _running_job(client, fake, latency_ms=1500)

    answer = client.delete(f"/jobs/{job['id']}/")

    assert answer.status_code == 409
    assert answer.json()["code"] == "job_active"
    assert _ended(client, job)["state"] == "succeeded"


# lists ------------------------------------------------------------------------------------------------


def test_list_shows_promised_jobs(client: httpx2.Client) -> None:
    job = _ended(client, _start(client))

    rows = client.get("/jobs/?limit=1000").json()["results"]

    assert job in rows


def test_filters_choose_rows(client: httpx2.Client, fake: Provider) -> None:
    text, failed = _ended(client, _start(client)), _failed_job(client, fake)

    def ids(query: str) -> set[str]:
        answer = client.get(f"/jobs/?limit=1000&{query}")
        assert answer.status_code == 200, answer.text
        return {row["id"] for row in answer.json()["results"]}

    assert text["id"] in ids("kind=text_repr")
    assert failed["id"] not in ids("kind=text_repr")
    assert failed["id"] in ids("state=failed")
    assert text["id"] not in ids("state=failed")
    assert {text["id"], failed["id"]} <= ids("state=failed&state=succeeded&kind=text_repr&kind=summarization")
    assert {text["id"], failed["id"]} <= ids("source=api")
    assert ids("source=schedule") == set()
    assert ids("schedule_id=sch_none") == ids("parent_id=job_none") == set()
    assert text["id"] in ids("created_after=2020-01-01T00:00:00Z")
    assert text["id"] not in ids("created_before=2020-01-01T00:00:00Z")
    assert text["id"] in ids("created_after=2020-01-01T00:00:00+01:00")  # the sign arrives as a blank
    assert text["id"] not in ids("created_before=2020-01-01")
    assert text["id"] not in ids(f"created_after={failed['created_at']}")


@pytest.mark.parametrize(
    ("query", "attr", "code"),
    [
        ("kind=x", "kind", "invalid_choice"),
        ("state=x", "state", "invalid_choice"),
        ("state=failed&state=x", "state", "invalid_choice"),
        ("state=FAILED", "state", "invalid_choice"),
        ("source=x", "source", "invalid_choice"),
        ("created_after=soon", "created_after", "invalid_input"),
        ("created_before=2020-13-01T00:00:00Z", "created_before", "invalid_input"),
    ],
)
def test_odd_filter_is_refused(client: httpx2.Client, query: str, attr: str, code: str) -> None:
    answer = client.get(f"/jobs/?{query}")

    assert answer.status_code == 400
    assert matches(answer.json(), {"type": "validation_error", "code": code, "attr": attr})


@pytest.mark.parametrize("value", ["%00", "%ED%A0%80", "'%20OR%201=1--", "x" * 5000])
@pytest.mark.parametrize("name", ["schedule_id", "parent_id", "kind", "created_after"])
def test_no_filter_value_is_a_fault_of_ours(client: httpx2.Client, name: str, value: str) -> None:
    answer = client.get(f"/jobs/?{name}={value}")

    assert answer.status_code in (200, 400)


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59-23:59", "1969-12-31T23:59:59Z"]
)
@pytest.mark.parametrize("name", ["created_after", "created_before"])
def test_times_at_the_edges_are_no_fault_of_ours(client: httpx2.Client, name: str, moment: str) -> None:
    assert client.get(f"/jobs/?{name}={moment}").status_code in (200, 400)


# who may ----------------------------------------------------------------------------------------------

CALLS = [
    ("GET", ""),
    ("GET", "result/"),
    ("GET", "results/"),
    ("POST", "cancel/"),
    ("DELETE", ""),
]


@pytest.mark.parametrize(("method", "room"), CALLS)
@pytest.mark.parametrize("odd", ODD_IDS)
def test_unknown_and_odd_ids_are_not_found(client: httpx2.Client, method: str, room: str, odd: str) -> None:
    answer = client.request(method, f"/jobs/{odd}/{room}")

    assert answer.status_code == 404
    assert matches(answer.json(), {"type": "invalid_request", "code": "not_found", "attr": None})


@pytest.mark.parametrize(("method", "room"), CALLS)
def test_foreign_project_sees_nothing(
    stack: RunningStack, client: httpx2.Client, method: str, room: str
) -> None:
    job = _ended(client, _start(client))
    other = stack.projects["other"]
    with stack.client("other_project") as foreign:
        in_ours = foreign.request(method, f"/jobs/{job['id']}/{room}")
        in_theirs = foreign.request(method, f"{stack.url}/api/environments/{other}/jobs/{job['id']}/{room}")

    assert in_ours.status_code == 403
    assert in_theirs.status_code == 404
    assert job["id"] not in in_ours.text + in_theirs.text
    assert client.get(f"/jobs/{job['id']}/").json() == job


def test_foreign_list_has_none_of_our_jobs(stack: RunningStack, client: httpx2.Client) -> None:
    job = _ended(client, _start(client))
    with stack.client("other_project") as foreign:
        page = foreign.get(f"{stack.url}/api/environments/{stack.projects['other']}/jobs/?limit=1000")

    assert page.status_code == 200
    assert job["id"] not in page.text


def test_caches_are_not_shared_between_projects(
    stack: RunningStack, client: httpx2.Client, fake: Provider
) -> None:
    text, summary = text_request(), summary_request()
    ours = [client.post(path, json=body) for path, body in ((TEXT_REPR, text), (SUMMARIZATION, summary))]
    with stack.client("other_project") as foreign:
        home = f"{stack.url}/api/environments/{stack.projects['other']}"
        theirs = [foreign.post(home + TEXT_REPR, json=text), foreign.post(home + SUMMARIZATION, json=summary)]

    assert [answer.status_code for answer in (*ours, *theirs)] == [200] * 4
    assert "x-cache" not in theirs[0].headers
    assert theirs[1].json()["metadata"]["cache"]["status"] == "miss"
    assert fake.stats()["requests"] == 2


def test_members_of_a_project_share_jobs(stack: RunningStack, client: httpx2.Client) -> None:
    job = _ended(client, _start(client))
    with stack.client("other_user") as colleague:
        assert colleague.get(f"/jobs/{job['id']}/").json() == job
        assert colleague.get(f"/jobs/{job['id']}/result/").status_code == 200


@pytest.mark.parametrize("key", ["wrong_scope", "no_scopes", "llm_read", "folder_write", "pinned"])
@pytest.mark.parametrize(("method", "room"), CALLS)
def test_key_without_the_scopes_learns_nothing(
    stack: RunningStack, client: httpx2.Client, key: str, method: str, room: str
) -> None:
    job = _ended(client, _start(client))
    with stack.client(key) as weak:
        known = weak.request(method, f"/jobs/{job['id']}/{room}")
        unknown = weak.request(method, f"/jobs/job_01ARZ3NDEKTSV4RRFFQ69G5FAV/{room}")
        listed = weak.get("/jobs/")

    assert {known.status_code, unknown.status_code, listed.status_code} == {403}
    assert known.json() == unknown.json()


def test_key_with_the_scope_of_the_kind_is_enough(stack: RunningStack) -> None:
    with stack.client("llm_write") as weak:
        job = _ended(weak, _start(weak))

        assert weak.get(f"/jobs/{job['id']}/result/").status_code == 200
        assert job["id"] in weak.get("/jobs/?limit=1000").text
        assert weak.delete(f"/jobs/{job['id']}/").status_code == 204
