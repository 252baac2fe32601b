"""The store goes away under load: it stops answering, is killed, or forgets everything."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2
import pytest
import redis

from tests.faults.conftest import Provider, StartStack
from tests.faults.support import (
    EMBEDDED,
    FINAL,
    RENDER,
    SUMMARIZE,
    Jobs,
    frozen,
    kill_child,
    summary_of,
    text_of,
    wait_for_new_child,
    wait_until_ready,
)
from tests.integration.cache.support import Server
from tests.running import RunningStack


@dataclass(slots=True)
class Load:
    """Callers that go on asking, some for jobs and some for answers."""

    stack: RunningStack
    answers: list[httpx2.Response] = field(default_factory=list)
    jobs: list[Jobs] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def submit(self, caller: int) -> None:
        with self.stack.client() as client:
            jobs = Jobs(client)
            self.jobs.append(jobs)
            number = 0
            while not self._stop.wait(0.1):
                number += 1
                name = f"{caller}-{number}"
                jobs.submit(RENDER, text_of(name, lines=20))
                jobs.submit(SUMMARIZE, summary_of(name))

    def ask(self, caller: int) -> None:
        with self.stack.client() as client:
            number = 0
            while not self._stop.wait(0.1):
                number += 1
                name = f"{caller}-{number}-sync"
                self.answers.append(client.post(RENDER, json=text_of(name)))
                self.answers.append(client.post(SUMMARIZE, json=summary_of(name)))

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.submit, args=(caller,)) for caller in range(3)]
        threads += [threading.Thread(target=self.ask, args=(caller,)) for caller in range(3)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(90)

    def assert_nothing_is_lost(self) -> None:
        refused = [answer for jobs in self.jobs for answer in jobs.refused] + self.answers
        wrong = {answer.status_code for answer in refused} - {200, 503, 504}
        assert not wrong, [answer.text for answer in refused if answer.status_code in wrong]
        unavailable = [answer for answer in refused if answer.status_code == 503]
        assert {answer.json()["code"] for answer in unavailable} <= {"queue_unavailable"}
        assert all("Retry-After" in answer.headers for answer in unavailable)
        with self.stack.client() as client:
            everything = Jobs(client, [job_id for jobs in self.jobs for job_id in jobs.accepted])
            promised = [answer.json()["job_id"] for answer in self.answers if answer.status_code == 504]
            everything.accepted += promised
            assert len(everything.accepted) > 20
            everything.assert_each_ends_once()

    def assert_answers_again(self) -> None:
        with self.stack.client() as client:
            assert client.post(RENDER, json=text_of("after")).status_code == 200
            first, again = (client.post(SUMMARIZE, json=summary_of("after")) for _ in range(2))
        assert (first.status_code, again.status_code) == (200, 200)
        assert again.json()["metadata"]["cache"]["status"] == "hit"


def test_store_that_stops_answering_for_a_while_loses_no_job(
    provider: Provider, start_stack: StartStack
) -> None:
    stack = start_stack({**EMBEDDED, **provider.settings()})
    provider.configure(latency_ms=300)
    before = stack.children()
    load = Load(stack)

    with load.running():
        time.sleep(2)
        with frozen(before["valkey"]):
            time.sleep(10)
        wait_until_ready(stack)
        time.sleep(2)

    load.assert_answers_again()
    load.assert_nothing_is_lost()
    assert stack.children() == before


def test_store_that_is_killed_comes_back_with_its_jobs(start_stack: StartStack) -> None:
    stack = start_stack(EMBEDDED)
    before = stack.children()
    load = Load(stack)

    with load.running():
        time.sleep(2)
        wait_for_new_child(stack, "valkey", kill_child(stack, "valkey"))
        wait_until_ready(stack)
        time.sleep(2)

    load.assert_answers_again()
    load.assert_nothing_is_lost()
    after = stack.children()
    assert {name for name in before if before[name] != after[name]} == {"valkey"}


@pytest.mark.parametrize("loss", ["flush", "restart"])
def test_promised_jobs_outlive_a_store_that_forgets_everything(
    start_stack: StartStack, forgetful_server: Server, loss: str
) -> None:
    stack = start_stack({"REDIS_URL": forgetful_server.url})
    before = stack.children()
    with stack.client() as client:
        jobs = Jobs(client)
        jobs.submit_all(RENDER, [text_of(f"order-{number}", lines=8000) for number in range(25)])
        with frozen(before["worker:render"]):
            jobs.submit_all(RENDER, [text_of(f"order-{number}", lines=8000) for number in range(25, 30)])
            unfinished = {job["id"] for job in jobs.rows().values() if job["state"] not in FINAL}
            if loss == "flush":
                with redis.Redis.from_url(forgetful_server.url) as store:
                    store.flushall()
            else:
                forgetful_server.stop()
                forgetful_server.start()

        wait_until_ready(stack)
        assert len(jobs.accepted) == 30
        assert unfinished
        wait_for_all(jobs)
        assert client.post(RENDER, json=text_of("after")).status_code == 200
    assert stack.children() == before


def wait_for_all(jobs: Jobs) -> None:
    """Every job has a final row; the results of those that ended before the loss are gone with the store."""
    deadline = time.monotonic() + 60
    while True:
        rows = jobs.rows()
        states = {rows[job_id]["state"] for job_id in jobs.accepted}
        if states == {"succeeded"}:
            return
        assert time.monotonic() < deadline, states
        time.sleep(0.5)
