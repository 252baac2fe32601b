"""Events of jobs over HTTP: what a listener hears, from where, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.e2e.listening import listen
from tests.e2e.payloads import SUMMARIZATION, TEXT_REPR, summary_request, text_request
from tests.e2e.provider import Provider, provider, provider_settings
from tests.running import RunningStack


@pytest.fixture(scope="module")
def fake() -> Iterator[Provider]:
    with provider() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(fake: Provider) -> Mapping[str, str]:
    return {**provider_settings(fake), "TRACEGIST_LLM_ATTEMPT_TIMEOUT_S": "20"}


@pytest.fixture(autouse=True)
def _good_provider(fake: Provider) -> None:
    fake.reset()


def _start(client: httpx2.Client, path: str = TEXT_REPR) -> str:
    body = text_request() if path == TEXT_REPR else summary_request()
    return str(client.post(path, json=body, headers={"Prefer": "respond-async"}).json()["id"])


def test_finished_job_replays_and_ends(client: httpx2.Client) -> None:
    job_id = _start(client)
    job = client.get(f"/jobs/{job_id}/?wait=20").json()

    heard = listen(client, job_id)

    assert [event.name for event in heard] == ["state", "progress"] * 3 + ["done"]
    assert [event.id for event in heard] == list(range(1, 8))
    assert [event.data["state"] for event in heard if event.name == "state"] == [
        "queued",
        "running",
        "succeeded",
    ]
    assert heard[-2].data == job["progress"]
    assert heard[-1].data == job


def test_answer_is_an_event_stream_that_nobody_buffers(client: httpx2.Client) -> None:
    job_id = _start(client)
    client.get(f"/jobs/{job_id}/?wait=20")

    answer = client.get(f"/jobs/{job_id}/events/")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.text.startswith("retry: 3000\n\n")


def test_listener_hears_the_job_live(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=1500)
    job_id = _start(client, SUMMARIZATION)

    heard = listen(client, job_id)

    assert [event.name for event in heard][-1] == "done"
    assert heard[-1].data["state"] == "succeeded"
    assert [event.id for event in heard] == list(range(1, len(heard) + 1))


@pytest.mark.parametrize("seen", [1, 4, 6])
def test_listener_resumes_after_the_last_event(client: httpx2.Client, seen: int) -> None:
    job_id = _start(client)
    client.get(f"/jobs/{job_id}/?wait=20")
    everything = listen(client, job_id)

    assert listen(client, job_id, **{"Last-Event-ID": str(seen)}) == everything[seen:]


def test_listener_who_heard_the_end_hears_nothing_more(client: httpx2.Client) -> None:
    job_id = _start(client)
    client.get(f"/jobs/{job_id}/?wait=20")

    assert listen(client, job_id, **{"Last-Event-ID": "7"}) == []


@pytest.mark.parametrize("odd", ["", "x", "-1", "1.5", "9" * 40])
def test_odd_last_event_id_is_no_error(client: httpx2.Client, odd: str) -> None:
    job_id = _start(client)
    client.get(f"/jobs/{job_id}/?wait=20")

    assert len(listen(client, job_id, **{"Last-Event-ID": odd})) == 7


def test_job_without_a_promise_tells_how_it_ended(client: httpx2.Client) -> None:
    answer = client.post(SUMMARIZATION, json=summary_request())

    heard = listen(client, answer.json()["metadata"]["job_id"])

    assert [(event.id, event.name) for event in heard] == [(1, "state"), (2, "progress"), (3, "done")]


def test_cancel_is_heard(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(behaviour="503", latency_ms=800)
    job_id = _start(client, SUMMARIZATION)
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(listen, client, job_id)
        client.post(f"/jobs/{job_id}/cancel/")
        heard = listening.result()

    assert heard[-1].data["state"] == "canceled"


def test_many_listeners_all_hear_the_end(stack: RunningStack, client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=1500)
    job_id = _start(client, SUMMARIZATION)
    limits = httpx2.Limits(max_connections=60)
    headers = {"Authorization": f"Bearer {stack.keys['valid']}"}
    with (
        httpx2.Client(base_url=client.base_url, headers=headers, timeout=60, limits=limits) as many,
        ThreadPoolExecutor(50) as pool,
    ):
        heard = list(pool.map(lambda _: listen(many, job_id), range(50)))

    assert all(events == heard[0] for events in heard)
    assert heard[0][-1].name == "done"


def test_head_does_not_wait_for_the_job(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=3000)
    job_id = _start(client, SUMMARIZATION)

    answer = client.head(f"/jobs/{job_id}/events/")
    state = client.get(f"/jobs/{job_id}/").json()["state"]

    assert answer.status_code == 200
    assert answer.content == b""
    assert state in ("queued", "running")


def test_events_are_for_those_who_may_read_the_job(stack: RunningStack, client: httpx2.Client) -> None:
    job_id = _start(client)
    with stack.client("other_project") as foreign, stack.client("logs_read") as weak:
        statuses = [
            foreign.get(f"/jobs/{job_id}/events/").status_code,
            weak.get(f"/jobs/{job_id}/events/").status_code,
            client.get("/jobs/job_01ARZ3NDEKTSV4RRFFQ69G5FAV/events/").status_code,
        ]

    assert statuses == [403, 403, 404]


def test_shim_goes_on_after_listeners_hang_up(client: httpx2.Client, fake: Provider) -> None:
    fake.configure(latency_ms=2500)
    job_id = _start(client, SUMMARIZATION)
    for _ in range(20):
        with client.stream("GET", f"/jobs/{job_id}/events/") as answer:
            next(answer.iter_lines())

    deadline = time.monotonic() + 30
    while client.get(f"/jobs/{job_id}/").json()["finished_at"] is None and time.monotonic() < deadline:
        time.sleep(0.1)

    assert listen(client, job_id)[-1].name == "done"
