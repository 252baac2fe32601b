"""Many callers at once, a full queue, and queues that nobody serves or that cannot be reached."""

from __future__ import annotations

import asyncio
import socket

import httpx2

from tests.faults.conftest import Provider, StartStack
from tests.faults.support import (
    ASYNC,
    RENDER,
    SUMMARIZE,
    Jobs,
    frozen,
    second_shim,
    summary_of,
    text_of,
    threads_of,
    wait_until,
    wait_until_ready,
)
from tests.running import RunningStack

CALLERS = 500


def test_five_hundred_callers_wait_in_one_process_without_a_thread_each(
    provider: Provider, start_stack: StartStack
) -> None:
    stack = start_stack({**provider.settings(), "TRACEGIST_LLM_CONCURRENCY": "512"})
    shim = stack.children()["shim"]
    statuses = asyncio.run(_ask_at_once(stack, 50))  # threads for short work are there now
    provider.configure(latency_ms=8000)
    before = threads_of(shim)
    highest: list[int] = []

    async def ask_and_look() -> list[int]:
        asking = asyncio.create_task(_ask_at_once(stack, CALLERS))
        while not asking.done():
            highest.append(threads_of(shim))
            await asyncio.sleep(0.5)
        return await asking

    statuses += asyncio.run(ask_and_look())

    assert statuses == [200] * (50 + CALLERS)
    assert provider.stats()["max_inflight"] > CALLERS / 2
    assert max(highest) <= before + 24  # the bound of the pools for short work, whatever the callers


async def _ask_at_once(stack: RunningStack, callers: int) -> list[int]:
    limits = httpx2.Limits(max_connections=callers)
    headers = {"Authorization": f"Bearer {stack.keys['valid']}"}
    async with httpx2.AsyncClient(limits=limits, headers=headers, timeout=90) as client:
        address = f"{stack.url}/api/environments/{stack.projects['main']}{SUMMARIZE}"

        async def ask(number: int) -> int:
            return (await client.post(address, json=summary_of(f"{callers}-{number}"))).status_code

        return list(await asyncio.gather(*(ask(number) for number in range(callers))))


def test_full_queue_refuses_and_takes_jobs_again_when_it_drains(start_stack: StartStack) -> None:
    stack = start_stack({"TRACEGIST_MAX_QUEUED": "3", **_LONG_LEASE})
    with stack.client() as client:
        jobs = Jobs(client)
        with frozen(stack.children()["worker:llm"]):
            for number in range(5):
                jobs.submit(SUMMARIZE, summary_of(f"order-{number}"))
            other_queue = client.post(RENDER, json=text_of("order"))
        wait_until(jobs.all_ended, "the end of the accepted jobs")
        jobs.submit(SUMMARIZE, summary_of("after"))
        jobs.assert_each_ends_once()

    assert len(jobs.accepted) == 4
    assert other_queue.status_code == 200
    for refused in jobs.refused:
        assert refused.status_code == 503
        assert (refused.json()["type"], refused.json()["code"]) == ("server_error", "queue_full")
        assert int(refused.headers["Retry-After"]) > 0


def test_queue_without_a_worker_refuses_at_once_and_recovers(start_stack: StartStack) -> None:
    stack = start_stack()
    with stack.client() as client, frozen(stack.children()["worker:llm"]):
        wait_until(lambda: _readiness(stack) == ["worker:llm"], "the loss to be noticed", seconds=30)

        not_ready = httpx2.get(f"{stack.url}/_ready", timeout=10)
        refused = client.post(SUMMARIZE, json=summary_of("order"), timeout=5)
        other_queue = client.post(RENDER, json=text_of("order"))
    wait_until_ready(stack)
    with stack.client() as client:
        answered = client.post(SUMMARIZE, json=summary_of("order"))
        listed = client.get("/jobs/", params={"kind": "summarization"}).json()

    _assert_unavailable(refused)
    assert list(not_ready.json()) == ["type", "code", "detail", "attr", "failing", "request_id"]
    assert (not_ready.status_code, not_ready.json()["code"]) == (503, "not_ready")
    assert other_queue.status_code == answered.status_code == 200
    assert listed["count"] <= 1  # the refused one left nothing


def test_upload_that_is_repeated_needs_no_worker(start_stack: StartStack) -> None:
    stack = start_stack()
    with stack.client() as client:
        first = _upload(client, key="once")
        with frozen(stack.children()["worker:llm.bulk"]):
            wait_until(lambda: _readiness(stack) == ["worker:llm.bulk"], "the loss to be noticed", seconds=30)
            repeat, other, keyed = _upload(client, key="once"), _upload(client), _upload(client, key="other")
        listed = client.get("/jobs/", params={"kind": "summarization.bulk"}).json()

    assert (first.status_code, repeat.status_code) == (202, 202)
    assert (repeat.headers["Idempotent-Replayed"], repeat.json()["id"]) == ("true", first.json()["id"])
    _assert_unavailable(other)
    _assert_unavailable(keyed)
    assert [job["id"] for job in listed["results"]] == [first.json()["id"]]


def _upload(client: httpx2.Client, *, key: str | None = None) -> httpx2.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(f"{SUMMARIZE}bulk/", json={"items": [summary_of("order")]}, headers=headers)


def test_broker_that_cannot_be_reached_is_said_within_seconds(start_stack: StartStack) -> None:
    stack = start_stack()
    with socket.socket() as refusing, socket.socket() as silent, stack.client() as client:
        for broker in (refusing, silent):
            broker.bind(("127.0.0.1", 0))
        silent.listen()  # takes connections and never says a word
        answers = _ask_without_broker(stack, refusing) + _ask_without_broker(stack, silent)
        listed = client.get("/jobs/").json()

    assert len(answers) == 4
    for answer in answers:
        _assert_unavailable(answer)
    assert listed["count"] == 0


def _ask_without_broker(stack: RunningStack, broker: socket.socket) -> list[httpx2.Response]:
    settings = {"TRACEGIST_BROKER_URL": f"amqp://guest:guest@127.0.0.1:{broker.getsockname()[1]}//"}
    headers = {"Authorization": f"Bearer {stack.keys['valid']}"}
    with second_shim(stack, settings) as url:
        address = f"{url}/api/environments/{stack.projects['main']}{RENDER}"
        return [
            httpx2.post(address, json=text_of("order"), headers={**headers, **preference}, timeout=10)
            for preference in ({}, ASYNC)
        ]


_LONG_LEASE = {"TRACEGIST_JOB_LEASE_S": "15"}


def _assert_unavailable(answer: httpx2.Response) -> None:
    assert answer.status_code == 503
    assert (answer.json()["type"], answer.json()["code"]) == ("server_error", "queue_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def _readiness(stack: RunningStack) -> list[str]:
    failing: list[str] = httpx2.get(f"{stack.url}/_ready", timeout=10).json()["failing"]
    return failing
