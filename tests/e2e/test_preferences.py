"""`Prefer`: what is honoured, what is echoed, what is ignored."""

from __future__ import annotations

import httpx2
import pytest

from tests.e2e.payloads import SUMMARIZATION, TEXT_REPR, summary_request, text_request

# Header, status of a miss that a worker answers in milliseconds, what is echoed.
HONOURED = [
    ("respond-async", 202, "respond-async"),
    ("RESPOND-ASYNC", 202, "respond-async"),
    ("Respond-Async ; note=x", 202, "respond-async"),
    ("wait=0", 202, "wait=0"),
    ("wait=20", 200, "wait=20"),
    ("WAIT=20", 200, "wait=20"),
    ('wait="20"', 200, "wait=20"),
    ("wait = 20", 200, "wait=20"),
    ("wait=99", 200, "wait=60"),
    ("wait=999999999999999999999999999", 200, "wait=60"),
    ("respond-async, wait=20", 200, "respond-async, wait=20"),
    ("wait=20, respond-async", 200, "respond-async, wait=20"),
    ("respond-async,wait=0", 202, "respond-async, wait=0"),
    ("wait=20, wait=0", 200, "wait=20"),
    ("respond-async, respond-async", 202, "respond-async"),
    ("return=minimal, wait=20, foo", 200, "wait=20"),
]
IGNORED = [
    "",
    "return=representation",
    "wait",
    "wait=",
    "wait=-1",
    "wait=1.5",
    "wait=soon",
    "wait=1e3",
    "wait=٣",
    "respond-async=false",
    "async",
    ",,;=",
    "=;=",
]


@pytest.mark.parametrize(("header", "status", "applied"), HONOURED)
def test_preference_is_honoured_and_echoed(
    client: httpx2.Client, header: str, status: int, applied: str
) -> None:
    answer = client.post(TEXT_REPR, json=text_request(), headers={"Prefer": header})

    assert answer.status_code == status
    assert answer.headers["preference-applied"] == applied
    assert "prefer" in answer.headers["vary"].lower()


@pytest.mark.parametrize("header", IGNORED)
def test_odd_preference_is_ignored(client: httpx2.Client, header: str) -> None:
    answer = client.post(TEXT_REPR, json=text_request(), headers={"Prefer": header.encode()})

    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers


def test_of_two_headers_the_first_counts(client: httpx2.Client) -> None:
    headers = [("Prefer", "wait=20"), ("Prefer", "respond-async, wait=0")]

    answer = client.post(TEXT_REPR, json=text_request(), headers=headers)

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "respond-async, wait=20"


def test_accepted_says_where_and_when_to_look(client: httpx2.Client) -> None:
    answer = client.post(TEXT_REPR, json=text_request(), headers={"Prefer": "respond-async"})

    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == job["links"]["self"]
    assert job["links"]["self"].endswith(f"/jobs/{job['id']}/")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["cache-control"] == "no-store"


ALWAYS = [(SUMMARIZATION, summary_request, header) for header in ("respond-async", "wait=0")]
WAITING = [
    (path, make, header)
    for path, make in ((TEXT_REPR, text_request), (SUMMARIZATION, summary_request))
    for header in ("wait=5", "respond-async, wait=5")
]


def test_a_text_that_is_wanted_as_a_job_is_one_also_when_it_is_cached(client: httpx2.Client) -> None:
    body = text_request()
    cached = client.post(TEXT_REPR, json=body)

    again = client.post(TEXT_REPR, json=body, headers={"Prefer": "respond-async"})

    assert (cached.status_code, again.status_code) == (200, 202)


@pytest.mark.parametrize(("path", "make", "header"), [*ALWAYS, *WAITING])
def test_what_the_cache_has_is_answered_at_once(
    client: httpx2.Client, path: str, make: type, header: str
) -> None:
    body = make()
    first = client.post(path, json=body)

    again = client.post(path, json=body, headers={"Prefer": header})

    assert first.status_code == again.status_code == 200
    assert again.headers["x-cache"] == "hit"
    assert again.headers["preference-applied"] == header


def test_without_prefer_no_job_is_in_sight(client: httpx2.Client) -> None:
    answer = client.post(TEXT_REPR, json=text_request())

    assert answer.status_code == 200
    assert set(answer.json()) == {"text", "metadata"}
    assert "location" not in answer.headers


def test_refused_request_makes_no_job(client: httpx2.Client) -> None:
    before = client.get("/jobs/").json()["count"]

    answers = [
        client.post(TEXT_REPR, json=text_request(event_type="x"), headers={"Prefer": "respond-async"}),
        client.post(TEXT_REPR, content=b"{", headers={"Prefer": "respond-async"}),
        client.post(SUMMARIZATION, json={}, headers={"Prefer": "respond-async"}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert client.get("/jobs/").json()["count"] == before
